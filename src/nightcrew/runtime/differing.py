"""What changed: of a task, of a whole run, of a checkpoint, between two checkpoints. Tree against tree, always."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import NotFound, StaleError, UsageError
from nightcrew.model.records import CheckpointRecord, RunRecord, TaskRecord
from nightcrew.model.text import shown
from nightcrew.runtime.reviewing import plan_of, trees_of
from nightcrew.runtime.views import tasks_of

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def diff_task(parts: Parts, name: str, *, stat: bool) -> dict[str, Any]:
    """Return what a task changed, from what it started on to its result (or its last checkpoint when it has none).

    Raises:
        NotFound: it has produced nothing yet.
    """
    with parts.journal.read() as tx:
        task = tx.need(TaskRecord, name)
        run = tx.need(RunRecord, task.run)
        old, new = trees_of(tx, task)
    if not new:
        raise NotFound(
            f"{name} has no result yet; it is {task.state}",
            code="task.no_result",
            hint=f"nightcrew why {name}",
        )
    return _patch(parts, run, old, new, stat=stat)


def diff_run(parts: Parts, name: str, *, stat: bool) -> dict[str, Any]:
    """Return what all succeeded tasks of a run change together.

    Raises:
        NotFound: none has succeeded.
        StaleError: their results do not fit together.
    """
    from nightcrew.plan.check import waves

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        order = [each for wave in waves(plan_of(tx, run).tasks) for each in wave]
        tasks = {task.name: task for task in tasks_of(tx, name) if task.tree}
    pieces = [(each, tasks[each].base_tree, tasks[each].tree) for each in order if each in tasks]
    if not pieces:
        raise NotFound(
            f"no task of {name} has a result yet", code="run.no_result", hint=f"nightcrew show {name}"
        )
    composed = parts.store(parts.repository_of(run)).compose(run.base_tree, pieces)
    if composed.conflicts:
        raise StaleError(
            f"the results of {name} do not fit together",
            code="diff.conflict",
            where=[describe_conflict(each) for each in composed.conflicts],
            hint=f"one at a time: nightcrew diff {name}/{pieces[0][0]}",
        )
    return _patch(parts, run, run.base_tree, composed.tree, stat=stat)


def diff_checkpoints(parts: Parts, old: str, new: str, *, stat: bool) -> dict[str, Any]:
    """Return what a checkpoint changed against its base, or what differs between two checkpoints of a repository.

    Raises:
        UsageError: they belong to different repositories.
    """
    with parts.journal.read() as tx:
        first = tx.need(CheckpointRecord, old)
        run = tx.need(RunRecord, first.run)
        second = tx.need(CheckpointRecord, new) if new else None
        if second and tx.need(RunRecord, second.run).repo_key != run.repo_key:
            raise UsageError(f"{old} and {new} belong to different repositories")
    if second is None:
        return _patch(parts, run, first.base_tree, first.tree, stat=stat)
    return _patch(parts, run, first.tree, second.tree, stat=stat)


def describe_conflict(conflict: Any) -> str:
    """Return one line that names a task, what it collides with, and where."""
    others = ", ".join(conflict.others) or "the base"
    return f"{conflict.part} collides with {others} in {', '.join(conflict.paths)}"


def _patch(parts: Parts, run: RunRecord, old: str, new: str, *, stat: bool) -> dict[str, Any]:
    store = parts.store(parts.repository_of(run))
    raw = store.patch(old, new, stat=stat)
    text = raw.decode("utf-8", "surrogateescape")
    change = canonical.to_plain(store.compare(old, new))
    return {"raw": raw, "shown": shown(text, keep="\n\t"), "json": {**change, "patch": "" if stat else text}}
