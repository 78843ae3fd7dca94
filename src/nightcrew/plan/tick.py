"""Tick the boxes of finished tasks in a tasks file, touching nothing else. Pure."""

from __future__ import annotations

from collections.abc import Collection

from nightcrew.plan.reader import Reader
from nightcrew.plan.values import read_number


def tick(text: str, numbers: Collection[str]) -> str:
    """Return ``text`` with the boxes of the tasks ``numbers`` (``1``, ``2.1`` or ``T01``) ticked.

    Every other character, line ends and a byte order mark included, stays. Numbers that are not there are ignored:
    the file may have been edited since the run began.
    """
    wanted = {read_number(number) for number in numbers} - {""}
    reader = Reader("")
    reader.read(text)
    pieces, position = [], 0
    for draft in reader.drafts:
        if not draft.done and read_number(draft.number) in wanted:
            pieces += [text[position : draft.box_at], "x"]
            position = draft.box_at + 1
    return "".join([*pieces, text[position:]])
