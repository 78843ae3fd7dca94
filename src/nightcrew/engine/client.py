"""What a process that hosts no engine can do to a run: it writes to the tables, and a host anywhere follows them.

A decision *is* its row and its event, written in one transaction by whoever takes it. There is no other message that
could be lost: a living host follows the journal, and a later one begins with the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course import pausing, settle
from nightcrew.engine.money import ceilings
from nightcrew.host.clock import Clock, SystemClock, stamp
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable, StaleError
from nightcrew.model.ids import join_task
from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL, TASK_WAITING
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader, Writer

LOCK_NAME: Final = "engine.lock"
_LOOK_S: Final = 0.1
#: States of a run that no host has ever taken up.
NOT_STARTED: Final = frozenset({"draft", "awaiting_approval"})
#: States of a task that ``retry`` may run again.
AGAIN: Final = frozenset({"failed", "cancelled", "succeeded"})


def wake(journal: Journal, run_id: str, *, clock: Clock | None = None, now: str = "") -> None:
    """Draw the consequences of the decisions taken so far: waiting tasks that are answered may go on, or fail.

    A host is not needed for it and not started by it; a living one notices by itself within a fraction of a second.

    Args:
        now: time that questions are looked at as of, where it is not the time of the clock: theirs stands still while
            nobody hosts the engine.
    """
    now = now or stamp((clock or SystemClock()).now())
    with journal.write() as tx:
        for task in tx.find(TaskRecord, run=run_id, state=tuple(TASK_WAITING)):
            settle.settle_task(tx, task, now)
        if settle.settle_run(tx, tx.need(RunRecord, run_id)):
            pausing.release(tx, run_id, actor="engine")
        ceilings.settle_answers(tx, tx.need(RunRecord, run_id))


def cancel(
    journal: Journal,
    target: str,
    *,
    actor: str,
    reason: str = "",
    state_dir: Path,
    clock: Clock | None = None,
    wait_s: float = 30.0,
) -> tuple[str, ...]:
    """Cancel a run or a task and return when its agents are dead, with the ids of the tasks that were cancelled.

    Args:
        target: full id of a run or of a task.
        actor: ``user:<name>``.
        state_dir: where the engine's lock is; a dead or absent host is stood in for.
        wait_s: how long to wait for a living host.

    Raises:
        StaleError: it is over already.
        EngineUnavailable: the host did not answer in time; the request is recorded and will be carried out.
    """
    clock = clock or SystemClock()
    said = f"cancelled by {actor.removeprefix('user:')}" + (f": {reason}" if reason else "")
    with journal.write() as tx:
        run_id, tasks = _find_targets(tx, target)
        kind = settle.CANCEL_TASK if "/" in target else settle.CANCEL_RUN
        tx.append(kind, run=run_id, task=target if "/" in target else "", actor=actor, data={"reason": said})
        if tx.need(RunRecord, run_id).state in NOT_STARTED:
            _cancel_rows(tx, run_id, target, said, stamp(clock.now()))
    _await_host(
        lambda: _is_over(journal, run_id, target),
        lambda: _cancel_unhosted(journal, run_id, target, said, stamp(clock.now())),
        FileLock(state_dir / LOCK_NAME),
        target,
        clock,
        wait_s,
        "has not ended",
    )
    with journal.read() as tx:
        return tuple(name for name in tasks if tx.need(TaskRecord, name).state == "cancelled")


def pause(
    journal: Journal,
    target: str,
    *,
    actor: str,
    reason: str = "",
    state_dir: Path,
    clock: Clock | None = None,
    wait_s: float = 60.0,
) -> tuple[str, ...]:
    """Pause a run or a task and return when nothing of it runs any more, with the ids of the tasks that are paused.

    What an agent has done until then is kept as a checkpoint. A task that came to its end meanwhile, or to a question,
    is not among those returned.

    Args:
        target, actor, state_dir, wait_s: as for ``cancel``.

    Raises:
        StaleError: it is over, waits for a human, or is paused already.
        EngineUnavailable: the host did not answer in time; the request is recorded and will be carried out.
    """
    clock = clock or SystemClock()
    said = f"paused by {actor.removeprefix('user:')}" + (f": {reason}" if reason else "")
    with journal.write() as tx:
        tasks = pausing.request(tx, target, actor=actor, reason=said)
    where = {"task": target} if "/" in target else {"run": target}

    def is_done() -> bool:
        with journal.read() as tx:
            return not pausing.is_running(tx, target)

    def stand_in() -> None:
        with journal.write() as tx:
            pausing.pause_dead(tx, **where, reason=said, now=stamp(clock.now()))

    _await_host(is_done, stand_in, FileLock(state_dir / LOCK_NAME), target, clock, wait_s, "has not paused")
    with journal.read() as reader:
        return tuple(name for name in tasks if reader.need(TaskRecord, name).state == "paused")


def resume(journal: Journal, target: str, *, actor: str) -> tuple[str, ...]:
    """Let a paused run or task go on; return the ids of the tasks that were paused. A living host notices by itself.

    Raises:
        StaleError: it is not paused; a task of a paused run goes on with its run.
    """
    with journal.write() as tx:
        return tuple(pausing.release(tx, target, actor=actor))


def _await_host(
    is_done: Callable[[], bool],
    stand_in: Callable[[], None],
    lock: FileLock,
    target: str,
    clock: Clock,
    wait_s: float,
    late: str,
) -> None:
    """Wait until a living host has done what was asked of it; do it ourselves while there is none."""
    deadline = clock.monotonic() + wait_s
    while not is_done():
        if lock.acquire():
            try:
                stand_in()
            finally:
                lock.release()
        elif clock.monotonic() > deadline:
            raise EngineUnavailable(
                f"{lock.holder() or 'the host'} {late} {target} yet; the request is recorded",
                code="engine.slow",
                hint=f"nightcrew show {target}",
            )
        else:
            clock.sleep(_LOOK_S)


def retry(journal: Journal, task_id: str, *, actor: str, clock: Clock | None = None) -> tuple[str, ...]:
    """Let a task be run again from the start, with everything that was blocked by it; return their ids.

    A task that has succeeded is run again too (its result was rejected); its verdict is forgotten.

    Raises:
        StaleError: the task is not over, or the run cannot go on any more.
    """
    with journal.write() as tx:
        task = tx.need(TaskRecord, task_id)
        run = tx.need(RunRecord, task.run)
        if task.state not in AGAIN or task.promoted:
            shown = "promoted" if task.promoted else task.state
            hint = f"nightcrew {'resume' if task.state == 'paused' else 'show'} {task_id}"
            raise StaleError(f"{task_id} is {shown}; nothing to run again", code="retry.state", hint=hint)
        if run.state in ("cancelled", "completed_empty", "rejected", "promoted"):
            raise StaleError(
                f"{run.id} is {run.state} and cannot go on", hint="start a new run: nightcrew run -f FILE"
            )
        again = [task_id, *_find_blocked(tx, run, task)]
        for name in again:
            settle.reset_task(tx, tx.need(TaskRecord, name), actor=actor)
        if run.state != "running":
            tx.change(
                run, "run.resumed", actor=actor, state="running", ended_at="", generation=run.generation + 1
            )
    return tuple(again)


def _find_blocked(tx: Reader, run: RunRecord, task: TaskRecord) -> list[str]:
    """Return the blocked tasks that depend on ``task``, directly or not, in the order written."""
    plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
    reached = {task.name}
    states = {each.name: each.state for each in tx.find(TaskRecord, run=run.id)}
    grown = True
    while grown:
        grown = False
        for each in plan.tasks:
            if each.id not in reached and states[each.id] == "blocked" and reached & set(each.depends):
                reached.add(each.id)
                grown = True
    return [join_task(run.id, each.id) for each in plan.tasks if each.id in reached and each.id != task.name]


def _find_targets(tx: Reader, target: str) -> tuple[str, list[str]]:
    if "/" in target:
        task = tx.need(TaskRecord, target)
        if task.state in TASK_FINAL:
            raise StaleError(f"{target} is {task.state} already", hint=f"nightcrew show {target}")
        return task.run, [target]
    run = tx.need(RunRecord, target)
    if run.state in RUN_FINAL:
        raise StaleError(f"{target} is {run.state} already", hint=f"nightcrew show {target}")
    return run.id, [task.id for task in tx.find(TaskRecord, run=run.id) if task.state not in TASK_FINAL]


def _is_over(journal: Journal, run_id: str, target: str) -> bool:
    with journal.read() as tx:
        if "/" in target:
            return tx.need(TaskRecord, target).state in TASK_FINAL
        return tx.need(RunRecord, run_id).state in RUN_FINAL


def _cancel_unhosted(journal: Journal, run_id: str, target: str, said: str, now: str) -> None:
    """Do what a host would do; only while holding its lock, so that no agent of this state directory is alive."""
    with journal.write() as tx:
        settle.lose_attempts(tx, settle.find_alive(tx, run=run_id), now)
        _cancel_rows(tx, run_id, target, said, now)


def _cancel_rows(tx: Writer, run_id: str, target: str, said: str, now: str) -> None:
    wanted = [target] if "/" in target else [task.id for task in tx.find(TaskRecord, run=run_id)]
    for name in wanted:
        settle.cancel_task(tx, tx.need(TaskRecord, name), said, now)
    run = tx.need(RunRecord, run_id)
    if "/" not in target and run.state not in RUN_FINAL:
        settle.withdraw_questions(tx, run, said)
        tx.change(run, "run.cancelled", data={"reason": said}, state="cancelled", reason=said, ended_at=now)
