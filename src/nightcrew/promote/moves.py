"""Moves: the steps of which a promotion of files is made. Each is one rename, and each can be taken back.

A move exchanges what stands at a path of the working tree with what waits in a slot. It never destroys anything: what was
at the path is in the slot afterwards, as the same inode. Theory and recovery rules: docs/formats/promotion.md.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from nightcrew.host.renames import exchange, move_unless_taken
from nightcrew.promote.standing import EMPTY_DIRECTORY, Standing


@dataclass(frozen=True, slots=True)
class Move:
    """``path`` has fingerprint ``old`` and shall have ``new``; ``slot`` has it the other way round."""

    path: str
    slot: str
    old: str
    new: str

    @property
    def inverse(self) -> Move:
        """The move that takes this one back."""
        return Move(self.path, self.slot, self.new, self.old)


class PathMoved(Exception):
    """A path is not as it was when it was checked, a moment ago."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


_LOST_RACE = (errno.ENOENT, errno.EEXIST, errno.ELOOP, errno.ENOTDIR, errno.ENOTEMPTY)


class Mover:
    """Carries out moves between a working tree and its slots."""

    def __init__(self, tree: Standing, slots: Standing) -> None:
        self._tree = tree
        self._slots = slots
        self._here = -1
        self._opened = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._here >= 0:
            os.close(self._here)
            self._here = -1

    def forward(self, move: Move) -> os.stat_result | None:
        """Carry out a move; ``check`` then looks at what was displaced.

        A look before would prove nothing, for a program may write between the look and the rename; it is taken where the
        rename would move more than one file.

        Returns:
            the status of what has come, None for nothing.

        Raises:
            PathMoved: the path changed under us. The rename may have happened: take back with ``back``.
            HostLacks: the file system has no such rename.
            OSError: EACCES, EROFS, EXDEV, EBUSY ...
        """
        if move.old == EMPTY_DIRECTORY and self._tree.fingerprint(move.path) != move.old:
            raise PathMoved(move.path)
        try:
            return self._rename(move)
        except OSError as error:
            if error.errno in _LOST_RACE:
                raise PathMoved(move.path) from error
            raise

    def check(self, moves: Iterable[Move]) -> None:
        """See that what moves have displaced is, byte for byte, what was expected there.

        Raises:
            PathMoved: it is not: take back with ``back``.
        """
        for move in moves:
            if move.old:
                here, slot = self._open_slots(move.slot)
                try:
                    same = self._slots.fingerprint_in(here, slot, move.slot) == move.old
                except PermissionError:
                    same = False  # it could be read when it was looked at
                if not same:
                    raise PathMoved(move.path)

    def happened(self, move: Move) -> bool:
        """Tell whether a move was carried out, from what is in its slot."""
        try:
            waiting = self._slots.fingerprint(move.slot)
        except PermissionError:
            # What we made can be read: this is what was displaced, and somebody has forbidden to read it since.
            return True
        return waiting != move.new if move.new else waiting != ""

    def back(self, move: Move) -> str:
        """Take a move back if it happened; return in words why that is not possible, empty when all is well.

        What is in the slot returns, whatever it is: if a program wrote to the file at the last moment, the slot has
        that edit. A path that is not as the move left it was edited by a person since, and is left alone.
        """
        if not self.happened(move):
            return ""
        standing = self._tree.fingerprint(move.path)
        if standing != move.new:
            return self._explain(move, standing)
        try:
            self._rename(move.inverse)
        except OSError as error:
            if error.errno in _LOST_RACE:
                return self._explain(move, self._tree.fingerprint(move.path))
            raise
        if move.new and self._slots.fingerprint(move.slot) != move.new and move.new != EMPTY_DIRECTORY:
            # Edited while it was being taken back: the edit goes back to where the person made it.
            self._rename(move)
            return self._explain(move, "edited")
        return ""

    def _explain(self, move: Move, standing: str) -> str:
        if EMPTY_DIRECTORY in (move.old, move.new) and standing.startswith("dir"):
            # A directory we made has a person's files now, or one we removed was made again: nothing is lost.
            return ""
        if move.old == "":
            return "was edited after the interruption: left as it is"
        return f"was edited after the interruption: left as it is; what was there before is in {self.place(move)}"

    def place(self, move: Move) -> str:
        """Return the absolute path of the slot of a move."""
        return f"{self._slots.root}/{move.slot}"

    def _rename(self, move: Move) -> os.stat_result | None:
        """Carry out the rename; return the status of what is at the path then, None when that is nothing."""
        here, slot = self._open_slots(move.slot)
        with self._tree.parent(move.path) as (there, name):
            if move.old and move.new:
                exchange(here, slot, there, name)
            elif move.new:
                move_unless_taken(here, slot, there, name)
            else:
                move_unless_taken(there, name, here, slot)
                return None
            try:
                return os.lstat(name, dir_fd=there)
            except FileNotFoundError:
                # Somebody has removed it again at once: their right.
                return None

    def _open_slots(self, slot: str) -> tuple[int, str]:
        """Return a descriptor of the directory of a slot, which nobody but us moves, and the name of the slot in it."""
        directory, _, name = slot.rpartition("/")
        if self._here < 0 or directory != self._opened:
            self.__exit__()
            self._here, self._opened = self._slots.open_directory(directory), directory
        return self._here, name
