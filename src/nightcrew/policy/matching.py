"""Rules compiled once per policy, and matched against program starts and paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from typing import Final

from nightcrew.model.actions import Verdict
from nightcrew.model.network import NetRequest
from nightcrew.policy.dependencies import Dependency, is_meant
from nightcrew.policy.globs import Globs
from nightcrew.policy.linear import compile_linear
from nightcrew.policy.lines.starts import Effect, Start
from nightcrew.policy.lines.words import Word
from nightcrew.policy.places import matches_host
from nightcrew.policy.rules import CommandPattern, DependencyPattern, FilePattern, NetPattern, Policy, Rule
from nightcrew.policy.sqltext import DIALECTS, find_acts_of

Test = Callable[[Start], bool]
FileTest = tuple[Rule, Globs, frozenset[str], frozenset[str]]
ProgramTest = Callable[[tuple[str, ...]], bool]
# Distinct programs in one process: tens in practice; a hostile list of names must not grow without end.
_REMEMBERED: Final = 4096
_GLOB_CHARACTERS: Final = frozenset("*?[")


class Matcher:
    """All rules of a policy, ready to be asked."""

    def __init__(self, policy: Policy) -> None:
        self.fixed = Globs([g.value for g in policy.fixed_paths], ignore_case=True)
        self.protected = Globs([g.value for g in policy.protected_paths])
        self._commands: list[tuple[Rule, ProgramTest, Test]] = []
        self._files: list[FileTest] = []
        self._contents: list[FileTest] = []
        self._dependencies: list[tuple[Rule, DependencyPattern]] = []
        self.net_rules: list[tuple[Rule, NetPattern]] = []
        self._candidates: dict[tuple[str, ...], list[tuple[Rule, Test]]] = {}
        for rule in policy.rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        for pattern in rule.when or ():
            if isinstance(pattern, FilePattern):
                kept = self._contents if pattern.sql else self._files
                kept.append((rule, Globs(pattern.paths), frozenset(pattern.do), frozenset(pattern.sql)))
            elif isinstance(pattern, DependencyPattern):
                self._dependencies.append((rule, pattern))
            elif isinstance(pattern, NetPattern):
                self.net_rules.append((rule, pattern))
            else:
                program = _program_test(pattern, loosens=rule.decision is Verdict.ALLOW)
                self._commands.append((rule, program, _unless(rule, _all(list(_tests(pattern))))))

    def rules_for_start(self, start: Start) -> list[Rule]:
        """Return the command rules that match a program start, each once."""
        found: dict[str, Rule] = {}
        for rule, test in self._for_programs((start.program, *start.via)):
            if rule.id not in found and test(start):
                found[rule.id] = rule
        return list(found.values())

    def _for_programs(self, names: tuple[str, ...]) -> list[tuple[Rule, Test]]:
        """Return the rules that may match a program started through these wrappers; remembered, for lines repeat."""
        known = self._candidates.get(names)
        if known is None:
            if len(self._candidates) >= _REMEMBERED:
                self._candidates.clear()
            known = [(rule, test) for rule, program, test in self._commands if program(names)]
            self._candidates[names] = known
        return known

    def rules_for_effect(self, effect: Effect) -> list[Rule]:
        """Return the file rules that match what is done to a path, whatever it will hold."""
        return list({rule.id: rule for rule, _ in _match_files(self._files, effect)}.values())

    def rules_for_content(self, effect: Effect) -> list[tuple[Rule, frozenset[str]]]:
        """Return the file rules that may match what is done to a path, each with the acts of SQL it is about."""
        return list(_match_files(self._contents, effect))

    def rules_for_request(self, request: NetRequest) -> list[Rule]:
        """Return the network rules that match a request, each once."""
        return list(
            {
                rule.id: rule
                for rule, pattern in self.net_rules
                if _is_request(pattern, request)
                and not any(
                    _is_request(each, request) for each in rule.unless if isinstance(each, NetPattern)
                )
            }.values()
        )

    def rules_for_dependency(self, dependency: Dependency) -> list[Rule]:
        """Return the dependency rules that match a dependency that is added, changed or removed."""
        found = {
            rule.id: rule
            for rule, pattern in self._dependencies
            if is_meant(pattern, dependency)
            and not any(
                is_meant(each, dependency) for each in rule.unless if isinstance(each, DependencyPattern)
            )
        }
        return list(found.values())


def _unless(rule: Rule, test: Test) -> Test:
    """Return a test that also fails where an exception of the rule holds."""
    exceptions = [
        (_program_test(pattern, loosens=rule.decision is not Verdict.ALLOW), _all(list(_tests(pattern))))
        for pattern in rule.unless
        if isinstance(pattern, CommandPattern)
    ]
    if not exceptions:
        return test
    return lambda start: (
        test(start)
        and not any(
            program((start.program, *start.via)) and excepted(start) for program, excepted in exceptions
        )
    )


def _is_excepted(rule: Rule, effect: Effect) -> bool:
    return any(
        (not pattern.do or effect.do in pattern.do) and Globs(pattern.paths).matches(effect.path)
        for pattern in rule.unless
        if isinstance(pattern, FilePattern)
    )


def _match_files(tests: Sequence[FileTest], effect: Effect) -> Iterator[tuple[Rule, frozenset[str]]]:
    for rule, globs, do, acts in tests:
        if (not do or effect.do in do) and globs.matches(effect.path) and not _is_excepted(rule, effect):
            yield rule, acts


def _is_request(pattern: NetPattern, request: NetRequest) -> bool:
    return (
        (not pattern.host or any(matches_host(glob, request.host) for glob in pattern.host))
        and (not pattern.port or request.port in pattern.port)
        and (not pattern.method or request.method in pattern.method)
    )


def matcher_of(policy: Policy) -> Matcher:
    """Return the compiled rules of a policy."""
    matcher: Matcher | None = policy.compiled.get("matcher")
    if matcher is None:
        matcher = policy.compiled["matcher"] = Matcher(policy)
    return matcher


def tighter_of(policy: Policy) -> Matcher:
    """Return the compiled rules of the role that is laid over a policy; of none, one that never matches."""
    matcher: Matcher | None = policy.compiled.get("tighter")
    if matcher is None:
        matcher = policy.compiled["tighter"] = Matcher(Policy(rules=policy.tighter))
    return matcher


def _all(tests: Sequence[Test]) -> Test:
    def test(start: Start) -> bool:
        for one in tests:  # noqa: SIM110  a generator costs more than all the tests of most rules
            if not one(start):
                return False
        return True

    return tests[0] if len(tests) == 1 else test


def _tests(pattern: CommandPattern) -> Iterator[Test]:
    """Yield the tests of a pattern besides the program, cheap ones first."""
    if pattern.opaque is not None:
        wanted = pattern.opaque
        yield lambda start: bool(start.opaque) is wanted
    if pattern.stdin:
        yield lambda start: start.stdin.kind == "pipe"
    if pattern.subcommand:
        yield _subcommand_test(frozenset(" ".join(s.split()) for s in pattern.subcommand))
    if pattern.flags:
        yield _flags_test(pattern.flags)
    if pattern.args:
        yield _arguments_test([_glob(a) for a in pattern.args])
    if pattern.command:
        command = compile_linear(pattern.command)
        yield lambda start: command(start.effective)
    if pattern.text:
        text = compile_linear(pattern.text)
        yield lambda start: text(start.text)
    if pattern.sql:
        acts = frozenset(pattern.sql)
        yield lambda start: not acts.isdisjoint(find_acts_of(start))


def _names(globs: Sequence[str]) -> Callable[[str], bool]:
    exact = frozenset(g for g in globs if not _GLOB_CHARACTERS & set(g))
    patterns = [_glob(g) for g in globs if g not in exact]
    return lambda name: name in exact or any(p(name) for p in patterns)


def _glob(glob: str) -> Callable[[str], object]:
    return re.compile(translate(glob)).match


def _program_test(pattern: CommandPattern, *, loosens: bool) -> ProgramTest:
    """Test the program first in a tuple and the wrappers that start it.

    What SQL does is known of the programs that take it alone. Rules that ask or deny also look at wrappers (sudo, env, xargs); one that allows looks at the program alone.
    Otherwise a rule that allows ``env`` would allow everything.
    """
    programs = pattern.program or (tuple(DIALECTS) if pattern.sql else ())
    wanted = _names(programs) if programs else None
    excluded = _names(pattern.not_program)

    def test(names: tuple[str, ...]) -> bool:
        if excluded(names[0]):
            return False
        return wanted is None or any(map(wanted, names[:1] if loosens else names))

    return test


def _subcommand_test(choices: frozenset[str]) -> Test:
    return lambda start: not choices.isdisjoint(start.subcommands)


def _flags_test(flags: Sequence[str]) -> Test:
    long = tuple(f for f in flags if f.startswith("--"))
    short = frozenset(f[1] for f in flags if len(f) == 2 and f[0] == "-")
    exact = frozenset(f for f in flags if not f.startswith("--"))

    def test(start: Start) -> bool:
        return any(_is_flag(w.text, long, short, exact) for w in _before_operands(start.words))

    return test


def _before_operands(words: Sequence[Word]) -> Iterator[Word]:
    for word in words[1:]:
        if word.text == "--":
            return
        if word.text[:1] in ("-", "/", "+"):
            yield word


def _is_flag(text: str, long: Sequence[str], short: frozenset[str], exact: frozenset[str]) -> bool:
    """Tell whether an argument is one of the flags: as written, abbreviated, with a value, or in a cluster."""
    if text.startswith("--"):
        name = text.partition("=")[0]
        # Option parsers accept any unambiguous beginning of a long option.
        return len(name) > 2 and any(f == name or f.startswith(name) for f in long)
    return text in exact or (text[:1] == "-" and not short.isdisjoint(text[1:]))


def _arguments_test(globs: Sequence[Callable[[str], object]]) -> Test:
    def test(start: Start) -> bool:
        texts = [w.text for w in start.words[1:]]
        return all(any(map(glob, texts)) for glob in globs)

    return test
