"""Rules compiled once per policy, and matched against program starts and paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from typing import Final

from nightcrew.model.actions import Verdict
from nightcrew.policy.globs import Globs
from nightcrew.policy.lines.starts import Effect, Start
from nightcrew.policy.lines.words import Word
from nightcrew.policy.rules import CommandPattern, FilePattern, Policy, Rule

Test = Callable[[Start], bool]
_GLOB_CHARACTERS: Final = frozenset("*?[")


class Matcher:
    """All rules of a policy, ready to be asked."""

    def __init__(self, policy: Policy) -> None:
        self.fixed = Globs([g.value for g in policy.fixed_paths], ignore_case=True)
        self.protected = Globs([g.value for g in policy.protected_paths])
        self.handoff = Globs([g.value for g in policy.handoff_paths])
        self._by_program: dict[str, list[tuple[Rule, Test]]] = {}
        self._others: list[tuple[Rule, Test]] = []
        self._files: list[tuple[Rule, Globs, frozenset[str]]] = []
        for rule in policy.rules:
            self._add(rule)

    def _add(self, rule: Rule) -> None:
        for pattern in rule.when or ():
            if isinstance(pattern, FilePattern):
                self._files.append((rule, Globs(pattern.paths), frozenset(pattern.do)))
                continue
            test = _compile(pattern, loosens=rule.decision is Verdict.ALLOW)
            if pattern.program and not any(_GLOB_CHARACTERS & set(p) for p in pattern.program):
                for name in dict.fromkeys(pattern.program):
                    self._by_program.setdefault(name, []).append((rule, test))
            else:
                self._others.append((rule, test))

    def rules_for_start(self, start: Start) -> list[Rule]:
        """Return the command rules that match a program start, each once."""
        found: dict[str, Rule] = {}
        by_program = self._by_program
        for name in (start.program, *start.via):
            for rule, test in by_program.get(name, ()):
                if rule.id not in found and test(start):
                    found[rule.id] = rule
        for rule, test in self._others:
            if rule.id not in found and test(start):
                found[rule.id] = rule
        return list(found.values())

    def rules_for_effect(self, effect: Effect) -> list[Rule]:
        """Return the file rules that match what is done to a path."""
        found: dict[str, Rule] = {}
        for rule, globs, do in self._files:
            if (not do or effect.do in do) and globs.matches(effect.path):
                found[rule.id] = rule
        return list(found.values())


def _compile(pattern: CommandPattern, *, loosens: bool) -> Test:
    tests = list(_tests(pattern, loosens=loosens))
    if len(tests) == 1:
        return tests[0]
    return lambda start: all(test(start) for test in tests)


def _tests(pattern: CommandPattern, *, loosens: bool) -> Iterator[Test]:
    """Yield the tests of a pattern, cheap ones first."""
    if pattern.opaque is not None:
        wanted = pattern.opaque
        yield lambda start: bool(start.opaque) is wanted
    if pattern.stdin:
        yield lambda start: start.stdin.kind == "pipe"
    if pattern.program:
        yield _program_test(_names(pattern.program), loosens=loosens)
    if pattern.not_program:
        excluded = _names(pattern.not_program)
        yield lambda start: not excluded(start.program)
    if pattern.subcommand:
        yield _subcommand_test([tuple(s.split()) for s in pattern.subcommand])
    if pattern.flags:
        yield _flags_test(pattern.flags)
    if pattern.args:
        yield _arguments_test([_glob(a) for a in pattern.args])
    if pattern.command:
        command = re.compile(pattern.command).search
        yield lambda start: command(start.effective) is not None
    if pattern.text:
        text = re.compile(pattern.text).search
        yield lambda start: text(start.text) is not None


def _names(globs: Sequence[str]) -> Callable[[str], bool]:
    exact = frozenset(g for g in globs if not _GLOB_CHARACTERS & set(g))
    patterns = [_glob(g) for g in globs if g not in exact]
    return lambda name: name in exact or any(p(name) for p in patterns)


def _glob(glob: str) -> Callable[[str], object]:
    return re.compile(translate(glob)).match


def _program_test(matches: Callable[[str], bool], *, loosens: bool) -> Test:
    """Rules that ask or deny also look at wrappers (sudo, env, xargs); one that allows looks at the program alone.

    Otherwise a rule that allows ``env`` would allow everything.
    """
    if loosens:
        return lambda start: matches(start.program)
    return lambda start: matches(start.program) or any(matches(name) for name in start.via)


def _subcommand_test(choices: Sequence[tuple[str, ...]]) -> Test:
    def test(start: Start) -> bool:
        return any(_has_subcommand(start.words, choice) for choice in choices)

    return test


def _has_subcommand(words: Sequence[Word], choice: tuple[str, ...]) -> bool:
    """Tell whether the first words that are no options are ``choice``.

    A word behind an option may be its value, so the search goes on behind it: ``npm --prefix x install``.
    """
    position = 1
    while position < len(words):
        text = words[position].text
        if text.startswith("-"):
            position += 1
            continue
        if tuple(w.text for w in _skip_options(words, position, len(choice))) == choice:
            return True
        if not words[position - 1].text.startswith("-"):
            return False
        position += 1
    return False


def _skip_options(words: Sequence[Word], position: int, count: int) -> list[Word]:
    if count == 1:
        return [words[position]]
    return [w for w in words[position:] if not w.text.startswith("-")][:count]


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
        return all(any(glob(w.text) for w in start.words[1:]) for glob in globs)

    return test
