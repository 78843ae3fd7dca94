"""What an agent that takes over a task from another one is told: who it was, why it ended, what it changed, and what is left of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.rerouting import find_predecessor
from nightcrew.engine.course.starts import Start, find_left
from nightcrew.engine.workspace import Workspace
from nightcrew.model.records import AttemptRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

#: Key in the progress that an adapter is given.
KEY: Final = "taken_over"
_PATHS: Final = 40
_REASON: Final = 1000


def find_handover(
    journal: Journal, workspace: Workspace, attempt: AttemptRecord, start: Start
) -> Mapping[str, Any]:
    """Return ``{taken_over: {agent, why, checkpoint, paths, more, kept}}``; nothing when no other agent was at it."""
    with journal.read() as tx:
        task = tx.need(TaskRecord, attempt.task)
        before = find_predecessor(tx, task, attempt.number)
        left = find_left(tx, before) if before is not None else None
    if before is None:
        return {}
    changed: list[str] = []
    if left is not None:
        changed = [each.path for each in workspace.store.compare(left.base_tree, left.tree).promotable]
    told = {
        "agent": before.agent,
        "why": workspace.redact(before.reason)[:_REASON],
        "checkpoint": left.id if left is not None else "",
        "paths": [workspace.redact(path) for path in changed[:_PATHS]],
        "more": max(0, len(changed) - _PATHS),
        # It goes on in these files, or begins with those that the task began with.
        "kept": bool(left is not None and (start.checkpoint or start.shadow)),
    }
    return {KEY: told}
