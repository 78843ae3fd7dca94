"""A change that is not what its task said it would do to which files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.model.text import shown
from nightcrew.policy.globs import Globs
from nightcrew.policy.rules import Policy

CHECK: Final = "contract"
_BUILT_IN: Final = "built in"
_LINES: Final = {"added": "Creates", "modified": "Modifies", "typechange": "Modifies", "deleted": "Deletes"}
_DONE: Final = {
    "added": "added",
    "modified": "modified",
    "typechange": "changed in kind",
    "deleted": "deleted",
}


def find_unplanned(policy: Policy, change: Change, listed: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield a finding for each path that a task did something to which it did not list.

    Args:
        policy: says what follows (``safety.unplanned_delete``, ``safety.unplanned_change``).
        change: difference between the task's base and its result.
        listed: ``Creates``, ``Modifies`` and ``Deletes`` of the task; nothing is found when all of them are empty.
    """
    if not any(listed.values()):
        return
    globs = {name: Globs(tuple(each)) for name, each in listed.items() if each}
    for path in change.promotable:
        name = _LINES[path.kind]
        # What it said it would create may have been there by then, made by a task before it.
        names = ("Creates", "Modifies") if name == "Modifies" else (name,)
        if not any(each in globs and globs[each].matches(path.path) for each in names):
            yield _tell(policy, path, name)


def _tell(policy: Policy, path: PathChange, name: str) -> Finding:
    rule = f"safety.unplanned_{'delete' if path.kind == 'deleted' else 'change'}"
    placed = policy.verdict(rule)
    said = f"{shown(path.path)} was {_DONE[path.kind]}, and its task does not list it under {name}:"
    verdict, source = (placed.value, placed.source) if placed else (Verdict.ASK, _BUILT_IN)
    return Finding(CHECK, verdict, rule, source, said, path.path)
