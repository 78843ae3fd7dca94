"""Changing the course of a run: cancel, run a task again, restore a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightcrew.host.clock import stamp
from nightcrew.host.tokens import nonce
from nightcrew.model import canonical
from nightcrew.model.errors import NotFound, StaleError, UsageError
from nightcrew.model.ids import CHECKPOINT
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.plans import Plan
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.runtime.views import view_checkpoint

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.runtime.parts import Parts

#: Runs in these states can have a task run again; a promoted run must be undone first, a cancelled one is over.
REOPENABLE = ("running", "in_review", "partially_promoted", "failed", "rejected")


def cancel(parts: Parts, name: str, *, reason: str) -> tuple[str, ...]:
    """Cancel a run or a task and return, when its agents are dead, the ids of the tasks that were cancelled.

    Raises:
        StaleError: it is over already.
        EngineUnavailable: the host did not answer in time; the request is recorded.
    """
    from nightcrew.engine import client

    actor = f"user:{parts.env.user}"
    return client.cancel(
        parts.journal, name, actor=actor, reason=reason, state_dir=parts.env.state, clock=parts.clock
    )


def retry(parts: Parts, name: str) -> tuple[str, ...]:
    """Have a task run again from the start, with everything that was blocked by it; return the task ids.

    Raises:
        StaleError: it runs or waits now, is promoted, or its run is over for good.
    """
    from nightcrew.engine import client

    return client.retry(parts.journal, name, actor=f"user:{parts.env.user}", clock=parts.clock)


#: What a task is before it has run.
_FRESH: dict[str, Any] = {
    "state": "pending",
    "verified": "",
    "verdict": "",
    "verdict_tree": "",
    "tree": "",
    "findings": (),
    "evidence": (),
    "waiting_for": "",
    "reason": "",
    "started_at": "",
    "ended_at": "",
}


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restore would do.

    Attributes:
        task: task whose result is set.
        source: checkpoint it is taken from.
        before: checkpoint that holds the result now, empty when there is none.
        tree: resulting tree.
        base_tree: what the task started from.
        paths: how many paths differ from the result now.
    """

    task: TaskRecord
    source: CheckpointRecord
    before: str
    tree: str
    base_tree: str
    paths: int


def plan_restore(parts: Parts, name: str, files: Sequence[str]) -> Restoration:
    """Return what restoring a checkpoint, or some of its files, would do.

    Raises:
        NotFound: there is no such checkpoint, or with ``files`` no result to put them into.
        StaleError: the task runs, is promoted, or its run is over for good.
    """
    with parts.journal.read() as tx:
        source = tx.need(CheckpointRecord, name)
        task = tx.need(TaskRecord, source.task)
        run = tx.need(RunRecord, task.run)
        now = tx.need(CheckpointRecord, task.checkpoint) if task.checkpoint else None
    _need_settled(task)
    _refuse_kept(run, task)
    store = parts.store(parts.repository_of(run))
    tree = source.tree
    if files:
        if now is None:
            raise NotFound(
                f"{task.id} has no result to put files into",
                hint=f"without --files: nightcrew checkpoint restore {name}",
            )
        tree = store.overlay_paths(now.tree, source.tree, list(files))
        if tree == now.tree:
            raise UsageError(
                f"no path that matches {' '.join(files)} differs between {now.id} and {name}",
                code="restore.nothing",
                hint=f"nightcrew checkpoint diff {now.id} {name} --stat",
            )
    against = now.tree if now else source.base_tree
    paths = len(store.compare(against, tree).paths)
    return Restoration(task, source, now.id if now else "", tree, source.base_tree, paths)


def restore(parts: Parts, name: str, files: Sequence[str]) -> dict[str, Any]:
    """Make the result of a task what a checkpoint holds, as a new checkpoint; its acceptance must run again.

    Raises:
        NotFound, StaleError, UsageError: as ``plan_restore``; nothing was changed.
    """
    planned = plan_restore(parts, name, files)
    at = stamp(parts.clock.now())
    made = _take_checkpoint(parts, planned, files, at)
    actor = f"user:{parts.env.user}"
    with parts.journal.write() as tx:
        task = tx.need(TaskRecord, planned.task.id)
        _need_settled(task)
        run = tx.need(RunRecord, task.run)
        tx.add(
            made,
            "checkpoint.restored",
            actor=actor,
            data={"from": name, "files": list(files), "tree": made.tree},
        )
        _supersede(tx, task, actor)
        generation = task.generation + 1
        _leave_captured(tx, task, made, generation, at)
        tx.change(
            task,
            "task.restored",
            actor=actor,
            data={"checkpoint": made.id, "from": name},
            **{**_FRESH, "reason": f"restored from {name}; acceptance must run again"},
            base_tree=made.base_tree,
            checkpoint=made.id,
            attempts=task.attempts + 1,
            generation=generation,
        )
        _reopen(tx, run, actor)
        plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
    return {
        **view_checkpoint(made, current=True),
        "checkpoint": made.id,
        "before": planned.before,
        "acceptance": len(plan.task(task.name).accept),
    }


