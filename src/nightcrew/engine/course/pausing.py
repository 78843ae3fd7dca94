"""Pausing and going on again: only tables, so that it works with a host, without one, and across a restart.

A pause of a task that runs is a wish in the journal. Its host freezes the agent, ends it, keeps what it did as a
checkpoint, and records attempt and task as ``paused``; the slot is free by then. A run that is paused starts nothing,
whatever is decided meanwhile. Going on is one transaction: what was paused becomes ``pending``, and its next attempt
begins where the paused one says (``progress.resume``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nightcrew.engine.course import attempts, starts
from nightcrew.engine.course.settle import find_alive, reset_task, withdraw_questions
from nightcrew.model.errors import StaleError
from nightcrew.model.ids import join_task
from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL
from nightcrew.model.records import AttemptRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Kind of the event that carries the wish to the host, which may be another process.
PAUSE_TASK: Final = "task.pause_requested"


def request(tx: Writer, target: str, *, actor: str, reason: str) -> list[str]:
    """Ask for a run or a task to be paused; what does not run now is paused by this already.

    Returns:
        The full ids of the tasks that it is about.

    Raises:
        StaleError: it cannot be paused; says why.
    """
    if "/" not in target:
        return _request_run(tx, tx.need(RunRecord, target), actor, reason)
    task = tx.need(TaskRecord, target)
    run = tx.need(RunRecord, task.run)
    if task.state not in ("pending", "running") or run.state != "running":
        raise _cannot(target, task.state if task.state not in ("pending", "running") else run.state)
    if task.state == "pending":
        hold(tx, task, reason=reason, actor=actor)
    else:
        tx.append(PAUSE_TASK, run=task.run, task=target, actor=actor, data={"reason": reason})
    return [target]


def _request_run(tx: Writer, run: RunRecord, actor: str, reason: str) -> list[str]:
    if run.state != "running":
        raise _cannot(run.id, run.state)
    tx.change(run, "run.paused", actor=actor, data={"reason": reason}, state="paused", reason=reason)
    return [task.id for task in tx.find(TaskRecord, run=run.id, state=("pending", "running"))]


def _cannot(target: str, state: str) -> StaleError:
    said = f"{target} is {state}; there is nothing to pause"
    if state == "paused":
        return StaleError(
            f"{target} is paused already", code="pause.paused", hint=f"nightcrew resume {target}"
        )
    if state in (*TASK_FINAL, *RUN_FINAL):
        return StaleError(said, code="pause.over", hint=f"nightcrew show {target}")
    return StaleError(
        f"{said}: nothing of it runs before it is answered", code="pause.waiting", hint="nightcrew inbox"
    )


def hold(tx: Writer, task: TaskRecord, *, reason: str, actor: str = "engine") -> None:
    """Pause a task of which no attempt is alive; one that must not or cannot be paused any more stays as it is."""
    if task.state in ("pending", "running"):
        tx.change(task, "task.paused", actor=actor, data={"reason": reason}, state="paused", reason=reason)


def pause_dead(tx: Writer, *, run: str = "", task: str = "", reason: str, now: str) -> None:
    """Pause what a dead host left; only while holding its lock, so that no agent of this state directory is alive."""
    for attempt in find_alive(tx, run=run, task=task):
        resume = starts.recover(tx, attempt)
        attempts.pause(tx, attempt, resume, reason=reason, now=now, keep_grants=resume.captured)
    wanted = tx.find(TaskRecord, run=run, state="running") if run else [tx.need(TaskRecord, task)]
    for each in wanted:
        if each.state == "running":
            hold(tx, each, reason=reason)


def release(tx: Writer, target: str, *, actor: str) -> list[str]:
    """Let a paused run or task go on; return the full ids of the tasks that do.

    Raises:
        StaleError: it is not paused, or still ending.
    """
    if "/" in target:
        task = tx.need(TaskRecord, target)
        run = tx.need(RunRecord, task.run)
        if run.state == "paused":
            raise StaleError(
                f"{run.id} is paused as a whole", code="resume.run", hint=f"nightcrew resume {run.id}"
            )
        if task.state != "paused":
            raise StaleError(
                f"{target} is {task.state}, not paused", code="resume.state", hint=f"nightcrew show {target}"
            )
        go_on(tx, task, actor)
        return [target]
    run = tx.need(RunRecord, target)
    if run.state != "paused":
        raise StaleError(
            f"{target} is {run.state}, not paused", code="resume.state", hint=f"nightcrew show {target}"
        )
    withdraw_questions(tx, run, "the run goes on", actor=actor)
    tx.change(run, "run.resumed", actor=actor, state="running", reason="")
    paused = tx.find(TaskRecord, run=run.id, state="paused")
    for task in paused:
        go_on(tx, task, actor)
    return [task.id for task in paused]


def go_on(tx: Writer, task: TaskRecord, actor: str) -> None:
    """Let a paused task go on."""
    data = {"paused": True}
    tx.change(
        task, "task.resumed", actor=actor, data=data, state="pending", reason="", waiting_for="", after=()
    )


def release_waiting(tx: Writer, task: TaskRecord) -> bool:
    """Let a task go on that was paused until others are done, when they are; returns whether it does.

    With their results it begins again on top of them; without any it goes on where it was.
    """
    if task.state != "paused" or not task.after:
        return False
    others = [tx.need(TaskRecord, join_task(task.run, name)) for name in task.after]
    if any(other.state not in TASK_FINAL for other in others):
        return False
    if any(other.state == "succeeded" for other in others):
        reset_task(tx, task)
    else:
        go_on(tx, task, "engine")
    return True


def is_running(tx: Reader, target: str) -> bool:
    """Tell whether anything of a run or task still runs, or ends."""
    if "/" in target:
        return tx.need(TaskRecord, target).state == "running"
    return bool(tx.find(TaskRecord, run=target, state="running", limit=1)) or any(
        tx.find(AttemptRecord, run=target, state=("starting", "running"), limit=1)
    )
