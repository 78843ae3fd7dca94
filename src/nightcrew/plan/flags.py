"""Flags that follow from the tasks file alone; what policy says of its commands adds the rest elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nightcrew.model.plans import Flag, Task
from nightcrew.model.text import find_hidden


def flag_tasks(tasks: Sequence[Task]) -> tuple[Flag, ...]:
    """Return flags for tasks that are to run: no acceptance, no scope, invisible characters in what is executed."""
    return tuple(flag for task in tasks if not task.done for flag in _flag(task))


def _flag(task: Task) -> Iterator[Flag]:
    if not task.accept:
        yield Flag(task.id, "unverified", "no `Accept:` command: its result will be shown as unverified")
    if not task.scope:
        yield Flag(task.id, "no_scope", "no `Scope:`: it may change any path that policy leaves open")
    for step in task.steps:
        if step.do == "question":
            yield Flag(task.id, "asks", f"{task.script}: its script asks you: {step.text}")
    scripted = (step.text for step in task.steps if step.do == "run")
    for command in (task.run, *task.install, *task.accept, *scripted):
        if hidden := find_hidden(command.replace("\n", " ").replace("\t", " ")):
            text = f"invisible characters in a command: {' '.join(hidden)}"
            yield Flag(task.id, "hidden", text, action=command)
