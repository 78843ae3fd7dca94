"""Ids that people can paste: ``R-7``, ``R-7/T04``, ``C-112``, ``A-19``, ``M-31``, ``E-90211``."""

from __future__ import annotations

import re
from typing import Final

RUN: Final = "R"
CHECKPOINT: Final = "C"
APPROVAL: Final = "A"
PROMOTION: Final = "M"
EVENT: Final = "E"

_COUNTED = re.compile(r"^([RCAME])-([1-9][0-9]*)$")
_TASK = re.compile(r"^(R-[1-9][0-9]*)/(T[0-9]{2,}(?:\.[0-9]+)*(?:F[1-9][0-9]*)?)$")
_NUMBER = re.compile(r"^[0-9]+(?:\.[0-9]+){0,2}$")


def is_task_number(text: str) -> bool:
    """Tell whether ``text`` is a number of a tasks file: ``N``, ``N.M`` or ``N.M.K``."""
    return _NUMBER.match(text) is not None


def name_task(number: str) -> str:
    """Return the task name of a tasks-file number: ``1`` → ``T01``, ``2.1`` → ``T02.1``.

    Raises:
        ValueError: the number is not ``N``, ``N.M`` or ``N.M.K``.
    """
    if not is_task_number(number):
        raise ValueError(f"not a task number: {number!r}")
    head, dot, rest = number.partition(".")
    return f"T{int(head):02d}{dot}{rest}"


def join_task(run: str, name: str) -> str:
    """Return the full id of a task: ``R-7`` and ``T04`` → ``R-7/T04``."""
    return f"{run}/{name}"


def name_fork(name: str, number: int) -> str:
    """Return the name of a fork: ``T03`` and 1 → ``T03F1``; a fork of ``T03F1`` is a fork of ``T03``, too."""
    return f"{find_origin(name)}F{number}"


def find_origin(name: str) -> str:
    """Return the name of the task that a fork was made of; of any other task its own."""
    return name.partition("F")[0]


def split_task(task: str) -> tuple[str, str]:
    """Return ``(run, name)`` of a full task id.

    Raises:
        ValueError: not of the form ``R-7/T04``.
    """
    found = _TASK.match(task)
    if found is None:
        raise ValueError(f"not a task id: {task!r}")
    return found.group(1), found.group(2)


def kind_of(text: str) -> str:
    """Return ``R``, ``T``, ``C``, ``A``, ``M`` or ``E`` for a well-formed id, else the empty string."""
    counted = _COUNTED.match(text)
    if counted:
        return counted.group(1)
    return "T" if _TASK.match(text) else ""


def sort_key(text: str) -> tuple[str, tuple[int, ...]]:
    """Return a key that sorts ids of one kind in counting order (``T02.1`` before ``T10``)."""
    return (re.sub(r"[0-9.F]+", "", text), tuple(int(n) for n in re.findall(r"[0-9]+", text)))
