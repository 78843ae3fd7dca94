"""A tree of ours becomes the result of a task: as a new checkpoint, judged and proven again like any other result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.host.tokens import nonce
from nightcrew.model import canonical
from nightcrew.model.errors import StaleError
from nightcrew.model.ids import CHECKPOINT
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    RunRecord,
    TaskRecord,
)

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.runtime.parts import Parts

#: Runs in these states can have a task run again; a promoted run must be undone first, a cancelled one is over.
REOPENABLE: Final = ("running", "paused", "in_review", "partially_promoted", "failed", "rejected")
#: States of a task in which nothing of it runs, and which a new result may follow on. A pending one may be started at
#: any moment; then the row has changed, and nothing is done.
SETTLED: Final = (
    "succeeded",
    "failed",
    "cancelled",
    "pending",
    "awaiting_approval",
    "awaiting_answer",
    "paused",
)

#: What a task is before it has run.
_FRESH: Final[Mapping[str, Any]] = {
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
class Adoption:
    """What becomes the result of a task.

    Attributes:
        task: as it was when this was planned; when it has changed since, nothing is done.
        tree: the new result, ignored files included. base_tree: what it is a change of.
        built_on: trees of the tasks it builds on, by name.
        before: checkpoint that holds the result now, empty when there is none.
        source: checkpoint it was made from.
        kind: word for events and the attempt's agent: ``restored`` or ``rolled_back``.
        why: in words, for lists of checkpoints.
        data: what the event tells beside that.
    """

    task: TaskRecord
    tree: str
    base_tree: str
    built_on: Mapping[str, str]
    before: str
    source: str
    kind: str
    why: str
    data: Mapping[str, Any]


def adopt(parts: Parts, wanted: Adoption) -> CheckpointRecord:
    """Take a checkpoint of the tree and have the task judged with it; its run goes on for that.

    The objects come first and the rows last, in one transaction: a kill in between leaves everything as it was.

    Raises:
        StaleError: the task changed since it was looked at, or it may have no new result; nothing was changed.
    """
    at = stamp(parts.clock.now())
    made = _take_checkpoint(parts, wanted, at)
    crash.point("runtime.adopt.checkpoint")
    actor = f"user:{parts.env.user}"
    with parts.journal.write() as tx:
        task = tx.need(TaskRecord, wanted.task.id)
        run = tx.need(RunRecord, task.run)
        _check_same(wanted.task, task)
        need_settled(task)
        refuse_kept(run, task)
        data = {**wanted.data, "from": wanted.source, "tree": made.tree}
        tx.add(made, f"checkpoint.{wanted.kind}", actor=actor, data=data)
        _supersede(tx, task, actor)
        generation = task.generation + 1
        _leave_captured(tx, task, made, generation, at, wanted.kind)
        tx.change(
            task,
            f"task.{wanted.kind}",
            actor=actor,
            data={**data, "checkpoint": made.id, "before": wanted.before},
            **{**_FRESH, "reason": f"{wanted.why}; acceptance must run again"},
            base_tree=made.base_tree,
            built_on=dict(wanted.built_on),
            checkpoint=made.id,
            attempts=task.attempts + 1,
            generation=generation,
        )
        reopen(tx, run, actor)
    crash.point("runtime.adopt.done")
    return made


def need_settled(task: TaskRecord) -> None:
    """Raise StaleError unless nothing of the task runs and it has run."""
    if task.state in SETTLED:
        return
    hint = f"nightcrew cancel {task.id}" if task.state not in ("skipped", "blocked") else ""
    raise StaleError(
        f"{task.id} is {task.state}; nothing was done",
        code="task.not_settled",
        hint=f"{hint}, then again" if hint else f"nightcrew show {task.id}",
    )


def refuse_kept(run: RunRecord, task: TaskRecord) -> None:
    """Raise StaleError when the task is in the user's repository, or its run is over for good."""
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


def reopen(tx: Writer, run: RunRecord, actor: str) -> None:
    """Let a run that had come to its end go on."""
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


def _check_same(planned: TaskRecord, task: TaskRecord) -> None:
    if (task.generation, task.checkpoint, task.tree) != (
        planned.generation,
        planned.checkpoint,
        planned.tree,
    ):
        raise StaleError(
            f"{task.id} has changed since it was looked at; nothing was done",
            code="record.changed",
            hint=f"nightcrew show {task.id}",
        )


def _take_checkpoint(parts: Parts, wanted: Adoption, at: str) -> CheckpointRecord:
    with parts.journal.write() as tx:
        name = tx.next_id(CHECKPOINT)
        run = tx.need(RunRecord, wanted.task.run)
        before = tx.get(CheckpointRecord, wanted.before) if wanted.before else None
    store = parts.store(parts.repository_of(run))
    parent = before.commit if before else run.base_commit
    message = f"{name}: {wanted.task.id}: {wanted.why}\n"
    commit = store.commit(wanted.tree, parents=[parent], message=message, at=at, ref=name)
    change = store.compare(wanted.base_tree, wanted.tree)
    return CheckpointRecord(
        id=name,
        run=run.id,
        task=wanted.task.id,
        attempt="",
        parent=wanted.before,
        base_tree=wanted.base_tree,
        built_on=dict(wanted.built_on),
        tree=wanted.tree,
        commit=commit,
        why=wanted.why,
        created_at=at,
        paths=len(change.paths),
        ignored=sum(path.ignored for path in change.paths),
    )


def _leave_captured(
    tx: Writer, task: TaskRecord, made: CheckpointRecord, generation: int, at: str, kind: str
) -> None:
    """Record an attempt that ended with the adopted tree: the next one finds it captured and only judges it."""
    from nightcrew.engine.course.starts import Start, name_attempt

    resume = Start(checkpoint=made.id, captured=True, asked=True)
    number = task.attempts + 1
    record = AttemptRecord(
        id=name_attempt(task.id, number),
        run=task.run,
        task=task.id,
        number=number,
        state="parked",
        agent=kind,
        nonce=nonce(),
        started_at=at,
        ended_at=at,
        reason=f"{kind.replace('_', ' ')} as {made.id}",
        progress={
            "generation": generation,
            "start": canonical.to_plain(Start()),
            "phase": "captured",
            "resume": canonical.to_plain(resume),
        },
    )
    tx.add(record, f"attempt.{kind}", data={"checkpoint": made.id})


def _supersede(tx: Writer, task: TaskRecord, actor: str) -> None:
    for approval in tx.find(ApprovalRecord, task=task.id, state="pending"):
        tx.change(
            approval,
            "approval.superseded",
            actor=actor,
            data={"reason": "the result was replaced"},
            state="superseded",
        )
