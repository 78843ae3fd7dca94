"""Which results stand on something that is not there any more. Pure.

A task starts on the results of the tasks it depends on, and its record says which trees those were. When one of them is run
again, restored or rolled back in part, what was built on it has never been seen together with what is there now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nightcrew.model.answers import choose_answers, is_rejected
from nightcrew.model.ids import find_origin
from nightcrew.model.plans import Plan
from nightcrew.model.records import TaskRecord


def find_stale(tasks: Sequence[TaskRecord]) -> dict[str, tuple[str, ...]]:
    """Return the tasks that have a result, built on another result of some task than that has now.

    Args:
        tasks: all tasks of a run.

    Returns:
        Task id → names of the tasks that are different now, in the order of the plan. It empties by itself when they
        come back to the same tree, or when the task is run again.
    """
    now = choose_answers(tasks)
    found = {task.id: tuple(_differing(task, now)) for task in tasks if task.tree}
    return {name: others for name, others in found.items() if others}


def find_held(tasks: Sequence[TaskRecord], plan: Plan) -> dict[str, tuple[str, ...]]:
    """Return the tasks that have a result and need, directly or not, a result that a person rejected.

    Returns:
        Task id → names of the rejected ones. They stay as they are and cannot be promoted.
    """
    now = choose_answers(tasks)
    depends = {task.id: task.depends for task in plan.tasks}
    found = {
        task.id: tuple(_rejected(task.name, depends, now))
        for task in tasks
        if task.tree and not task.promoted
    }
    return {name: others for name, others in found.items() if others}


def _rejected(
    name: str, depends: Mapping[str, Sequence[str]], now: Mapping[str, TaskRecord]
) -> Iterator[str]:
    """Yield the names of the rejected results that a task stands on, not looking behind them."""
    seen, ahead = {name}, [name]
    while ahead:
        for need in depends[ahead.pop()]:
            answer = now[find_origin(need)]
            if answer.name in seen:
                continue
            seen.add(answer.name)
            if is_rejected(answer):
                yield answer.name
            else:
                ahead.append(answer.name)


def _differing(task: TaskRecord, now: Mapping[str, TaskRecord]) -> Iterator[str]:
    """Yield the names of the tasks in a task's base that have another result now, or another answer in their place."""
    for name, tree in task.built_on.items():
        answer = now.get(find_origin(name))
        if answer is not None and (answer.name, answer.tree) != (name, tree):
            yield name
