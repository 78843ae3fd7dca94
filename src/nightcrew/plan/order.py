"""In which order results are put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from nightcrew.model.answers import choose_answers, is_rejected
from nightcrew.model.ids import find_origin
from nightcrew.model.plans import Plan
from nightcrew.model.records import TaskRecord
from nightcrew.plan.check import waves


def order_results(plan: Plan, tasks: Sequence[TaskRecord]) -> list[str]:
    """Return the names of the tasks that are to be done, each behind what it depends on and what it was built on.

    The plan knows the first; a task that waited for another one, because they change the same, stands on that one, too.
    """
    left = [name for wave in waves(plan.tasks) for name in wave]
    grounds = {task.id: set(task.depends) for task in plan.tasks}
    for task in tasks:
        grounds[task.name] |= set(task.built_on)
    order: dict[str, None] = {}
    while left:
        later: list[str] = []
        open_ones = set(left)
        for name in left:
            if any(each in open_ones and each not in order for each in grounds[name]):
                later.append(name)
            else:
                order[name] = None
        if len(later) == len(left):
            # Each was built on the other, at different times: the order of the plan is as good as any.
            return [*order, *later]
        left = later
    return list(order)


def find_included(plan: Plan, tasks: Sequence[TaskRecord]) -> tuple[TaskRecord, ...]:
    """Return the tasks whose results make the composed tree, in dependency order.

    Left out are results a person rejected, and what builds on a result that is not there.
    """
    known = {task.name: task for task in tasks}
    depends = {task.id: task.depends for task in plan.tasks}
    answers = choose_answers(tasks)
    found: dict[str, TaskRecord] = {}
    for each in order_results(plan, tasks):
        task = known[each]
        if answers[find_origin(each)] is not task:
            continue  # another answer to the same task goes in its place
        needs = [answers[find_origin(need)] for need in depends[each]]
        grounded = all(need.name in found or need.state == "skipped" for need in needs)
        if task.state == "succeeded" and task.tree and grounded and not is_rejected(task):
            found[each] = task
    return tuple(found.values())
