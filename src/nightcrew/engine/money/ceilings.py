"""What follows when a budget comes to its end: pause, ask for more, stop for good, or go on with a cheaper agent.

Everything here is done in the transaction that writes down the answer which brought it so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nightcrew.engine.books.budgets import DEGRADED, Limits, Scope
from nightcrew.engine.course import pausing, rerouting, stops
from nightcrew.gate.approvals import open_approval
from nightcrew.host.clock import Clock, stamp
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.ids import APPROVAL
from nightcrew.model.records import ApprovalRecord, RunRecord, TaskRecord
from nightcrew.model.usage import parse_budget

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer

#: Kind of an approval that gives more of a budget.
MORE: Final = "budget"


def near(tx: Writer, scope: Scope, limits: Limits, task: TaskRecord) -> None:
    """A budget is warned of: with ``degrade``, what has not begun yet goes on with the cheaper agent."""
    if limits.on_spent != "degrade" or scope.of == "task":
        return
    for each in tx.find(TaskRecord, run=task.run, state="pending"):
        _degrade(tx, each, scope, limits)


def reach(tx: Writer, scope: Scope, limits: Limits, task: TaskRecord, clock: Clock) -> None:
    """A budget is spent: stop what it is of."""
    reason = scope.describe_end()
    if limits.on_spent == "degrade" and scope.of == "agent":
        for each in _concerned(tx, scope, task):
            if other := _degrade(tx, each, scope, limits):
                _pause(tx, each.id, f"{reason}{rerouting.GOES_ON}{other}")
    if limits.on_spent == "ask":
        reason += f"; {_ask(tx, scope, task, clock)} asks for more of it"
    if scope.of in ("run", "day", "month"):
        end = limits.on_spent == "stop"
        stops.stop(tx, task.run, stops.BUDGET, reason, end=end, of=scope.of, name=scope.name)
        return
    for each in _concerned(tx, scope, task):
        _pause(tx, each.id, reason)


def _concerned(tx: Writer, scope: Scope, task: TaskRecord) -> list[TaskRecord]:
    """Return the tasks at work, or waiting for their turn, that a budget is of."""
    if scope.of == "task":
        return [task]
    found = [each for each in tx.find(TaskRecord, run=task.run) if each.state in ("pending", "running")]
    if scope.of == "agent":
        return [each for each in found if each.agent == scope.name]
    return [each for each in found if getattr(each, "role", "") == scope.name]


def _degrade(tx: Writer, task: TaskRecord, scope: Scope, limits: Limits) -> str:
    """Give a task to the cheaper agent; returns its name, empty when there is none."""
    other = limits.cheaper.get(task.agent, "")
    if not other or (scope.of == "agent" and task.agent != scope.name):
        return ""
    why = f"{scope.share:.0%} of {scope.budget.describe()} for {scope.told} is spent"
    rerouting.reroute(tx, task, other, why=why, kind="degrade")
    tx.append(DEGRADED, run=task.run, task=task.id, data={"agent": task.agent, "to": other, "reason": why})
    return other


def _pause(tx: Writer, target: str, reason: str) -> None:
    """Pause a task; one that is paused, waits or is over has stopped already."""
    task = tx.need(TaskRecord, target)
    if task.state in ("running", "pending") and tx.need(RunRecord, task.run).state == "running":
        pausing.request(tx, target, actor="engine", reason=reason)


def _ask(tx: Writer, scope: Scope, task: TaskRecord, clock: Clock) -> str:
    """Open the question for as much again, unless it is open already; return its id."""
    said = f"{scope.budget.describe()} for {scope.told} is spent: give as much again and go on?"
    # Which budget, and how much: bound to the question by its digest like what is shown.
    what = (scope.key, scope.budget.describe())
    action = Action(kind="other", paths=what, detail=said, purpose="budget")
    for each in tx.find(ApprovalRecord, run=task.run, state="pending"):
        if each.kind == MORE and each.digest == action.digest:
            return each.id
    decision = Decision(Verdict.ASK, "budget.on_spent", "config.yaml", scope.describe_end(), "medium")
    record = open_approval(
        id=tx.next_id(APPROVAL),
        run=task.run,
        task="",
        action=action,
        decision=decision,
        requester="engine",
        now=stamp(clock.now()),
        kind=MORE,
        shown=said,
    )
    tx.add(
        record, "approval.opened", data={"action": record.shown, "digest": record.digest, "budget": scope.key}
    )
    return record.id


def settle_answers(tx: Writer, run: RunRecord) -> None:
    """Carry out what was answered to such questions: a yes gives as much again, once, and lets go on what waited."""
    from nightcrew.engine.money.enlarging import enlarge

    for each in tx.find(ApprovalRecord, run=run.id, state="approved"):
        if each.kind != MORE or each.uses == 0:
            continue
        tx.change(each, "", uses=0)
        key, more = each.action["paths"]
        enlarge(tx, tx.need(RunRecord, run.id), key, parse_budget(more), actor=each.decided_by or "engine")
