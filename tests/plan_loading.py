"""A tasks file from bytes to tasks that can be planned: the one call that finds every problem at once. Pure."""

from __future__ import annotations

from collections.abc import Collection

from nightcrew.plan.check import check_tasks
from nightcrew.plan.tasksfile import TasksFile, decode, read_tasks, refuse


def load_tasks(data: bytes, source: str, *, agents: Collection[str]) -> TasksFile:
    """Decode, read and check a tasks file.

    Args:
        data: the bytes of the file.
        source: its name for messages, as the user gave it.
        agents: names of the agents that exist.

    Raises:
        InvalidInput: with all problems in the order of the file; nothing may be started.
    """
    file = read_tasks(decode(data, source), source)
    problems = sorted({*file.problems, *check_tasks(file.tasks, agents=agents)}, key=lambda p: p.place)
    if problems:
        raise refuse(source, problems)
    return file