def _take_checkpoint(parts: Parts, planned: Restoration, files: Sequence[str], at: str) -> CheckpointRecord:
    with parts.journal.write() as tx:
        name = tx.next_id(CHECKPOINT)
        run = tx.need(RunRecord, planned.task.run)
        before = tx.get(CheckpointRecord, planned.before) if planned.before else None
    store = parts.store(parts.repository_of(run))
    why = f"restored from {planned.source.id}" + (f" ({' '.join(files)})" if files else "")
    parent = before.commit if before else run.base_commit
    commit = store.commit(
        planned.tree, parents=[parent], message=f"{name}: {planned.task.id}: {why}\n", at=at, ref=name
    )
    change = store.compare(planned.base_tree, planned.tree)
    return CheckpointRecord(
        id=name,
        run=run.id,
        task=planned.task.id,
        attempt="",
        parent=planned.before,
        base_tree=planned.base_tree,
        tree=planned.tree,
        commit=commit,
        why=why,
        created_at=at,
        paths=len(change.paths),
        ignored=sum(path.ignored for path in change.paths),
    )


def _leave_captured(tx: Writer, task: TaskRecord, made: CheckpointRecord, generation: int, at: str) -> None:
    """Record an attempt that ended with the restored tree: the next one finds it captured and only judges it."""
    from nightcrew.engine.attempts import Start, name_attempt

    resume = Start(checkpoint=made.id, captured=True, asked=True)
    number = task.attempts + 1
    record = AttemptRecord(
        id=name_attempt(task.id, number),
        run=task.run,
        task=task.id,
        number=number,
        state="parked",
        agent="restore",
        nonce=nonce(),
        started_at=at,
        ended_at=at,
        reason=f"restored as {made.id}",
        progress={
            "generation": generation,
            "start": canonical.to_plain(Start()),
            "phase": "captured",
            "resume": canonical.to_plain(resume),
        },
    )
    tx.add(record, "attempt.restored", data={"checkpoint": made.id})


def _supersede(tx: Writer, task: TaskRecord, actor: str) -> None:
    for approval in tx.find(ApprovalRecord, task=task.id, state="pending"):
        tx.change(
            approval,
            "approval.superseded",
            actor=actor,
            data={"reason": "the result was restored"},
            state="superseded",
        )


def _need_settled(task: TaskRecord) -> None:
    if task.state in ("succeeded", "failed", "cancelled", "awaiting_approval", "awaiting_answer"):
        return
    hint = f"nightcrew cancel {task.id}" if task.state != "skipped" else f"nightcrew show {task.id}"
    raise StaleError(
        f"{task.id} is {task.state}; nothing was done", code="task.not_settled", hint=f"{hint}, then again"
    )


def _refuse_kept(run: RunRecord, task: TaskRecord) -> None:
    if task.promoted:
        raise StaleError(
            f"{task.id} is in your repository by {task.promoted}; nothing was done",
            code="task.promoted",
            hint=f"take it back first: nightcrew undo {task.promoted}",
        )
    if run.state not in REOPENABLE:
        raise StaleError(
            f"{run.id} is {run.state}; nothing was done", code="run.over", hint=f"nightcrew show {run.id}"
        )


def _reopen(tx: Writer, run: RunRecord, actor: str) -> None:
    if run.state in RUN_FINAL:
        tx.change(
            run,
            "run.resumed",
            actor=actor,
            state="running",
            ended_at="",
            reason="",
            generation=run.generation + 1,
        )


def list_checkpoints(parts: Parts, name: str) -> list[dict[str, Any]]:
    """Return the checkpoints of a run or task, oldest first."""
    with parts.journal.read() as tx:
        found = tx.find(CheckpointRecord, task=name) if "/" in name else tx.find(CheckpointRecord, run=name)
        current = {task.checkpoint for task in tx.find(TaskRecord, run=name.partition("/")[0])}
    return [view_checkpoint(each, current=each.id in current) for each in found]
