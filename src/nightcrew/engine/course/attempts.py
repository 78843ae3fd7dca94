"""The rows of attempts: begun, running, captured, parked, ended, lost. Every function is one transaction's worth.

An attempt's ``progress`` holds, as plain JSON:

- ``generation``: of its task; ``start``: what it began from (see ``starts.Start``);
- ``phase``: ``agent`` while the agent may run, ``captured`` once its result is a checkpoint: from there on a killed host
  costs nothing, because judging a tree can simply be done again;
- ``shadow``, ``lower``: name of its shadow and the tree its read-only layers hold;
- ``checkpoint``: the last one taken; ``agent``: what its adapter reported as done;
- ``grants``: approvals it used up, given back if it is lost (its work is thrown away with it);
- ``approvals``: what it is parked for; ``resume``: the Start of the attempt after it, when parked or paused;
- ``retry_s``: seconds until the next attempt; absent when there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course import breaker, inquiring, rerouting
from nightcrew.engine.course.grants import give_back, stayed_inside
from nightcrew.engine.course.retry import Retry, decide_retry
from nightcrew.engine.course.starts import Start, choose_start, name_attempt
from nightcrew.model import canonical
from nightcrew.model.inquiries import QUESTION
from nightcrew.model.lifecycle import ATTEMPT_FINAL, TASK_FINAL
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.model.settings import Retries

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Failure class → state of the attempt that it ends in; anything else is ``failed``.
ENDS: Final[Mapping[str, str]] = {
    "idle": "timed_out",
    "hard": "timed_out",
    "memory": "killed",
    "disk": "killed",
    "cancelled": "killed",
    "lost": "lost",
}


def begin(
    tx: Writer,
    task_id: str,
    number: int,
    *,
    agent: str,
    nonce: str,
    transcript: str,
    now: str,
    fallback_from: str = "base",
) -> AttemptRecord | None:
    """Return attempt ``number`` of a task, begun now if it was not; None when the task must not go on.

    A host that died may have begun it already: then it is returned as it stands, and its state says the rest.

    Args:
        fallback_from: what an agent that takes over from a failed one begins with, see ``Retries``.
    """
    found = tx.get(AttemptRecord, name_attempt(task_id, number))
    if found is not None:
        return found
    task = tx.need(TaskRecord, task_id)
    run = tx.need(RunRecord, task.run)
    held = run.state == "paused" or task.state == "paused"
    if task.state not in ("pending", "running", "paused") or not (held or run.state == "running"):
        return None
    start = choose_start(tx, task, number, fallback_from)
    start = replace(start, agent=inquiring.add_answers(tx, task, number, start.agent))
    record = AttemptRecord(
        id=name_attempt(task_id, number),
        run=task.run,
        task=task_id,
        number=number,
        state="starting",
        agent=agent,
        nonce=nonce,
        started_at=now,
        transcript=transcript,
        progress={
            "generation": task.generation,
            "start": canonical.to_plain(start),
            "phase": "captured" if start.captured else "agent",
        },
    )
    if held:
        return _begin_paused(tx, task, record, start, run.reason or task.reason)
    tx.add(record, "attempt.started", data={"agent": agent, "resumed": start != Start()})
    inquiring.note_told(tx, record, start.agent)
    moved = {"state": "running"} if task.state != "running" else {}
    tx.change(
        task,
        "task.started" if moved else "task.retried",
        data={"attempt": number, "isolation": run.isolation},
        attempts=number,
        started_at=task.started_at or now,
        isolation=run.isolation,
        waiting_for="",
        reason="",
        **moved,
    )
    return record


def _begin_paused(
    tx: Writer, task: TaskRecord, record: AttemptRecord, start: Start, reason: str
) -> AttemptRecord:
    """Record an attempt that was about to begin when its task, or the whole run, was paused.

    Its number is used up by that: the workflow that came to begin it has done so for good, and an attempt with the same
    number would be taken for done after the task goes on.
    """
    progress = {**record.progress, "resume": canonical.to_plain(start)}
    record = replace(record, state="paused", ended_at=record.started_at, reason=reason, progress=progress)
    tx.add(record, "attempt.paused", data={"reason": reason})
    if task.state == "paused":
        tx.change(task, "", attempts=record.number)
    else:
        tx.change(
            task,
            "task.paused",
            data={"reason": reason},
            state="paused",
            reason=reason,
            attempts=record.number,
        )
    return record


def pause(
    tx: Writer, attempt: AttemptRecord, resume: Start, *, reason: str, now: str, keep_grants: bool = False
) -> None:
    """End the attempt as paused, and its task with it; the attempt after it begins from ``resume``.

    Args:
        keep_grants: ``resume`` holds all that it did; else what it did with its grants is thrown away, and they return.
    """
    ended = tx.change(
        attempt,
        "attempt.paused",
        data={"reason": reason, "checkpoint": resume.checkpoint},
        state="paused",
        ended_at=now,
        reason=reason,
        progress={**attempt.progress, "resume": canonical.to_plain(resume)},
    )
    if not keep_grants:
        give_back(tx, ended)
    task = tx.need(TaskRecord, attempt.task)
    if task.state == "running":
        tx.change(task, "task.paused", data={"reason": reason}, state="paused", reason=reason, waiting_for="")


def update(tx: Writer, attempt: AttemptRecord, **progress: Any) -> AttemptRecord:
    """Store more progress; no event, because each fact in it has one of its own."""
    return tx.change(attempt, "", progress={**attempt.progress, **progress})


def run_now(tx: Writer, attempt: AttemptRecord, **progress: Any) -> AttemptRecord:
    """Note that its process exists (or that its judging began)."""
    if attempt.state != "starting":
        return update(tx, attempt, **progress)
    return tx.change(attempt, "attempt.running", state="running", progress={**attempt.progress, **progress})


def park(
    tx: Writer,
    attempt: AttemptRecord,
    approvals: list[ApprovalRecord],
    resume: Start,
    now: str,
    *,
    keep_grants: bool = True,
) -> None:
    """End the attempt as parked and let its task wait; the approvals are open already, in this transaction.

    Args:
        keep_grants: ``resume`` holds all that it did; else what it did with its grants is thrown away, and they return.
    """
    names = [approval.id for approval in approvals]
    # Only told something, or allowed something: what is waited for is another thing.
    state = "awaiting_answer" if all(each.kind == QUESTION for each in approvals) else "awaiting_approval"
    ended = tx.change(
        attempt,
        "attempt.parked",
        data={"approvals": names},
        state="parked",
        ended_at=now,
        reason=f"waiting for {', '.join(names)}",
        progress={**attempt.progress, "approvals": names, "resume": canonical.to_plain(resume)},
    )
    if not keep_grants:
        give_back(tx, ended)
    task = tx.need(TaskRecord, attempt.task)
    tx.change(
        task,
        f"task.{state}",
        data={"approvals": names},
        state=state,
        waiting_for=names[0],
        reason=f"waiting for {names[0]}: {approvals[0].line}",
    )


def succeed(tx: Writer, attempt: AttemptRecord, now: str, **task_changes: Any) -> None:
    """End the attempt and its task as succeeded, with the proof of it in the same transaction."""
    exit_code = attempt.progress.get("exit_code")
    tx.change(
        attempt,
        "attempt.succeeded",
        state="succeeded",
        ended_at=now,
        ending="" if exit_code is None else "exited",
        exit_code=exit_code,
    )
    task = tx.need(TaskRecord, attempt.task)
    breaker.note_success(tx, attempt.agent, task.id)
    data = {"verified": task_changes["verified"], "tree": task_changes["tree"], "checkpoint": task.checkpoint}
    tx.change(
        task,
        "task.succeeded",
        data=data,
        state="succeeded",
        ended_at=now,
        reason="",
        waiting_for="",
        **task_changes,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed.

    Attributes:
        kind: failure class, see ``retry``.
        reason: in words, with the rule, the path or the exit code.
        ending, exit_code: how its process ended, when there was one.
        task_state: state of the task when there is no further attempt.
        task_changes: what is shown with it (findings, evidence, verified).
        wait_s: another attempt comes not sooner than this, because somebody asked for it.
    """

    kind: str
    reason: str
    ending: str = ""
    exit_code: int | None = None
    task_state: str = "failed"
    task_changes: Mapping[str, Any] = field(default_factory=dict)
    wait_s: float = 0.0


