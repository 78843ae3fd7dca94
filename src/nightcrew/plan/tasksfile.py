"""Read a tasks file (format: docs/formats/tasks.md) into tasks, with every problem at its place. Pure.

A ``Reader`` walks the lines once and fills drafts; ``build`` turns drafts into tasks. Problems are collected, never
raised on the way, so that a person sees all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nightcrew.model.errors import InvalidInput, Place, Problem
from nightcrew.model.plans import Task
from nightcrew.plan.build import build_task
from nightcrew.plan.reader import Reader

MAX_BYTES: Final = 1 << 20
"""Largest tasks file: no hand-written plan is a mebibyte long, and everything in it is shown for approval."""
MAX_TASKS: Final = 10_000
"""Most tasks in one file (threats.md F: a plan of this size must still be read in about a second)."""


@dataclass(frozen=True, slots=True)
class TasksFile:
    """A tasks file as read.

    Attributes:
        title: its first ``# `` heading, or the file's name when it has none.
        tasks: in the order written; with problems present this is what could be read in spite of them.
        problems: everything wrong with single lines and items, in the order of the file.
    """

    title: str
    tasks: tuple[Task, ...]
    problems: tuple[Problem, ...] = ()


def parse_tasks(text: str, source: str) -> tuple[Task, ...]:
    """Return the tasks of a tasks file.

    Raises:
        InvalidInput: with all problems of lines and items; what concerns the tasks together finds ``check_tasks``.
    """
    file = read_tasks(text, source)
    if file.problems:
        raise refuse(source, file.problems)
    return file.tasks


def read_tasks(text: str, source: str) -> TasksFile:
    """Read a tasks file without raising."""
    if problem := _check_size(text, source):
        return TasksFile(_name_after(source), (), (problem,))
    reader = Reader(source)
    reader.read(text)
    problems = reader.problems
    if not reader.drafts:
        hint = "write one task per line: `- [ ] 1. what to do`"
        problems.append(Problem(Place(source, 1, 1), "there are no tasks in this file", hint))
    if len(reader.drafts) > MAX_TASKS:
        place = reader.drafts[MAX_TASKS].place
        problems.append(Problem(place, f"{len(reader.drafts)} tasks; at most {MAX_TASKS} are possible"))
    tasks = tuple(build_task(draft, problems) for draft in reader.drafts)
    title = reader.title or _name_after(source)
    return TasksFile(title, tasks, tuple(sorted(problems, key=lambda p: p.place)))


def decode(data: bytes, source: str) -> str:
    """Decode the bytes of a tasks or script file.

    Raises:
        InvalidInput: not UTF-8 (a byte order mark is fine), or larger than MAX_BYTES.
    """
    if len(data) > MAX_BYTES:
        raise refuse(source, [_too_large(source, len(data))])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02X} cannot be read"
        problem = Problem(Place(source, line, column), what, f"iconv -f latin1 -t utf-8 {source}")
        raise refuse(source, [problem]) from error


def refuse(source: str, problems: list[Problem] | tuple[Problem, ...]) -> InvalidInput:
    """Return the error that lists all problems of one file."""
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return InvalidInput(f"{source} has {count}; nothing was started", problems, hint=_pick_hint(problems))


def _pick_hint(problems: list[Problem] | tuple[Problem, ...]) -> str:
    return next((problem.hint for problem in problems if problem.hint), "")


def _check_size(text: str, source: str) -> Problem | None:
    if len(text) * 4 <= MAX_BYTES:
        return None
    size = len(text.encode("utf-8", "surrogatepass"))
    return _too_large(source, size) if size > MAX_BYTES else None


def _too_large(source: str, size: int) -> Problem:
    return Problem(Place(source), f"{size} bytes; a file of at most {MAX_BYTES} bytes (1 MiB) is read")


def _name_after(source: str) -> str:
    name = source.rpartition("/")[2]
    return name.rpartition(".")[0] or name
