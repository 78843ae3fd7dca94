"""In which order results are put together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from nightcrew.model.plans import Plan
from nightcrew.model.records import TaskRecord
from nightcrew.plan.check import waves


def order_results(plan: Plan, tasks: Sequence[TaskRecord]) -> list[str]:
    """Return the names of the tasks that are to be done, each behind what it depends on and what it was built on.

    The plan knows the first; a task that waited for another one, because they change the same, stands on that one, too.
    """
    left = [name for wave in waves(plan.tasks) for name in wave]
    grounds = {task.name: set(task.built_on) for task in tasks}
    order: dict[str, None] = {}
    while left:
        later: list[str] = []
        open_ones = set(left)
        for name in left:
            below = grounds[name] | set(plan.task(name).depends)
            if any(each in open_ones and each not in order for each in below):
                later.append(name)
            else:
                order[name] = None
        if len(later) == len(left):
            # Each was built on the other, at different times: the order of the plan is as good as any.
            return [*order, *later]
        left = later
    return list(order)
