"""What in the state of a repository something still needs, read out of the tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from nightcrew.checkpoint.thinning import Snapshot
from nightcrew.host.clock import parse_stamp
from nightcrew.model.lifecycle import ATTEMPT_FINAL, RUN_FINAL
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader

#: What was written to the store within this time stays, whoever needs it.
YOUNG: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one repository, read at one moment."""

    runs: Sequence[RunRecord]
    tasks: Mapping[str, Sequence[TaskRecord]]
    attempts: Sequence[AttemptRecord]
    checkpoints: Sequence[CheckpointRecord]
    approvals: Sequence[ApprovalRecord]
    promotions: Sequence[PromotionRecord]


def read_rows(tx: Reader, key: str) -> Rows:
    """Return everything recorded of the repository with this key."""
    runs = tx.find(RunRecord, repo_key=key)
    names = {run.id for run in runs}
    open_attempts = [
        attempt
        for run in runs
        for attempt in tx.find(AttemptRecord, run=run.id)
        if run.state not in RUN_FINAL or attempt.state not in ATTEMPT_FINAL
    ]
    return Rows(
        runs=runs,
        tasks={run.id: tx.find(TaskRecord, run=run.id) for run in runs},
        attempts=open_attempts,
        checkpoints=[each for run in runs for each in tx.find(CheckpointRecord, run=run.id)],
        approvals=[each for each in tx.find(ApprovalRecord, state="pending") if each.run in names],
        promotions=[each for run in runs for each in tx.find(PromotionRecord, run=run.id)],
    )


def list_closed(rows: Rows) -> list[RunRecord]:
    """Return the runs that nobody has anything to decide in any more, the one that ended first first.

    A run is closed when it is over and each of its results is promoted or rejected.
    """
    closed = [
        run for run in rows.runs if run.state in RUN_FINAL and all(map(_is_decided, rows.tasks[run.id]))
    ]
    return sorted(closed, key=lambda run: run.ended_at)


def list_snapshots(rows: Rows, now: datetime) -> list[Snapshot]:
    """Return the checkpoints in the order they were taken, those held that something refers to."""
    held = _find_held(rows)
    return [
        Snapshot(
            each.id,
            each.task,
            (now - parse_stamp(each.created_at)).total_seconds(),
            held=each.id in held,
            gone=each.pruned,
        )
        for each in rows.checkpoints
    ]


def list_young(rows: Rows, now: datetime) -> frozenset[str]:
    """Return the checkpoints whose objects stay whoever needs them."""
    since = find_unused_since(rows, now)
    return frozenset(each.id for each in rows.checkpoints if parse_stamp(each.created_at) >= since)


def list_of_runs(rows: Rows, runs: Collection[str]) -> tuple[str, ...]:
    """Return the checkpoints that go with these runs, all but those that a promotion refers to.

    Of a run that is not closed (any more: somebody restored a checkpoint meanwhile) nothing goes.
    """
    over = {run.id for run in list_closed(rows)} & set(runs)
    kept = {task.checkpoint for tasks in rows.tasks.values() for task in tasks if task.promoted}
    return tuple(
        each.id for each in rows.checkpoints if each.run in over and not each.pruned and each.id not in kept
    )


def list_ended(rows: Rows, runs: Collection[str], pruned: Collection[str]) -> set[str]:
    """Return those of the runs that have no checkpoint left; ``pruned`` are those that went just now."""
    return set(runs) - {each.run for each in rows.checkpoints if not each.pruned and each.id not in pruned}


def list_emptied(rows: Rows, pruned: Collection[str]) -> list[TaskRecord]:
    """Return the tasks whose result goes with these checkpoints."""
    return [
        task for tasks in rows.tasks.values() for task in tasks if task.tree and task.checkpoint in pruned
    ]


def find_roots(rows: Rows, refs: Mapping[str, str], pruned: Collection[str]) -> set[str]:
    """Return the commits and trees that are needed.

    Args:
        refs: of the store, those of checkpoints left out.
        pruned: checkpoints that are to go, beside those that are gone.
    """
    gone = {each.id for each in rows.checkpoints if each.pruned} | set(pruned)
    found = set(refs.values())
    for each in rows.checkpoints:
        if each.id not in gone:
            found |= {each.commit, each.tree, each.base_tree}
    for tasks in rows.tasks.values():
        for task in tasks:
            if not task.checkpoint or task.checkpoint not in gone:
                found |= {task.base_tree, task.tree, task.verdict_tree}
    for attempt in rows.attempts:
        found |= {str(attempt.progress.get("lower", "")), *_lowers(attempt)}
    found |= {each.tree for each in rows.promotions if each.state == "prepared"}
    return found - {""}


def find_cut(rows: Rows, pruned: Collection[str]) -> set[str]:
    """Return the commits of checkpoints that stay while the one before them does not."""
    gone = {each.id for each in rows.checkpoints if each.pruned} | set(pruned)
    return {each.commit for each in rows.checkpoints if each.id not in gone and each.parent in gone}


def find_unused_since(rows: Rows, now: datetime) -> datetime:
    """Return the moment since when nothing that was written may be removed.

    An attempt that runs relies on what it wrote, and for as long as it runs nothing else needs to say so.
    """
    running = [parse_stamp(each.started_at) for each in rows.attempts if each.state not in ATTEMPT_FINAL]
    return min([now - YOUNG, *running])


def _is_decided(task: TaskRecord) -> bool:
    return task.state != "succeeded" or bool(task.promoted) or task.verdict == "rejected"


def _find_held(rows: Rows) -> set[str]:
    """Return what tasks, questions and attempts refer to, with what it was taken after: a restore can be undone."""
    held = {
        name
        for tasks in rows.tasks.values()
        for task in tasks
        for name in (task.checkpoint, task.forked_from)
    }
    held |= {each.checkpoint for each in rows.approvals}
    for attempt in rows.attempts:
        held.add(str(attempt.progress.get("checkpoint", "")))
        held |= {str(start.get("checkpoint", "")) for start in _starts(attempt)}
    going = {each.id for each in rows.attempts if each.state not in ATTEMPT_FINAL}
    # Where each of them would go on after a crash: oldest first, so the last one wins.
    held |= set(
        {
            each.attempt: each.id for each in rows.checkpoints if each.attempt in going and each.between
        }.values()
    )
    tasks = {each.id: each.task for each in rows.checkpoints}
    for each in rows.checkpoints:
        # Work that went on from another task's checkpoint, or a result that took the place of another.
        if each.parent and (each.id in held or tasks.get(each.parent) != each.task):
            held.add(each.parent)
    return held - {""}


def _starts(attempt: AttemptRecord) -> Iterable[Mapping[str, object]]:
    for name in ("start", "resume"):
        start = attempt.progress.get(name)
        if isinstance(start, Mapping):
            yield start


def _lowers(attempt: AttemptRecord) -> Iterable[str]:
    return (str(start.get("lower", "")) for start in _starts(attempt))
