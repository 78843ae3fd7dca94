"""A change → findings: what of it is protected, out of scope, too large, or needs a look. Pure.

Works on the difference of two trees, so it does not matter how the change came about: committed, staged, ignored,
binary, a mode, a link.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Final

from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.model.text import shown
from nightcrew.model.units import describe_size
from nightcrew.policy.globs import Globs
from nightcrew.policy.handoff import find_handoff
from nightcrew.policy.judge import find_protected, find_way_out
from nightcrew.policy.lines.starts import Do, Effect
from nightcrew.policy.matching import matcher_of, tighter_of
from nightcrew.policy.rules import Placed, Policy

_LINK: Final = 0o120000
_SUBMODULE: Final = 0o160000
_EXECUTABLE: Final = 0o100755
_BUILT_IN: Final = "built in"
_EMPTY_NAMED: Final = 5
_PAST: Final = {
    "added": "added",
    "modified": "modified",
    "deleted": "deleted",
    "typechange": "changed in kind",
}
#: Everything that the findings at one path depend on: digest of the policy, scope, and the path with its content.
Known = tuple[str, tuple[str, ...], PathChange]
_LEVELS: Final = (("soft", Verdict.ASK), ("hard", Verdict.DENY))


def inspect(
    policy: Policy,
    change: Change,
    *,
    scope: Sequence[str],
    known: MutableMapping[Known, tuple[Finding, ...]] | None = None,
) -> tuple[Finding, ...]:
    """Return everything the policy has to say about a change; nothing when it is fine.

    Args:
        policy: layers put together by ``load.layer``.
        change: difference between the task's base and its result.
        scope: globs of the task's ``Scope:``; empty means anywhere.
        known: what was found at single paths before, for any policy and scope; what is new is added to it. A path
            whose content, mode and place have not changed is not looked at again.
    """
    globs = Globs(tuple(scope)) if scope else None
    known = {} if known is None else known
    findings: list[Finding] = []
    for path in change.paths:
        key = (policy.digest, tuple(scope), path)
        if key not in known:
            known[key] = tuple(_inspect_path(policy, path, globs))
        findings += known[key]
    findings += [_refused(text) for text in change.refused]
    findings += _inspect_size(policy, change)
    return tuple(findings)


def _inspect_path(policy: Policy, path: PathChange, scope: Globs | None) -> Iterator[Finding]:
    placed = find_protected(policy, path.path)
    if placed is not None:
        message = f"{shown(path.path)} is protected ({placed.value}), and was {_PAST[path.kind]}"
        yield Finding("protected", Verdict.DENY, "protected_path", placed.source, message, path.path)
    effect = Effect(_what_is_done(path), path.path)
    for rule in (*matcher_of(policy).rules_for_effect(effect), *tighter_of(policy).rules_for_effect(effect)):
        if rule.decision is not Verdict.ALLOW:
            yield Finding(
                "protected",
                rule.decision,
                rule.id,
                rule.source,
                f"{path.kind}: {rule.reason}",
                path.path,
                risk=rule.risk,
            )
    if path.ignored:
        # It will not land in the repository: scope, handoff and links matter only for what does.
        return
    if scope is not None and not scope.matches(path.path):
        yield _outside_scope(policy, path)
    yield from _inspect_kind(policy, path)


def _what_is_done(path: PathChange) -> Do:
    if path.kind == "deleted":
        return "delete"
    if path.new_mode == _LINK:
        return "symlink"
    return "chmod" if path.old_id and path.old_id == path.new_id else "write"


def _outside_scope(policy: Policy, path: PathChange) -> Finding:
    placed = policy.verdict("safety.outside_scope")
    verdict = placed.value if placed else Verdict.ASK
    source = placed.source if placed else _BUILT_IN
    return Finding(
        "scope",
        verdict,
        "safety.outside_scope",
        source,
        f"{shown(path.path)} was {_PAST[path.kind]} outside the task's scope",
        path.path,
    )


def _inspect_kind(policy: Policy, path: PathChange) -> Iterator[Finding]:
    if path.new_mode == _LINK and (out := find_way_out(path.path, path.link_target)):
        message = f"{shown(path.path)} is a symbolic link that {out}: {shown(path.link_target)}"
        yield Finding("symlink", Verdict.DENY, "base.symlink", _BUILT_IN, message, path.path)
    if path.new_mode == _SUBMODULE or path.old_mode == _SUBMODULE:
        message = f"{shown(path.path)} is a nested repository (submodule), which cannot be promoted"
        yield Finding("refused", Verdict.DENY, "base.submodule", _BUILT_IN, message, path.path)
    placed = policy.verdict("safety.handoff")
    verdict = placed.value if placed else Verdict.ASK
    if path.new_mode == _EXECUTABLE and path.old_mode != _EXECUTABLE:
        source = placed.source if placed else _BUILT_IN
        yield Finding(
            "mode", verdict, "safety.handoff", source, f"{shown(path.path)} becomes executable", path.path
        )
    found = find_handoff(policy, path)
    if found is not None and found.kind not in ("executable", "symlink"):
        message = f"{shown(path.path)} was {_PAST[path.kind]}; {found.who} executes it by itself ({found.kind}): {found.reason}"
        # What may never land need not be waited for until promotion.
        strict = Verdict.DENY if found.verdict is Verdict.DENY else verdict
        yield Finding("handoff", strict, f"handoff.{found.kind}", found.source, message, path.path)


def name_empty(folders: Sequence[str]) -> tuple[Finding, ...]:
    """Return the finding that names folders without a file: nothing of them lands, and nothing must be decided."""
    if not folders:
        return ()
    named = ", ".join(shown(each) for each in folders[:_EMPTY_NAMED])
    more = f" and {len(folders) - _EMPTY_NAMED} more" if folders[_EMPTY_NAMED:] else ""
    one = len(folders) == 1
    what = f"{'folder' if one else 'folders'} without a file: {named}{more}; git keeps none, so {'it does' if one else 'they do'} not land"
    return (Finding("empty", Verdict.ALLOW, "base.empty_folder", _BUILT_IN, what),)


def _refused(text: str) -> Finding:
    path, _, what = text.partition(": ")
    return Finding(
        "refused",
        Verdict.DENY,
        "base.refused",
        _BUILT_IN,
        f"{shown(path)} cannot be captured: {shown(what or text)}",
        path,
    )


def _inspect_size(policy: Policy, change: Change) -> Iterator[Finding]:
    paths = change.promotable
    counted = {
        "files": len(paths),
        "lines": sum(p.lines_added + p.lines_deleted for p in paths),
        "created": sum(p.kind == "added" for p in paths),
        "modified": sum(p.kind in ("modified", "typechange") for p in paths),
        "deleted": sum(p.kind == "deleted" for p in paths),
        "total_size": sum(p.size_bytes for p in paths),
    }
    for name, count in counted.items():
        yield from _above(policy, name, count, _describe(name, count))
    for path in paths:
        yield from _above(
            policy,
            "file_size",
            path.size_bytes,
            f"{shown(path.path)} has {describe_size(path.size_bytes)}",
            path.path,
        )


def _describe(name: str, count: int) -> str:
    if name == "total_size":
        return f"{describe_size(count)} in all"
    return {
        "files": f"{count} files changed",
        "lines": f"{count} lines added and deleted",
        "created": f"{count} files created",
        "modified": f"{count} files modified",
        "deleted": f"{count} files deleted",
    }[name]


def _above(policy: Policy, name: str, count: int, said: str, path: str = "") -> Iterator[Finding]:
    """Yield one finding for the strictest limit that ``count`` is above."""
    for level, verdict in reversed(_LEVELS):
        placed: Placed[int] | None = policy.number(f"limits.{level}.{name}")
        if placed is not None and count > placed.value:
            limit = describe_size(placed.value) if name.endswith("_size") else str(placed.value)
            message = f"{said}, above the {level} limit of {limit}"
            yield Finding("limits", verdict, f"limits.{level}.{name}", placed.source, message, path)
            return
