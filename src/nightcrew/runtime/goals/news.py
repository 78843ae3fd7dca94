"""What has happened in a run since it was planned, in lines for a planner: results, failures, reasons. Others wrote much of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from nightcrew.model.plans import Task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.text import shown

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

#: Characters of a reason, and of the end of what a command said.
_REASON: Final = 400
_TAIL: Final = 1200
_PATHS: Final = 20
_STATES: Final = {"pending": "not begun", "blocked": "not begun, blocked"}


def list_news(parts: Parts, run: RunRecord, tasks: Sequence[Task]) -> list[str]:
    """Return one entry per task, in the order of the plan."""
    with parts.journal.read() as tx:
        records = {task.name: task for task in tx.find(TaskRecord, run=run.id)}
    return [" ".join(_tell(parts, run, task, records[task.id])) for task in tasks if task.id in records]


def _tell(parts: Parts, run: RunRecord, task: Task, record: TaskRecord) -> Iterator[str]:
    from nightcrew.policy.secrets import redact

    verified = f", {record.verified}" if record.verified else ""
    yield f"task {task.number}: {_STATES.get(record.state, record.state)}{verified}."
    if record.verdict:
        yield f"The person says: {record.verdict}."
    if record.reason:
        yield f"Reason: {redact(shown(record.reason))[:_REASON]}."
    for each in record.evidence:
        if not each.get("passed"):
            tail = redact(shown(str(each.get("tail", ""))[-_TAIL:]))
            yield f"Failed: `{shown(str(each.get('command', '')))}` (exit {each.get('exit_code')}): {tail}"
    if record.tree and record.base_tree and record.state == "succeeded":
        paths = [
            path.path
            for path in parts.store(parts.repository_of(run)).compare(record.base_tree, record.tree).paths
        ]
        more = f" and {len(paths) - _PATHS} more" if len(paths) > _PATHS else ""
        yield f"Changed: {', '.join(shown(path) for path in paths[:_PATHS])}{more}."
