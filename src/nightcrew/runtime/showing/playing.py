"""What a model is made to say in a rehearsal: for each task the calls that an agent is likely to make, as a scenario.

A task with a ``Script:`` plays its own steps. Any other one looks around, changes the first file of its scope, runs what is
to prove it, and does what else the person wants to see tried. The form is that of ``nightcrew.testing.scenario``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from nightcrew.model.errors import UsageError
from nightcrew.model.plans import Step, Task

#: What the model says at the end of a task.
CLOSING: Final = "Done."
_GLOB: Final = re.compile(r"[*?\[\]{}!]")
_LARGEST_BYTES: Final = 64 << 10
_STATUS: Final = re.compile(r"(\d{3})(?:x(\d{1,2}))?")
_FAULTS: Final = ("cut", "hang", "garbage")


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants rehearsed.

    Attributes:
        file: the tasks file. agent: who does the tasks that have a model; empty for each task's own.
        scenario: a file with what the model says; empty for one made of the tasks.
        also: command lines that are tried in every task beside. faults: what goes wrong, see ``playing.read_fault``.
        answer: ``approve``, ``deny`` or ``leave``: what is answered to the questions.
        keep: leave the folder. unsandboxed: also where nothing can be confined.
    """

    file: str
    agent: str = ""
    scenario: str = ""
    also: Sequence[str] = ()
    faults: Sequence[str] = ()
    answer: str = "approve"
    keep: bool = False
    unsandboxed: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong at one turn of every task; see ``nightcrew.testing.scenario``."""

    kind: str
    status: int = 529
    times: int = 1
    turn: int = 1

    def to_plain(self) -> dict[str, Any]:
        """Return it as a scenario holds it."""
        return {"kind": self.kind, "status": self.status, "times": self.times}


def read_fault(text: str) -> Fault:
    """Return the fault that ``529``, ``529x3``, ``cut``, ``hang`` or ``garbage`` stand for, ``@2`` for the second turn.

    Raises:
        UsageError: it is none.
    """
    kind, _, turn = text.partition("@")
    number = int(turn) if turn.isdigit() and 0 < int(turn) < 1000 else (0 if turn else 1)
    status = _STATUS.fullmatch(kind)
    if number and kind in _FAULTS:
        return Fault(kind, turn=number)
    if number and status and 400 <= int(status[1]) < 600:
        return Fault("status", int(status[1]), int(status[2] or 1), number)
    raise UsageError(
        f"{text!r} is no fault",
        hint="529, 529x3 (three times), cut, hang or garbage; @2 behind it: at the second turn",
    )


def mark_task(task: Task) -> str:
    """Return the words by which a model knows which task it is asked about; plain letters, whatever the title is."""
    return f"nightcrew rehearsal of task {task.id}."


def play(task: Task, root: Path, also: Sequence[str], faults: Sequence[Fault]) -> dict[str, Any]:
    """Return the scenario of one task.

    Args:
        root: the copy of the repository. also: command lines that are tried beside. faults: what goes wrong.
    """
    calls = [*(_play_steps(task.steps) if task.steps else _play_task(task, root))]
    calls += [{"tool": "shell", "command": line} for line in also]
    turns: list[dict[str, Any]] = [{"calls": [call]} for call in calls]
    turns.append({"text": CLOSING})
    for fault in faults:
        turns[min(fault.turn, len(turns)) - 1]["fault"] = fault.to_plain()
    return {"when": mark_task(task), "turns": turns}


def _play_steps(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    for step in steps:
        path = shlex.quote(step.path)
        match step.do:
            case "write":
                yield {"tool": "write", "path": step.path, "content": step.text}
            case "run":
                yield {"tool": "shell", "command": step.text}
            case "append":
                yield {"tool": "shell", "command": f"printf %s {shlex.quote(step.text)} >> {path}"}
            case "delete":
                yield {"tool": "shell", "command": f"rm -r {path}"}
            case "chmod":
                yield {"tool": "shell", "command": f"chmod {step.text} {path}"}
            case "symlink":
                yield {"tool": "shell", "command": f"ln -sfn {shlex.quote(step.text)} {path}"}
            case _:
                continue  # what it says, how long it waits, how it ends: nothing that is decided on


def _play_task(task: Task, root: Path) -> Iterator[dict[str, Any]]:
    yield {"tool": "shell", "command": "ls"}
    yield _change_something(task, root)
    for line in task.accept:
        yield {"tool": "shell", "command": line}


def _change_something(task: Task, root: Path) -> dict[str, Any]:
    """Return a small change within the scope: a blank line at the end of a file that is there, else a new file."""
    wanted = [glob.removeprefix("/") for glob in task.scope if not glob.startswith("!")]
    for glob in wanted:
        path = root / glob
        if not _GLOB.search(glob) and path.is_file() and not path.is_symlink():
            return {"tool": "shell", "command": f"echo >> {shlex.quote(glob)}"}
    return {"tool": "write", "path": _name_file(task, wanted), "content": f"Played for {task.id}.\n"}


def _name_file(task: Task, wanted: Sequence[str]) -> str:
    name = f"rehearsal-{task.id.lower()}.txt"
    for glob in wanted:
        if not _GLOB.search(glob) and not glob.endswith("/"):
            return glob
        folder = _GLOB.split(glob)[0].rpartition("/")[0]
        ending = glob.rpartition(".")[2] if "*." in glob else ""
        named = name if not ending.isalnum() else f"{name.removesuffix('.txt')}.{ending}"
        return f"{folder}/{named}" if folder else named
    return name


def write_tasks(title: str, tasks: Sequence[Task], agent: str) -> str:
    """Return the tasks file of a rehearsal: the same tasks, those of agents that have a model done by ``agent``.

    What proves a task is left out where its work is only played; ``agent`` empty: each by its own.
    """
    return f"# Rehearsal of {' '.join(title.split())}\n\n" + "\n".join(
        _write_task(task, agent) for task in tasks
    )


def is_played(task: Task) -> bool:
    """Tell whether a rehearsal plays a task; a command line is run as it is, in the sandbox on the copy."""
    return not task.run and not task.done


def _write_task(task: Task, agent: str) -> str:
    lines = [f"- [{'x' if task.done else ' '}] {task.number}. {' '.join(task.title.split())}"]
    if is_played(task):
        who = agent or task.agent
        lines += [f"  - Agent: {who}", *_fence("Prompt", f"{_prompt(task)}\n{mark_task(task)}")]
    elif task.run:
        lines += [f"  - Agent: {task.agent}", *_fence("Run", task.run)]
        lines += [line for accept in task.accept for line in _fence("Accept", accept)]
    lines += (
        [f"  - Depends: {', '.join(name.removeprefix('T') for name in task.depends)}"] if task.depends else []
    )
    lines += [f"  - Scope: {', '.join(f'`{glob}`' for glob in task.scope)}"] if task.scope else []
    lines += [f"  - Network: {', '.join(task.network)}"] if task.network else []
    lines += [line for install in task.install for line in _fence("Install", install)]
    lines += [f"  - Timeout: {task.timeout_s:g}s"] if task.timeout_s else []
    for name, value in (("Budget", task.budget), ("Role", task.role), ("Model", task.model)):
        lines += [f"  - {name}: {value}"] if value else []
    return "\n".join(lines) + "\n"


def _prompt(task: Task) -> str:
    return task.prompt or "\n\n".join(part for part in (task.title, task.description) if part)


def _fence(key: str, text: str) -> list[str]:
    """Return a key with any text: in a fence that does not occur in it."""
    longest = max((len(each) for each in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"  - {key}:", f"    {fence}", *(f"    {line}" for line in text.split("\n")), f"    {fence}"]


def without_gates(task: Task, lines: Sequence[str]) -> Task:
    """Return a task without the proofs that the policy adds to every task: they come back when it is read again."""
    return replace(task, accept=tuple(line for line in task.accept if line not in lines))
