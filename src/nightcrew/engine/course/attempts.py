"""The rows of attempts: begun, running, captured, parked, ended, lost. Every function is one transaction's worth.

An attempt's ``progress`` holds, as plain JSON:

- ``generation``: of its task; ``start``: what it began from (see Start);
- ``phase``: ``agent`` while the agent may run, ``captured`` once its result is a checkpoint: from there on a killed host
  costs nothing, because judging a tree can simply be done again;
- ``shadow``, ``lower``: name of its shadow and the tree its read-only layers hold;
- ``checkpoint``: the last one taken; ``agent``: what its adapter reported as done;
- ``grants``: approvals it used up, given back if it is lost (its work is thrown away with it);
- ``approvals``: what it is parked for; ``resume``: the Start of the attempt after it, when parked or paused;
- ``retry_s``: seconds until the next attempt; absent when there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course import breaker, inquiring, rerouting
from nightcrew.engine.course.retry import Retry, decide_retry
from nightcrew.model import canonical
from nightcrew.model.inquiries import QUESTION
from nightcrew.model.isolation import Level
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


@dataclass(frozen=True, slots=True)
class Start:
    """What an attempt begins from.

    Attributes:
        shadow: name of the shadow to go on in; empty for a new one.
        lower: tree that its read-only layers hold.
        checkpoint: id of the checkpoint to begin from, when the shadow is gone or must not be trusted.
        asked: what must be decided before the agent starts was decided; the answers are used up.
        captured: the agent's work is done and stands in ``checkpoint``; only judging is left.
        agent: progress as the adapter reported it.
    """

    shadow: str = ""
    lower: str = ""
    checkpoint: str = ""
    asked: bool = False
    captured: bool = False
    agent: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Start:
        """Return the start that was stored as ``plain``."""
        return cls(**plain)


def name_attempt(task: str, number: int) -> str:
    """Return the id of an attempt: ``R-7/T04/2``."""
    return f"{task}/{number}"


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
    start = _next_start(tx, task, number, fallback_from)
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


def _next_start(tx: Writer, task: TaskRecord, number: int, fallback_from: str) -> Start:
    """A parked or paused attempt is gone on with; a lost one from where it can be, but never in its own shadow.

    From nothing, a fork begins with the checkpoint it was made of.
    """
    before = tx.get(AttemptRecord, name_attempt(task.id, number - 1))
    if before is None or before.progress["generation"] != task.generation:
        return Start(checkpoint=task.forked_from)
    if before.state in ("parked", "paused"):
        start = Start.read(before.progress["resume"])
        # Another agent goes on with what is there; how far this one was in its own conversation means nothing to it.
        return (
            start
            if task.agent == before.agent or not before.transcript
            else replace(start, shadow="", agent={})
        )
    if before.state == "lost":
        return recover(tx, before)
    first = rerouting.find_predecessor(tx, task, number) if fallback_from == "checkpoint" else None
    left = find_left(tx, first) if first is not None else None
    return Start(checkpoint=left.id if left is not None else task.forked_from)


def find_left(tx: Reader, attempt: AttemptRecord) -> CheckpointRecord | None:
    """Return the best checkpoint of an attempt that did not come to its end: what it left, else the last between two actions."""
    left = tx.get(CheckpointRecord, str(attempt.progress.get("checkpoint", "")))
    return left if left is not None and not left.pruned else find_boundary(tx, attempt)


def recover(tx: Reader, attempt: AttemptRecord) -> Start:
    """Return where to go on after an attempt whose shadow cannot be trusted.

    That is judging when its agent was done, else the last checkpoint between two of its actions, else where it had begun.
    """
    begun = Start.read(attempt.progress["start"])
    if attempt.progress["phase"] == "captured":
        return Start(
            checkpoint=attempt.progress.get("checkpoint") or begun.checkpoint, asked=True, captured=True
        )
    last = find_boundary(tx, attempt)
    if last is not None:
        return Start(checkpoint=last.id, asked=True, agent=last.progress)
    return replace(begun, shadow="")


def find_boundary(tx: Reader, attempt: AttemptRecord) -> CheckpointRecord | None:
    """Return the last checkpoint of an attempt that was taken between two actions of its agent."""
    found = tx.find(CheckpointRecord, attempt=attempt.id)
    return next((each for each in reversed(found) if each.between and not each.pruned), None)


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
        _give_back(tx, ended)
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
        _give_back(tx, ended)
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
    if failure.kind == "lost" or (retry.again and not kept and _stayed_inside(tx, attempt)):
        _give_back(tx, ended)
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


def _give_back(tx: Writer, attempt: AttemptRecord) -> None:
    """Return the grants that were used for what is thrown away: nothing that was done with them has reached anything.

    What a lost or paused attempt did before the checkpoint that is gone on from stays, and with it the grants for that.
    A failed one is followed by one from the very start, so the grants of those it went on from return too.
    """
    goes_on = attempt.state in ("lost", "paused", "parked")
    last = find_boundary(tx, attempt) if goes_on else None
    chain = {attempt.id} if goes_on else _find_chain(tx, attempt)
    kinds = ("approval.used", "approval.returned")
    left: Counter[tuple[str, str]] = Counter()
    for event in tx.events(after=last.event if last else 0, task=attempt.task, kinds=kinds):
        if event.data.get("attempt") in chain:
            grant = (str(event.data["id"]), str(event.data["attempt"]))
            left[grant] += 1 if event.kind == "approval.used" else -1
    for (name, used_by), uses in left.items():
        approval = tx.need(ApprovalRecord, name)
        for _ in range(uses):
            if approval.state == "approved" and approval.uses >= 0:
                data = {"attempt": used_by}
                approval = tx.change(approval, "approval.returned", data=data, uses=approval.uses + 1)


def _find_chain(tx: Reader, attempt: AttemptRecord) -> set[str]:
    """Return an attempt with those that it went on from, one after the other."""
    names = {attempt.id}
    for number in range(attempt.number - 1, 0, -1):
        before = tx.get(AttemptRecord, name_attempt(attempt.task, number))
        if before is None or before.state not in ("parked", "paused", "lost"):
            break
        if before.progress["generation"] != attempt.progress["generation"]:
            break
        names.add(before.id)
    return names


def _stayed_inside(tx: Reader, attempt: AttemptRecord) -> bool:
    """Tell whether all that an attempt could do is gone with its shadow: it was confined, and used no network."""
    confined = tx.need(RunRecord, attempt.run).isolation != Level.S0
    return confined and not attempt.progress.get("network")
