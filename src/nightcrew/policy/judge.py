"""An action → allow, ask or deny, with the rule, its place and the reason. Pure; the syntax tree comes from outside.

A command line is taken apart completely, every program start and every written path is judged, and the strictest
answer is the answer for the line. Reading commands makes good questions and early denials; what confines an agent is
the sandbox, so a program that no rule knows is not a danger in itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Final, cast, get_args

from nightcrew.model.actions import Action, Decision, Verdict, strictest
from nightcrew.model.errors import ShellSyntaxError
from nightcrew.policy.lines.project import Project
from nightcrew.policy.lines.starts import Do, Effect, Line, Start
from nightcrew.policy.lines.walk import read_line
from nightcrew.policy.matching import matcher_of, tighter_of
from nightcrew.policy.network import judge_action
from nightcrew.policy.rules import RISKS, Placed, Policy, Rule

Parse = Callable[[str], Mapping[str, Any]]

_STRENGTH: Final = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}
_RISK: Final = {risk: number for number, risk in enumerate(RISKS)}
_BUILT_IN: Final = "built in"
_GIT: Final = frozenset({".git", "git~1"})
TOLERANCE: Final = "role.risk_tolerance"
"""Single value of a role: the highest risk of what it does by itself."""
_GLOB = re.compile(r"[*?\[]")
# What an unquoted glob in a path could turn into, of the names that are worth protecting.
_TEMPTING: Final = (".git", ".nightcrew", ".env", "x.pem", "x.key")


@dataclass(frozen=True)
class _Match:
    """One rule that has something to say."""

    verdict: Verdict
    rule: str
    source: str
    reason: str
    risk: str = "low"
    hint: str = ""
    default: bool = False

    @cached_property
    def weight(self) -> tuple[int, int, bool]:
        """The more of it, the sooner it wins."""
        return _STRENGTH[self.verdict], _RISK[self.risk], not self.default


def judge(
    policy: Policy, action: Action, *, parse: Parse, root: str = "", project: Project | None = None
) -> Decision:
    """Decide on one action.

    Args:
        policy: layers put together by ``load.layer``.
        action: what is wanted.
        parse: bash source → syntax tree (``host.shell.parse``).
        root: absolute path of the repository as the agent sees it, so that absolute paths into it are recognised.
        project: where scripts of package managers and git's aliases are looked up.
    """
    return _tolerate(policy, _judge(policy, action, parse, root, project))


def _judge(policy: Policy, action: Action, parse: Parse, root: str, project: Project | None) -> Decision:
    if action.kind == "exec":
        return _judge_command(policy, action.command, parse, root, project)
    if action.kind in get_args(Do):
        return _judge_files(policy, action, root)
    if action.kind == "read":
        return _decide([_default(policy, "files", "reading")])
    if action.kind == "net":
        return judge_action(policy, action)
    return _decide(
        [_Match(Verdict.ASK, "no_rule", _BUILT_IN, "no rule matches it, so a human decides", "medium")]
    )


def _tolerate(policy: Policy, decision: Decision) -> Decision:
    """Ask about what is allowed and riskier than the task's role takes upon itself."""
    placed: Placed[str] | None = policy.settings.get(TOLERANCE)
    if placed is None or decision.verdict is not Verdict.ALLOW or _RISK[decision.risk] <= _RISK[placed.value]:
        return decision
    said = f"its risk is {decision.risk}, and the role takes {placed.value} upon itself; {decision.reason}"
    others = (decision.rule, *decision.also_matched)
    return replace(
        decision, verdict=Verdict.ASK, rule=TOLERANCE, source=placed.source, reason=said, also_matched=others
    )


