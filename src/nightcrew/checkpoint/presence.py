"""Whether what was accepted is really in a tree that was put together: looked up hunk by hunk, not taken from the merge's word.

A hunk is in a tree when its added lines stand there, in one piece, where the diff from the task's own result leaves them
alone, and its removed lines do not stand beside them. Of a file that the task only gave another name, its own are the new
name and what it changed on the way; the rest is another's to change, and the merge follows the name. A later task that
started on the hunk and changed it again is what was accepted, too: then the hunk has been superseded by name and is not
missing.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from nightcrew.checkpoint.compose import Part
from nightcrew.checkpoint.hunks import Lines, diff_lines, list_hunks, split_lines
from nightcrew.checkpoint.objects import identify
from nightcrew.host.git import Git
from nightcrew.model.trees import Hunk, Missing


def find_missing(git: Git, parts: Sequence[Part], tree: str, only: Collection[str]) -> Iterator[Missing]:
    """Yield the hunks of parts that a tree made of them does not hold.

    Args:
        parts: everything the tree is made of, in the order in which it was put together.
        tree: what came out.
        only: names of the parts whose hunks are looked for; the others may have superseded them.
    """
    for number, (name, start, end) in enumerate(parts):
        if name not in only or end == tree:
            continue
        landed = Landed(git, end, tree, start)
        gone = [hunk for hunk in list_hunks(git, start, end) if not landed.holds(hunk)]
        for later in parts[number + 1 :] if gone else ():
            gone = _drop_superseded(git, gone, start, end, later)
        yield from (Missing(name, hunk) for hunk in gone)


def _drop_superseded(git: Git, hunks: Sequence[Hunk], first: str, end: str, later: Part) -> list[Hunk]:
    """Return the hunks that a later part did not start on, or left as they were."""
    _, start, finish = later
    before, after = Landed(git, end, start, first), Landed(git, end, finish, first)
    return [hunk for hunk in hunks if not before.holds(hunk) or after.holds(hunk)]


Row = tuple[list[bytes], list[bytes]]
"""A differing file: (mode, mode, id, id, status) and its path, or both paths when it was renamed."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file of one tree is in another: its path and mode there and its mode here, and the lines that differ."""

    path: bytes
    old_mode: int
    mode: int
    same: bool
    lines: tuple[Lines, ...]


class Landed:
    """A tree, seen from another one whose hunks are looked for in it. Two questions to git, whatever is asked.

    Args:
        git: git on the store.
        end: tree that has all the hunks. tree: where they are looked for. start: tree that the hunks change into ``end``.
    """

    def __init__(self, git: Git, end: str, tree: str, start: str) -> None:
        self._git = git
        self._end = end
        self._tree = tree
        self._start = start

    def holds(self, hunk: Hunk) -> bool:
        """Tell whether the hunk is in the tree, also in a file that was given another name."""
        if self._end == self._tree:
            return True
        path = os.fsencode(hunk.path)
        if not hunk.new_mode:
            return path not in self._appeared
        place = self._places.get(path)
        if place is None:
            return path not in self._vanished
        if hunk.kind == "mode":
            return place.mode == hunk.new_mode
        if hunk.kind == "whole":
            return place.same if hunk.old_mode else self._holds_new_file(hunk, place)
        return place.same or (bool(place.lines) and _leaves_alone(place.lines, hunk))

    def _holds_new_file(self, hunk: Hunk, place: _Place) -> bool:
        """Tell whether what is the task's own of a file that it made, or gave its name, is there."""
        named = self._named.get(os.fsencode(hunk.path))
        own_mode = named is None or named.mode != named.old_mode
        if own_mode and place.mode != hunk.new_mode:
            return False
        if place.same:
            return True
        if named is not None and (named.same or named.lines):
            # A new name, perhaps with edits: the lines that were there before are not its own.
            return named.same or (
                bool(place.lines) and all(_leaves_alone(place.lines, each) for each in named.lines)
            )
        # Of a new empty file (two tasks make the same `__init__.py`) there is nothing to lose but that it is there.
        return hunk.new_id == identify("blob", b"", len(hunk.new_id))

    @cached_property
    def _named(self) -> dict[bytes, _Place]:
        """The files that got their name on the way from ``start`` to ``end``, by that name."""
        if self._start == self._end:
            return {}
        places = _find_places(self._git, self._start, self._end)
        return {place.path: place for old, place in places.items() if old != place.path}

    @cached_property
    def _rows(self) -> list[Row]:
        return _list_rows(self._git, self._end, self._tree)

    @cached_property
    def _places(self) -> dict[bytes, _Place]:
        return _find_places(self._git, self._end, self._tree, self._rows)

    @cached_property
    def _vanished(self) -> set[bytes]:
        return {paths[0] for head, paths in self._rows if head[4][:1] in (b"D", b"T")}

    @cached_property
    def _appeared(self) -> set[bytes]:
        return {paths[-1] for head, paths in self._rows if head[4][:1] in (b"A", b"R")}


def _list_rows(git: Git, old: str, new: str) -> list[Row]:
    """Return every differing file of two trees."""
    done = git.run("diff-tree", "-r", "-z", "--raw", "--find-renames", "--full-index", old, new)
    fields = iter(done.stdout.split(b"\0")[:-1])
    rows = []
    for field in fields:
        head = field.removeprefix(b":").split(b" ")
        rows.append((head, [next(fields) for _ in range(2 if head[4].startswith(b"R") else 1)]))
    return rows


def _find_places(git: Git, old: str, new: str, listed: Sequence[Row] | None = None) -> dict[bytes, _Place]:
    """Return the files of one tree that are in another, changed or renamed, by the path they had."""
    rows = [
        row
        for row in (_list_rows(git, old, new) if listed is None else listed)
        if row[0][4][:1] in (b"M", b"R")
    ]
    # The same filter, the same order: the patch names files in the order of the rows.
    sections = diff_lines(git, old, new, "--find-renames", "--diff-filter=MR") if rows else []
    return {
        paths[0]: _Place(paths[-1], int(head[0], 8), int(head[1], 8), head[2] == head[3], lines)
        for (head, paths), lines in zip(rows, sections, strict=True)
    }


def _leaves_alone(changed: Sequence[Lines], hunk: Hunk | Lines) -> bool:
    """Tell whether no changed range takes away added lines of the hunk, nor puts its removed lines back beside them."""
    first, removed = hunk.new_start, split_lines(hunk.removed)
    end = first + len(split_lines(hunk.added))
    for lines in changed:
        start, stop = lines.old_start, lines.old_start + len(split_lines(lines.removed))
        takes = first < end and start < end and stop > first
        touches = start <= end and stop >= first
        if takes or (touches and _contains(split_lines(lines.added), removed)):
            return False
    return True


def _contains(lines: Sequence[bytes], wanted: Sequence[bytes]) -> bool:
    """Tell whether some lines stand in others, in one piece."""
    count = len(wanted)
    return count > 0 and any(lines[at : at + count] == wanted for at in range(len(lines) - count + 1))
