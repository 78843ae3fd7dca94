"""Whether a run can go on: what the tables say, without any engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL, TASK_WAITING
from nightcrew.model.plans import Plan
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader

Rest = Literal["going", "waiting", "final"]


def find_rest(tx: Reader, run: RunRecord) -> Rest:
    """Tell whether a run is over, waits for a human, or can go on."""
    from nightcrew.engine.course.replans import Replan
    from nightcrew.engine.course.rerouting import goes_on_by_itself
    from nightcrew.engine.course.schedule import ready
    from nightcrew.engine.course.shifts import waits_for_hours

    if run.state in RUN_FINAL:
        return "final"
    if run.state == "paused":
        # What ran when it was paused may still be coming to its end.
        return "going" if tx.find(TaskRecord, run=run.id, state="running", limit=1) else "waiting"
    if run.state in ("draft", "awaiting_approval"):
        return "waiting"
    plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
    tasks = tx.find(TaskRecord, run=run.id)
    moves = ready({task.name: task.state for task in tasks}, plan, run.max_parallel)
    if moves.final or not moves.quiet or Replan.of(run.settings).asking:
        return "going"
    pending = {each.task for each in tx.find(ApprovalRecord, run=run.id, state="pending")}
    waiting = [task for task in tasks if task.state in TASK_WAITING]
    states = {task.name: task.state for task in tasks}
    paused = [task for task in tasks if task.state == "paused"]
    if any(task.after and all(states[name] in TASK_FINAL for name in task.after) for task in paused):
        return "going"
    if any(waits_for_hours(task) for task in paused):
        return "going"
    if any(map(goes_on_by_itself, paused)):
        return "going"
    rests = (waiting or paused) and all(task.id in pending for task in waiting)
    return "waiting" if rests else "going"