def _judge_command(policy: Policy, text: str, parse: Parse, root: str, project: Project | None) -> Decision:
    try:
        line = read_line(text, parse=parse, root=root, project=project)
    except ShellSyntaxError as error:
        return _decide([_unparsable(policy, error)], opaque=(f"not bash: {error.message}",))
    except RecursionError:
        return _decide([_unparsable(policy, ShellSyntaxError("nested too deep to be read", 1, 1))])
    except (LookupError, TypeError):
        # The parser gave a construct that this version does not know. What is not understood is never allowed.
        return _decide([_unparsable(policy, ShellSyntaxError("a construct that is not understood", 1, 1))])
    tighter = tighter_of(policy)
    matches = [m for start in line.starts for m in _match_start(policy, start)]
    matches += [m for effect in line.effects for m in _match_path(policy, effect)]
    if not line.starts and not matches:
        matches = [_default(policy, "commands", "a line that starts no program")]
    # A role's rules come last: they stand beside what the policy says, and never instead of it.
    matches += [_say(policy, rule) for start in line.starts for rule in tighter.rules_for_start(start)]
    matches += [m for effect in line.effects for m in _match_tighter(policy, effect)]
    return _decide(matches, line)


def _unparsable(policy: Policy, error: ShellSyntaxError) -> _Match:
    placed = policy.verdict("defaults.unparsable")
    verdict = strictest(Verdict.ASK, placed.value) if placed else Verdict.ASK
    reason = f"this is not a command line that can be read ({error.line}:{error.column}: {error.message})"
    return _Match(
        verdict,
        "shell.unparsable",
        placed.source if placed else _BUILT_IN,
        reason,
        "high",
        "write it as plain bash",
    )


def _match_start(policy: Policy, start: Start) -> Iterator[_Match]:
    rules = matcher_of(policy).rules_for_start(start)
    for rule in rules:
        yield _say(policy, rule, start.opaque if start.opaque and _is_about_opaque(rule) else "")
    if start.opaque and not any(_is_about_opaque(rule) for rule in rules):
        # A policy that does not speak of opaque commands at all has not allowed them.
        yield _Match(Verdict.ASK, "shell.opaque", _BUILT_IN, start.opaque, "high")
    elif not rules:
        yield _default(policy, "commands", start.program)


def _is_about_opaque(rule: Rule) -> bool:
    return rule.subject == "command" and any(
        getattr(p, "opaque", None) or getattr(p, "stdin", "") for p in rule.when or ()
    )


def _say(policy: Policy, rule: Rule, detail: str = "") -> _Match:
    # What a rule says without a detail is always the same; rules live as long as the policy that remembers it.
    said: dict[int, _Match] = policy.compiled.setdefault("said", {})
    known = said.get(id(rule))
    if known is None:
        known = said[id(rule)] = _Match(
            rule.decision, rule.id, rule.source, rule.reason, rule.risk, rule.hint
        )
    return replace(known, reason=f"{detail}: {rule.reason}") if detail else known


def _default(policy: Policy, name: str, what: str) -> _Match:
    placed = policy.verdict(f"defaults.{name}")
    if placed is None:
        return _Match(
            Verdict.ASK,
            "no_rule",
            _BUILT_IN,
            f"no rule matches {what}, so a human decides",
            "medium",
            default=True,
        )
    reason = {
        Verdict.ALLOW: f"no rule matches {what}; it works inside the shadow and the sandbox",
        Verdict.ASK: f"no rule matches {what}, so a human decides",
        Verdict.DENY: f"no rule allows {what}",
    }[placed.value]
    return _Match(placed.value, f"defaults.{name}", placed.source, reason, default=True)


def _judge_files(policy: Policy, action: Action, root: str) -> Decision:
    matches: list[_Match] = []
    for path in action.paths:
        effect = Effect(cast(Do, action.kind), _inside(path, root))
        matches += [*_match_path(policy, effect), *_match_tighter(policy, effect)]
        if effect.path.startswith("//"):
            reason = f"{path} is outside the repository"
            matches.append(
                _Match(Verdict.DENY, "base.outside", _BUILT_IN, reason, "high", "write below the repository")
            )
        elif action.kind == "symlink" and leaves_tree(effect.path, action.detail):
            reason = f"the link {path} {find_way_out(effect.path, action.detail)}: {action.detail}"
            matches.append(
                _Match(
                    Verdict.DENY, "base.symlink", _BUILT_IN, reason, "high", "use a relative target inside"
                )
            )
    return _decide([*matches, _default(policy, "files", "this file action")])