def fail(
    tx: Writer, attempt: AttemptRecord, failure: Failure, retries: Retries, *, deterministic: bool, now: str
) -> None:
    """End the attempt, and the task too unless the failure may be tried again, or another agent takes over."""
    retry = decide_retry(
        [*_failures_before(tx, attempt), failure.kind],
        retries,
        deterministic=deterministic,
        spread=int(attempt.nonce, 16) / 16 ** len(attempt.nonce),
        wait_s=failure.wait_s,
    )
    if retry.again and is_in_place(tx, attempt, failure.kind):
        retry = Retry(False)
        said = f"{failure.reason}; attempts {attempt.number - 1} and {attempt.number} came to the very same result"
        failure = replace(failure, reason=said)
    closed = not breaker.note_failure(
        tx, attempt.agent, failure.kind, failure.reason, task=attempt.task, began=attempt.started_at, now=now,
        settings=retries.breaker,
    )  # fmt: skip
    other = None
    if not retry.again or not closed:
        other = rerouting.fall_back(
            tx, tx.need(TaskRecord, attempt.task), failure.kind, f"{attempt.agent}: {failure.reason}"
        )
    retry = Retry(True) if other is not None else retry
    held = retry.again and not closed and other is None
    state = ENDS.get(failure.kind, "failed")
    if attempt.state == "starting" and state == "timed_out":
        state = "failed"
    again = {"retry_s": round(retry.delay_s, 3)} if retry.again and not held else {}
    ended = tx.change(
        attempt,
        f"attempt.{state}",
        data={"failure": failure.kind, "reason": failure.reason, "exit_code": failure.exit_code, **again},
        state=state,
        ended_at=now,
        ending=failure.ending,
        exit_code=failure.exit_code,
        failure=failure.kind,
        reason=failure.reason,
        progress={**attempt.progress, **again},
    )
    # What it did with its grants is gone with its copy, unless another agent goes on from there.
    kept = other is not None and retries.fallback_from == "checkpoint"
    if failure.kind == "lost" or (retry.again and not kept and stayed_inside(tx, attempt)):
        give_back(tx, ended)
    task = tx.need(TaskRecord, attempt.task)
    if held:
        # It starts again when its agent may: until then it holds no slot, and nobody sleeps for it.
        reason = f"attempt {attempt.number} failed ({failure.reason}); another one follows when {attempt.agent} may"
        tx.change(task, "task.returned", data={"reason": reason}, state="pending", reason=reason)
    elif retry.again:
        how = "was lost" if failure.kind == "lost" else "failed"
        by = f" by {other.agent}" if other is not None else ""
        tx.change(
            task, "", reason=f"attempt {attempt.number} {how} ({failure.reason}); another one follows{by}"
        )
    else:
        end_task(tx, task, failure.task_state, failure.reason, now=now, **failure.task_changes)


