"""The lines of a tasks file: where each starts, how deep it is indented, what it looks like. Pure.

Markdown is read only as far as tasks need it. Lines end at LF, CR LF or CR and nowhere else (``str.splitlines``
would also break at form feeds and U+2028 inside a command).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_LINE: Final = 20_000
"""Longest line in characters that is read for keys; longer values go into fenced blocks."""
TAB: Final = 4
"""Columns to the next tab stop in an indentation (CommonMark's number)."""

_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")
_FENCE = re.compile(r"(`{3,}|~{3,})([^`]*)$")
_HEADING = re.compile(r"#{1,6}(?:[ \t]|$)")
_BULLET = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)])[ \t]+")
_BOX = re.compile(r"[-*+][ \t]+\[([ xX])\](?:[ \t]+(.*))?$")
# What somebody may have meant as a box: brackets with at most one character after an optional bullet.
_BOX_LIKE = re.compile(r"(?:[-*+]|[0-9]{1,9}[.)])?[ \t]*\[[ \t]*([^\]\s]?)[ \t]*\](?![(\[:])[ \t]*(.*)$")


@dataclass(slots=True)
class Line:
    """One line. ``start`` is the offset of ``raw`` in the text; ``number`` and ``column`` (of ``body``) count from 1."""

    number: int
    start: int
    raw: str
    indent: int
    column: int
    body: str


def split_lines(text: str) -> Iterator[Line]:
    """Yield the lines of ``text`` without their ends; a byte order mark at its start is skipped."""
    number, position = 1, 1 if text.startswith("\ufeff") else 0
    for found in _LINE.finditer(text, position):
        raw = found.group(1)
        if not raw and found.end() == len(text) == found.start():
            return  # the empty rest behind the last line end is no line
        body = raw.lstrip(" \t")
        width = len(raw) - len(body)
        indent = len(raw[:width].expandtabs(TAB))
        yield Line(number, found.start(), raw, indent, width + 1, body.rstrip(" \t"))
        number += 1


def dedent(raw: str, columns: int) -> str:
    """Return ``raw`` without up to ``columns`` columns of its indentation."""
    width = 0
    for index, char in enumerate(raw):
        if char not in " \t" or width >= columns:
            return " " * max(width - columns, 0) + raw[index:]  # a tab may have gone past the column
        width += 1 if char == " " else TAB - width % TAB
    return ""


@dataclass(frozen=True, slots=True)
class Box:
    """A checkbox item: ticked or not, the text after the box, and the offset in the line's body of box and text."""

    done: bool
    text: str
    mark_at: int
    text_at: int


def match_box(body: str) -> Box | None:
    """Read ``- [ ] text`` or ``* [x] text``; None when it is anything else."""
    found = _BOX.match(body)
    if found is None:
        return None
    text = found.group(2) or ""
    return Box(found.group(1) != " ", text, found.start(1), found.start(2) if text else len(body))


def is_broken_box(body: str) -> bool:
    """Tell whether a line that is no checkbox was probably meant as one (``- [] 1``, ``-[ ] 1``, ``1. [x] a``)."""
    found = _BOX_LIKE.match(body)
    if found is None:
        return False
    inside, rest = found.groups()
    if inside in ("", "x", "X") or not inside.isalnum():
        return True
    return inside.isalpha() and body[:1] in "-*+" and re.match(r"[0-9]+[.): ]", rest) is not None


def is_heading(body: str) -> bool:
    """Tell whether ``body`` is a heading (``# `` to ``###### ``)."""
    return _HEADING.match(body) is not None


def find_comments(text: str) -> list[tuple[int, int]]:
    """Return start and end of the inside of every HTML comment that is closed in ``text``."""
    found, position = [], 0
    while (start := text.find("<!--", position)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        found.append((start + 4, end))
        position = end + 3
    return found


def drop_comments(text: str) -> str:
    """Return ``text`` without its HTML comments."""
    kept, position = [], 0
    for start, end in find_comments(text):
        kept.append(text[position : start - 4])
        position = end + 3
    return "".join([*kept, text[position:]])


def match_bullet(body: str) -> int:
    """Return the length of the bullet (with its blanks) that ``body`` starts with, 0 when there is none."""
    found = _BULLET.match(body)
    return found.end() if found else 0


def match_fence(body: str) -> str:
    """Return the run of backticks or tildes that opens a fenced block here, or the empty string."""
    found = _FENCE.match(body)
    return found.group(1) if found else ""


def closes_fence(body: str, fence: str) -> bool:
    """Tell whether ``body`` is the closing line of a block that ``fence`` opened."""
    return body.startswith(fence) and not body.strip(fence[0])