def leaves_tree(path: str, target: str) -> bool:
    """Tell whether a symbolic link at ``path`` (relative to the tree) points out of the tree, or nowhere certain."""
    return bool(find_way_out(path, target))


def find_way_out(path: str, target: str) -> str:
    """Return in words how a symbolic link gets out of the tree, empty when it stays inside whatever lies there.

    Only leading ``..`` are counted: they go up from real folders. Behind a name they go up from wherever that name leads,
    which may be another link, so that two harmless ones make one that is not.
    """
    steps = [step for step in target.split("/") if step not in ("", ".")]
    up = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
    if not target or target.startswith("/") or up > path.count("/"):
        return "leaves the tree"
    if ".." in steps[up:]:
        return "goes up again behind a name that may be a link itself, so it may leave the tree"
    if any(step.casefold() in _GIT for step in steps):
        return "leads into git's own directory"
    return ""


def _inside(path: str, root: str) -> str:
    if root and path.startswith(f"{root.rstrip('/')}/"):
        path = path[len(root.rstrip("/")) + 1 :]
    if path.startswith("/"):
        return "//" + posixpath.normpath(path).lstrip("/")
    path = posixpath.normpath(path)
    if path == ".":
        return ""
    return f"//{path}" if path == ".." or path.startswith("../") else path


def _match_path(policy: Policy, effect: Effect) -> Iterator[_Match]:
    for path in _candidates(effect.do, effect.path):
        candidate = Effect(effect.do, path)
        placed = find_protected(policy, path)
        if placed is not None:
            reason = f"{path.lstrip('/')} is protected ({placed.value}): no task may change it"
            yield _Match(Verdict.DENY, "protected_path", placed.source, reason, "high", "leave it as it is")
        for rule in matcher_of(policy).rules_for_effect(candidate):
            yield _say(policy, rule)


def _match_tighter(policy: Policy, effect: Effect) -> Iterator[_Match]:
    for path in _candidates(effect.do, effect.path):
        for rule in tighter_of(policy).rules_for_effect(Effect(effect.do, path)):
            yield _say(policy, rule)


def find_protected(policy: Policy, path: str) -> Placed[str] | None:
    """Return the glob that protects ``path``, None when it is not protected."""
    number = matcher_of(policy).fixed.find(path)
    if number is not None:
        return policy.fixed_paths[number]
    number = matcher_of(policy).protected.find(path)
    return policy.protected_paths[number] if number is not None else None


def _candidates(do: Do, path: str) -> Iterable[str]:
    """Return the path, and what a glob in it could become among the names worth protecting."""
    if not path:
        # What is done to the whole repository is done to its git directory.
        return (path, ".git") if do == "delete" else (path,)
    if not _GLOB.search(path):
        return (path,)
    candidates = [path]
    parts = path.split("/")
    for position, part in enumerate(parts):
        for name in _TEMPTING:
            # A bare * takes no hidden files, and hardly means a key by name.
            aimed = part.startswith(".") if name.startswith(".") else bool(part.strip("*?."))
            if aimed and part != name and fnmatchcase(name, part):
                candidates.append("/".join([*parts[:position], name, *parts[position + 1 :]]))
    return candidates


def _decide(matches: list[_Match], line: Line | None = None, *, opaque: tuple[str, ...] = ()) -> Decision:
    """Return the strictest of the matches; among equals the riskier, then a rule before a default, then the first."""
    winner, weight = matches[0], matches[0].weight
    for match in matches:
        if match.weight > weight:
            winner, weight = match, match.weight
    others = {m.rule: None for m in matches if not m.default and m.rule != winner.rule}
    return Decision(
        verdict=winner.verdict,
        rule=winner.rule,
        source=winner.source,
        reason=winner.reason,
        risk=winner.risk,
        effective_commands=tuple([s.effective for s in line.starts]) if line else (),
        opaque=line.opaque if line else opaque,
        also_matched=tuple(others),
        hint=winner.hint,
    )