def end_task(tx: Writer, task: TaskRecord, state: str, reason: str, *, now: str, **changes: Any) -> None:
    """Bring a task to a final state that is not success; an already final one is left alone."""
    if task.state in TASK_FINAL:
        return
    if state == "blocked" and task.state != "pending":
        # Only a pending task can be blocked; one that had to start to find it out takes the way over pending.
        task = tx.change(task, "task.returned", data={"reason": reason}, state="pending")
    tx.change(
        task,
        f"task.{state}",
        data={"reason": reason},
        state=state,
        reason=reason,
        ended_at=now,
        waiting_for="",
        **changes,
    )


def is_over(attempt: AttemptRecord) -> bool:
    """Tell whether the attempt has ended."""
    return attempt.state in ATTEMPT_FINAL


def is_in_place(tx: Reader, attempt: AttemptRecord, failure: str) -> bool:
    """Tell whether an attempt failed its acceptance with the very tree of the one before: a third one would, too."""
    if failure != "acceptance":
        return False
    earlier = [
        each for each in tx.find(AttemptRecord, task=attempt.task) if each.number == attempt.number - 1
    ]
    if not earlier or earlier[0].failure != failure or earlier[0].agent != attempt.agent:
        return False
    trees = [_result_of(tx, each) for each in (earlier[0], attempt)]
    return bool(trees[0]) and trees[0] == trees[1]


def _result_of(tx: Reader, attempt: AttemptRecord) -> str:
    checkpoint = tx.get(CheckpointRecord, str(attempt.progress.get("checkpoint", "")))
    return checkpoint.tree if checkpoint is not None else ""


def _failures_before(tx: Writer, attempt: AttemptRecord) -> list[str]:
    """Return the failure classes of the earlier attempts since the task was last (re)started from nothing."""
    generation = attempt.progress["generation"]
    earlier = [
        each
        for each in tx.find(AttemptRecord, task=attempt.task)
        if each.number < attempt.number
        and each.failure
        and each.progress["generation"] == generation
        and each.agent == attempt.agent
    ]
    return [each.failure for each in sorted(earlier, key=lambda each: each.number)]
