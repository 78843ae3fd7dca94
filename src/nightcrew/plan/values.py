"""Values of the keys of a tasks file: durations, lists of ids, globs. Pure; each raises ValueError in words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from nightcrew.model import ids, text, units

MAX_TIMEOUT_S: Final = 7 * 24 * 3600.0
"""Longest ``Timeout:``; a task that needs more than a week is two tasks."""

MAX_FILES: Final = 1_000_000
"""Largest ``Files:``."""

_TICKED = re.compile(r"(`+)(.*?)\1(?!`)", re.DOTALL)
_WORD = re.compile(r"[^\s,]+")
_TASK_NAME = re.compile(r"[Tt]?([0-9]{1,6}(?:\.[0-9]{1,6}){0,2})$")


def strip_ticks(value: str) -> str:
    """Take off backticks that wrap the whole value: `` `pytest -q` `` → ``pytest -q``; others stay."""
    found = _TICKED.match(value)
    if found is None or found.end() != len(value):
        return value
    inner = found.group(2)
    # CommonMark: one blank on each side is there to allow a backtick at the edge, and does not count.
    return inner[1:-1] if len(inner) > 2 and inner[0] == inner[-1] == " " else inner


def split_items(value: str) -> list[tuple[str, int]]:
    """Split at commas and white space into ``(item, offset)``; what stands in backticks is one item."""
    items, position = [], 0
    for ticked in _TICKED.finditer(value):
        items += _split_words(value, position, ticked.start())
        items.append((ticked.group(2).strip(), ticked.start(2)))
        position = ticked.end()
    items += _split_words(value, position, len(value))
    return [(item, at) for item, at in items if item]


def _split_words(value: str, start: int, stop: int) -> list[tuple[str, int]]:
    return [(found.group(), found.start()) for found in _WORD.finditer(value, start, stop)]


def parse_timeout(value: str) -> float:
    """Return seconds of ``90``, ``90s``, ``10m``, ``1h30m``: times as in config.yaml, but never without an end.

    Raises:
        ValueError: not a time, zero, or longer than MAX_TIMEOUT_S.
    """
    if len(value) > 16:  # longer than any time that fits into a week
        raise ValueError(f"`{text.shown(value[:16])}…` is not a time")
    seconds = units.parse_duration(text.shown(value))
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise ValueError(f"`{text.shown(value)}` is not a time between 0 and 7 days")
    return seconds


def read_number(value: str) -> str:
    """Return the task number in ``1``, ``T01`` or ``2.1``; empty when it is none. Leading zeros do not count."""
    found = _TASK_NAME.match(value)
    return ids.name_task(found.group(1)) if found else ""


@lru_cache(maxsize=1024)
def check_glob(glob: str) -> str:
    """Say in words what is wrong with one glob of ``Scope:``; empty when nothing is."""
    body = glob.removeprefix("!")
    parts = body.removesuffix("/").split("/")
    if not body:
        return "is empty"
    if body.startswith(("/", "~", "\\")) or re.match(r"[A-Za-z]:[\\/]", body):
        return "is absolute; a scope is relative to the repository's root"
    if ".." in parts:
        return "leaves the repository with `..`"
    if any(part.lower() == ".git" for part in parts):
        return "names `.git`, which no task may change"
    if "." in parts or "" in parts:
        return "has an empty or `.` part and would match nothing"
    if body.startswith("#"):
        return "begins with `#`, which would make it a comment; write `[#]`"
    if hidden := text.find_hidden(body):
        return f"has invisible characters: {' '.join(hidden)}"
    return _check_pattern(glob)


def _check_pattern(glob: str) -> str:
    import pathspec  # late: only when there is a scope

    if "[[" in glob:
        return "has `[[`: character classes by name are not supported"
    try:
        patterns = pathspec.GitIgnoreSpec.from_lines([glob]).patterns
    except (ValueError, re.error):
        return "is not a valid pattern"
    return "" if any(pattern.include is not None for pattern in patterns) else "is not a valid pattern"
