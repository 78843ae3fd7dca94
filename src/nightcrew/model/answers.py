"""Forks: several answers to one task, of which one goes on. ``T03F1`` and ``T03F2`` are forks of ``T03``."""

from __future__ import annotations

from collections.abc import Iterable

from nightcrew.model.ids import find_origin
from nightcrew.model.records import TaskRecord


def choose_answers(tasks: Iterable[TaskRecord]) -> dict[str, TaskRecord]:
    """Return for each task of a plan the one that answers it, by the name of the original.

    That is the one in the user's repository, else the one a person accepted as it is now, else the original.
    """
    found: dict[str, TaskRecord] = {}
    for task in sorted(tasks, key=lambda task: (task.position, task.name)):
        origin = find_origin(task.name)
        if origin not in found or _rank(task) > _rank(found[origin]):
            found[origin] = task
    return found


def is_accepted(task: TaskRecord) -> bool:
    """Tell whether a person accepted exactly the result the task has."""
    return (
        task.state == "succeeded"
        and task.verdict == "accepted"
        and bool(task.tree)
        and task.verdict_tree == task.tree
    )


def is_rejected(task: TaskRecord) -> bool:
    """Tell whether a person rejected exactly the result the task has."""
    return bool(task.tree) and task.verdict == "rejected" and task.verdict_tree == task.tree


def _rank(task: TaskRecord) -> int:
    return 2 if task.promoted else 1 if is_accepted(task) else 0
