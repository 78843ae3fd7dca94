"""What follows from what humans decided: approvals answered or expired, tasks and runs cancelled, tasks tried again.

Only tables, no host needed: the process that takes a decision can draw its consequences at once, and a host that finds
them undrawn does the same. Everything is compare-and-swap, so both at the same time is harmless.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course import attempts, starts
from nightcrew.engine.course.deadlines import pass_time, when_due
from nightcrew.gate.approvals import cancel
from nightcrew.model.lifecycle import TASK_FINAL, TASK_WAITING
from nightcrew.model.records import ApprovalRecord, AttemptRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

REFUSED: Final = frozenset({"denied", "expired", "cancelled"})

#: Kinds of the events that carry a person's wish to a host in another process; the rows follow when it is done.
CANCEL_RUN: Final = "run.cancel_requested"
CANCEL_TASK: Final = "task.cancel_requested"

#: Kind of an approval that is about a whole run: go on although the user changed the repository.
DRIFT: Final = "drift"


def settle_task(tx: Writer, task: TaskRecord, now: str) -> str:
    """Move a waiting task on: all its questions are answered, or one of them with no.

    Returns:
        When the next of its questions expires or is to be reminded of, empty when none is or it waits no more.
    """
    if task.state not in TASK_WAITING:
        return ""
    approvals = [pass_time(tx, approval, now) for approval in read_approvals(tx, task)]
    refused = next((approval for approval in approvals if approval.state in REFUSED), None)
    if refused is not None:
        reason = describe_refusal(refused)
        _cancel_questions(tx, task, reason, now)
        attempts.end_task(tx, task, "failed", reason, now=now)
        return ""
    pending = [approval for approval in approvals if approval.state == "pending"]
    if pending:
        _point_at(tx, task, pending[0])
        return when_due(pending)
    data = {"approvals": [approval.id for approval in approvals]}
    tx.change(task, "task.resumed", data=data, state="pending", waiting_for="", reason="")
    return ""


def settle_run(tx: Writer, run: RunRecord) -> bool:
    """Tell whether a paused run may go on because a human has said so; a no leaves it paused and says who said it."""
    asked = tx.find(ApprovalRecord, run=run.id, task="", newest=True, limit=1)
    if run.state != "paused" or not asked or asked[0].kind != DRIFT or asked[0].id not in run.reason:
        return False
    said = f"drift: {describe_refusal(asked[0])}"
    if asked[0].state in REFUSED and run.reason != said:
        tx.change(run, "", reason=said)
    return asked[0].state == "approved"


def withdraw_questions(tx: Writer, run: RunRecord, reason: str, *, actor: str = "engine") -> None:
    """Close what is asked about a run as a whole, because it goes on or ends without the answer."""
    for approval in tx.find(ApprovalRecord, run=run.id, task="", state="pending"):
        tx.change(approval, "approval.superseded", actor=actor, data={"reason": reason}, state="superseded")


def read_approvals(tx: Reader, task: TaskRecord) -> list[ApprovalRecord]:
    """Return the approvals a waiting task is parked for."""
    attempt = tx.need(AttemptRecord, starts.name_attempt(task.id, task.attempts))
    return [tx.need(ApprovalRecord, name) for name in attempt.progress["approvals"]]


def describe_refusal(approval: ApprovalRecord) -> str:
    """Return why a task cannot go on, naming who said no and why."""
    if approval.state == "expired":
        return f"{approval.id} expired without an answer: {approval.shown}"
    by = f" by {approval.decided_by}" if approval.decided_by else ""
    why = f": {approval.answer}" if approval.answer else ""
    return f"{approval.id} was {approval.state}{by}{why}"


def cancel_task(tx: Writer, task: TaskRecord, reason: str, now: str) -> None:
    """Cancel a task of which no attempt is alive, with its open questions; a final one stays as it is."""
    if task.state in TASK_FINAL:
        return
    _cancel_questions(tx, task, reason, now)
    attempts.end_task(tx, task, "cancelled", reason, now=now)


def reset_task(tx: Writer, task: TaskRecord, *, actor: str = "engine") -> None:
    """Have a task begin again from nothing: what it did stays in its checkpoints only."""
    tx.change(
        task,
        "task.reset",
        actor=actor,
        state="pending",
        generation=task.generation + 1,
        agent=task.planned or task.agent,
        planned="",
        verified="",
        verdict="",
        verdict_tree="",
        base_tree="",
        tree="",
        checkpoint="",
        findings=(),
        evidence=(),
        waiting_for="",
        reason="",
        started_at="",
        ended_at="",
    )


def lose_attempts(tx: Writer, found: Iterable[AttemptRecord], now: str) -> list[str]:
    """Record attempts of a dead host as lost; those whose result is captured already are left to be judged."""
    from nightcrew.model.settings import Retries

    lost = []
    for attempt in found:
        if attempt.progress["phase"] == "captured":
            continue
        failure = attempts.Failure("lost", "the host that ran it died")
        # Being lost depends neither on the configured retries nor on the agent.
        attempts.fail(tx, attempt, failure, Retries(), deterministic=True, now=now)
        lost.append(attempt.id)
    return lost


def find_alive(tx: Reader, *, run: str = "", task: str = "") -> list[AttemptRecord]:
    """Return the attempts that are recorded as alive: few, whatever the number of tasks."""
    found = tx.find(AttemptRecord, state=("starting", "running"))
    return [each for each in found if run in ("", each.run) and task in ("", each.task)]


def _cancel_questions(tx: Writer, task: TaskRecord, reason: str, now: str) -> None:
    """Close what is still asked for a task that does not need the answers any more."""
    for approval in tx.find(ApprovalRecord, task=task.id, state="pending"):
        ended = cancel(approval, now, by="engine")
        tx.change(
            approval,
            "approval.cancelled",
            state=ended.state,
            decided_at=ended.decided_at,
            decided_by=ended.decided_by,
            answer=reason,
        )


def _point_at(tx: Writer, task: TaskRecord, approval: ApprovalRecord) -> None:
    if task.waiting_for != approval.id:
        tx.change(task, "", waiting_for=approval.id, reason=f"waiting for {approval.id}: {approval.line}")
