"""Giving a task to another agent: a fallback when its own cannot do it, a cheaper one when money runs short.

``TaskRecord.agent`` is who makes the next attempt. The agent of the plan is kept beside it, and has the task again when it is
begun anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from nightcrew.engine.books.budgets import RAN_OUT
from nightcrew.model.ids import split_task
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import AttemptRecord, PlanRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Kind of the event.
REROUTED: Final = "task.rerouted"
#: Stands in the reason of a pause that ends by itself, because another agent takes over.
GOES_ON: Final = "; it goes on with "

Kind = Literal["fallback", "degrade", "route"]

#: Failure classes after which another agent may do better. What a person or rule refused, a limit of the machine, or a defect of
#: ours would meet the other one too.
FALLS_BACK: Final = frozenset(
    {"spawn", "agent", "provider_down", "provider_refused", "idle", "acceptance", "loop", "unusable"}
)


def reroute(tx: Writer, task: TaskRecord, agent: str, *, why: str, kind: Kind) -> TaskRecord:
    """Have the next attempt of a task made by another agent."""
    data = {"from": task.agent, "to": agent, "why": why, "kind": kind}
    return tx.change(task, REROUTED, data=data, agent=agent, planned=task.planned or task.agent)


def next_fallback(task: TaskRecord) -> str:
    """Return who takes over from the agent that a task has now; empty when nobody is left."""
    if task.agent not in task.fallback:
        return next((each for each in task.fallback if each != task.planned), "")
    left = task.fallback[task.fallback.index(task.agent) + 1 :]
    return next((each for each in left if each != task.planned), "")


def fall_back(tx: Writer, task: TaskRecord, failure: str, why: str) -> TaskRecord | None:
    """Give a task to its next fallback agent after its own failed for good; None when there is none, or it would not help."""
    other = next_fallback(task)
    if failure not in FALLS_BACK or not other:
        return None
    return reroute(tx, task, other, why=why, kind="fallback")


def find_predecessor(tx: Reader, task: TaskRecord, number: int) -> AttemptRecord | None:
    """Return the last attempt before ``number`` that another agent made since the task began; None when there is none."""
    found = [
        each
        for each in tx.find(AttemptRecord, task=task.id)
        if each.number < number
        and each.progress["generation"] == task.generation
        and each.agent != task.agent
    ]
    return max(found, key=lambda each: each.number, default=None)


def goes_on_by_itself(task: TaskRecord) -> bool:
    """Tell whether a paused task only waits for the agent that takes over: it was another one whose budget is spent."""
    spent, own = f"{RAN_OUT} agent ", f"{RAN_OUT} agent {task.agent} in "
    return task.state == "paused" and task.reason.startswith(spent) and not task.reason.startswith(own)


def read_in_force(
    tx: Reader, run: RunRecord, plan: Plan, task_id: str
) -> tuple[RunRecord, Plan, Task] | None:
    """Return a run with the plan and the task that it has now: another one may be in force than when it was read.

    None when the task is in no plan any more.
    """
    now = tx.need(RunRecord, run.id)
    if now.plan_version != run.plan_version:
        run, plan = now, Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{now.plan_version}").body)
    return None if tx.get(TaskRecord, task_id) is None else (run, plan, in_force(tx, plan, task_id))


def in_force(tx: Reader, plan: Plan, task_id: str) -> Task:
    """Return a task of a plan with the agent that makes its next attempt."""
    task = plan.task(split_task(task_id)[1])
    record = tx.need(TaskRecord, task_id)
    return task if record.agent == task.agent else replace(task, agent=record.agent)
