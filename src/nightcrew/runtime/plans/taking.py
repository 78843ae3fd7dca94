"""A new version of the plan of a run that goes on takes effect: on the word of a person, or because it allows nothing new."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.replans import GOING, OFFERED, settled
from nightcrew.gate.approvals import AHEAD
from nightcrew.model.errors import StaleError
from nightcrew.model.ids import join_task
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.runtime.plans import versions
from nightcrew.runtime.plans.offers import find_offer
from nightcrew.runtime.plans.planning import add_tasks
from nightcrew.runtime.trees.adopting import reopen

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: States of a task that never come to a result by themselves.
_LOST: Final = ("failed", "cancelled")


def is_fixed(task: TaskRecord) -> bool:
    """Tell whether a task has begun, or was decided on: then no new version of the plan changes it."""
    return task.attempts > 0 or task.state not in ("pending", "blocked")


def check_unbegun(tx: Reader, run: RunRecord, plan: Plan, name: str) -> None:
    """Raise StaleError when a task of a run that goes on (all of them with an empty name) can be no other one any more."""
    records = {task.name: task for task in tx.find(TaskRecord, run=run.id)}
    named = [name] if name else [task.id for task in plan.tasks]
    if any(each in records and not is_fixed(records[each]) for each in named) or not name:
        return
    raise StaleError(
        f"{run.id}/{name} has begun ({records[name].state}): what is said of its plan changes nothing any more; nothing was recorded",
        code="plan.begun",
        hint=f"nightcrew show {run.id}/{name}; do it again: nightcrew retry {run.id}/{name}",
    )


def find_changed(old: Plan, new: Plan) -> list[Task]:
    """Return the tasks of a new version that are new, or not as they were."""
    before = {task.id: task for task in old.tasks}
    return [task for task in new.tasks if before.get(task.id) != task]


def clear(run: RunRecord) -> dict[str, Any]:
    """Return the settings of a run without what was offered before, and without what planning left in them."""
    # A question that the run put by itself is answered with it.
    return {key: value for key, value in settled(run.settings).items() if key not in (OFFERED, "planning")}


def put_in_force(tx: Writer, run: RunRecord, made: PlanRecord, actor: str, why: str) -> None:
    """Let a run go on with a new version of its plan.

    Raises:
        StaleError: a task that it changes has begun.
    """
    new = Plan.from_plain(made.body)
    records, changed, dropped = refuse_begun(tx, run, made)
    data = {"version": made.version}
    _withdraw_ahead(tx, run, {*changed, *dropped}, actor)
    for name in sorted(dropped):
        tx.remove(records[name], "task.withdrawn", actor=actor, data=data)
    for name in (name for name in changed if name in records):
        task = changed[name]
        fields = {"title": task.title, "agent": task.agent, "role": task.role, "fallback": task.fallback}
        records[name] = tx.change(records[name], "task.amended", actor=actor, data=data, **fields)
    fresh = [task for name, task in changed.items() if name not in records]
    add_tasks(tx, run.id, fresh, actor, generation=made.version)
    _place(tx, run, new, actor)
    told = {"digest": made.digest, "version": made.version, "before": run.plan_version, "why": why}
    run = tx.change(
        run,
        "plan.in_force",
        actor=actor,
        data=told,
        plan_version=made.version,
        plan_digest=made.digest,
        settings={**clear(run), "budget": _limit(run, changed.values())},
    )
    if tx.find(TaskRecord, run=run.id, state="pending", limit=1):
        reopen(tx, run, actor)


def refuse_begun(
    tx: Writer, run: RunRecord, made: PlanRecord
) -> tuple[dict[str, TaskRecord], dict[str, Task], set[str]]:
    """Return the tasks of a run, those that a new version changes or adds, and the names of those it drops.

    Raises:
        StaleError: one of them has begun.
    """
    old = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
    new = Plan.from_plain(made.body)
    records = {task.name: task for task in tx.find(TaskRecord, run=run.id)}
    changed = {task.id: task for task in find_changed(old, new)}
    dropped = {task.id for task in old.tasks} - {task.id for task in new.tasks}
    begun = sorted(name for name in (*changed, *dropped) if name in records and is_fixed(records[name]))
    if begun:
        raise overtaken(run.id, f"{' '.join(begun)} has begun meanwhile")
    return records, changed, dropped


def _place(tx: Writer, run: RunRecord, plan: Plan, actor: str) -> None:
    """Bring tasks to where the plan has them, and let those wait again that were blocked by what they no longer need."""
    records = {task.name: task for task in tx.find(TaskRecord, run=run.id)}
    lost = {name for name, task in records.items() if task.state in _LOST}
    more = True
    while more:
        found = {
            task.id
            for task in plan.tasks
            if task.id not in lost and records[task.id].state == "blocked" and lost.intersection(task.depends)
        }
        lost, more = lost | found, bool(found)
    for position, task in enumerate(plan.tasks):
        record = records[task.id]
        if record.position != position:
            record = tx.change(record, "", position=position)
        if record.state == "blocked" and task.id not in lost:
            tx.change(record, "task.unblocked", actor=actor, state="pending", reason="", ended_at="")


def _limit(run: RunRecord, tasks: Iterable[Task]) -> dict[str, Any]:
    """Return the budgets of a run, with those of tasks that are new; what a person has raised stays."""
    from nightcrew.engine.books.budgets import read_limits
    from nightcrew.model.usage import parse_budget

    limits = read_limits(run)
    own = {task.id: parse_budget(task.budget) for task in tasks if task.budget}
    return replace(limits, tasks={**own, **limits.tasks}).to_plain()


def _withdraw_ahead(tx: Writer, run: RunRecord, names: set[str], actor: str) -> None:
    """Take back answers that were given ahead to questions of tasks that are others now."""
    tasks = {join_task(run.id, name) for name in names}
    for each in tx.find(ApprovalRecord, run=run.id, state="approved"):
        if each.task in tasks and each.decided_via == AHEAD and each.uses:
            data = {"reason": "the plan has changed"}
            tx.change(each, "approval.withdrawn", actor=actor, data=data, uses=0)


def check_going(run: RunRecord) -> None:
    """Raise StaleError unless a run has begun and can still be planned anew."""
    if run.state not in GOING:
        raise StaleError(
            f"{run.id} is {run.state}: there is nothing to plan anew; nothing was changed",
            code="plan.decided",
            hint=f"nightcrew show {run.id}",
        )


def overtaken(run: str, said: str) -> StaleError:
    """Return what is said when a new version does not fit any more."""
    return StaleError(
        f"the new plan of {run} came too late: {said}; nothing was changed",
        code="plan.overtaken",
        hint=f"nightcrew plan {run} replan",
    )


def accept_offer(
    tx: Writer, run: RunRecord, *, actor: str, via: str, more: Mapping[str, Any] | None = None
) -> None:
    """Put in force what was offered, on the word of a person who has seen its digest.

    Raises:
        StaleError: the run has another plan by now, or a task has begun that it changes; nothing was changed.
    """
    offer = find_offer(run)
    if run.plan_version != offer["before"]:
        raise overtaken(run.id, f"it was made from P{offer['before']}, and P{run.plan_version} is in force")
    made = versions.need_version(tx, run, int(offer["version"]))
    tx.append(
        "plan.offer_approved",
        run=run.id,
        actor=actor,
        data={**(more or {}), "digest": made.digest, "via": via},
    )
    put_in_force(tx, run, made, actor, "a person has approved it")


def refuse_offer(tx: Writer, run: RunRecord, *, actor: str, reason: str) -> None:
    """Drop what was offered; the run goes on with the plan that it has."""
    offer = find_offer(run)
    data = {"digest": offer["digest"], "version": offer["version"], "reason": reason}
    tx.change(run, "plan.offer_denied", actor=actor, data=data, settings=clear(run))
