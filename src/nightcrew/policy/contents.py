"""A change → findings about what its files hold: SQL that destroys, dependencies. Pure: contents are handed in by a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.model.text import shown
from nightcrew.policy import sqltext
from nightcrew.policy.dependencies import Dependency, compare_manifests, is_manifest
from nightcrew.policy.lines.starts import Do, Effect
from nightcrew.policy.matching import Matcher, matcher_of, tighter_of
from nightcrew.policy.rules import RISKS, Policy, Rule

Read = Callable[[str], bytes]

_FILES: Final = (0o100644, 0o100755)
_STRENGTH: Final = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}
_DIALECTS: Final = {
    "postgres": "postgres",
    "psql": "postgres",
    "pg": "postgres",
    "mysql": "mysql",
    "sqlite": "sqlite",
}


def inspect_contents(policy: Policy, change: Change, read: Read) -> tuple[Finding, ...]:
    """Return what the policy has to say about the contents of a change that would land.

    Rules with ``allow`` are told too: a person sees them at review.

    Args:
        policy: layers put together by ``load.layer``.
        change: difference of two trees.
        read: content of a blob by its id.
    """
    matchers = (matcher_of(policy), tighter_of(policy))
    return tuple(found for path in change.promotable for found in _inspect(matchers, path, read))


def _inspect(matchers: Sequence[Matcher], path: PathChange, read: Read) -> Iterator[Finding]:
    if path.new_id == path.old_id and path.old_mode in _FILES:
        return
    if is_manifest(path.path):
        yield from _find_dependencies(matchers, path, read)
    if path.new_mode in _FILES:
        do: Do = "write"
        rules = [each for m in matchers for each in m.rules_for_content(Effect(do, path.path))]
        if rules:
            yield from _find_sql(rules, path, read)


def _find_sql(rules: list[tuple[Rule, frozenset[str]]], path: PathChange, read: Read) -> Iterator[Finding]:
    """Yield what the new content destroys that the old one did not."""
    acts = _read_acts(path, path.new_id, path.size_bytes, read)
    if acts and path.old_mode in _FILES:
        acts -= _read_acts(path, path.old_id, 0, read)
    matched = {rule.id: (rule, acts & wanted) for rule, wanted in rules if acts & wanted}
    for rule, meant in matched.values():
        words = "; ".join(sqltext.ACTS[act] for act in sqltext.ACTS if act in meant)
        yield _tell("sql", rule, f"{shown(path.path)} {words}: {rule.reason}", path)


def _read_acts(path: PathChange, blob: str, size: int, read: Read) -> frozenset[str]:
    if size > sqltext.MAX_CHARACTERS * 4:
        return frozenset({"unreadable"})
    text = read(blob).decode("utf-8", "replace")
    return sqltext.find_acts(text, find_dialect(path.path))


def find_dialect(path: str) -> str:
    """Return the dialect that the name of a file tells of; empty for the widest."""
    return next((dialect for word, dialect in _DIALECTS.items() if word in path.lower()), "")


def _find_dependencies(matchers: Sequence[Matcher], path: PathChange, read: Read) -> Iterator[Finding]:
    old = read(path.old_id) if path.old_mode in _FILES else b""
    new = read(path.new_id) if path.new_mode in _FILES else b""
    try:
        found = compare_manifests(path.path, old, new)
    except ValueError as error:
        said = f"{shown(path.path)} cannot be read, so nobody can say what it depends on: {error}"
        yield Finding(
            "dependencies", Verdict.ASK, "dependencies.unreadable", "built in", said, path.path, risk="medium"
        )
        return
    for each in found:
        rule = find_rule([rule for m in matchers for rule in m.rules_for_dependency(each)])
        if rule is not None:
            yield _tell("dependencies", rule, f"{shown(path.path)} {_say(each)}: {rule.reason}", path)


def find_rule(rules: list[Rule]) -> Rule | None:
    """Return the strictest of the rules, among equals the riskiest; None of none."""
    return max(rules, key=lambda rule: (_STRENGTH[rule.decision], RISKS.index(rule.risk)), default=None)


def _say(dependency: Dependency) -> str:
    verb = {"add": "adds", "change": "changes", "remove": "removes"}[dependency.do]
    return f"{verb} {shown(dependency.describe())}"


def _tell(check: str, rule: Rule, message: str, path: PathChange) -> Finding:
    return Finding(check, rule.decision, rule.id, rule.source, message, path.path, risk=rule.risk)
