"""Fills slots with what is to come: files as the user's checkout would have them, links, directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from nightcrew.promote import standing
from nightcrew.promote.layout import Want, parents
from nightcrew.promote.moves import Move
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.standing import EMPTY_DIRECTORY, SYNC_ALL_FROM, Standing

_ATTRIBUTES = ("text", "crlf", "eol", "filter", "ident", "working-tree-encoding")
_UNSET = ("unspecified", "unset")

_READ_AT_ONCE: Final = 100
_HEADER_AT_MOST: Final = 128
"""``<id> blob <size>``, an id having at most 64 characters."""


def touches_attributes(paths: Collection[str]) -> bool:
    """Tell whether a change holds a ``.gitattributes``, which could choose programs for other files."""
    return any(path.rpartition("/")[2].lower() == ".gitattributes" for path in paths)


def find_converted(site: Site, paths: Sequence[str], configured: Configured) -> set[str]:
    """Return the paths whose content differs between git and disk: line ends, encodings, LFS and other filters."""
    if not paths:
        return set()
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    fields = site.git.run("check-attr", "-z", "--stdin", *_ATTRIBUTES, input=names).stdout.split(b"\0")
    attributes: dict[str, dict[str, str]] = {path: {} for path in paths}
    for path, name, value in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        attributes[os.fsdecode(path)][os.fsdecode(name)] = os.fsdecode(value)
    return {path for path, found in attributes.items() if _is_converted(found, configured)}


def _is_converted(found: Mapping[str, str], configured: Configured) -> bool:
    if any(
        found.get(name, "unspecified") not in _UNSET for name in ("filter", "ident", "working-tree-encoding")
    ):
        return True
    if found.get("eol") == "crlf":
        return True
    is_text = "unset" not in (found.get("text"), found.get("crlf"))
    return is_text and (configured.auto_crlf or configured.crlf)


class Content:
    """The bytes to put on disk for paths and their blobs. The objects must have been handed over.

    A path in ``converted`` goes through git in the user's repository, with the user's configuration. All others come as
    they are, read some at a time by one git, in the order in which they will be asked for.
    """

    def __init__(self, site: Site, converted: Collection[str], wanted: Sequence[tuple[str, str]]) -> None:
        self._git = site.git
        self._converted = converted
        self._ahead = [object_id for path, object_id in wanted if path not in converted]
        self._next = 0
        self._read: dict[str, bytes] = {}

    def read(self, path: str, object_id: str) -> bytes:
        """Return the content of a path."""
        if path in self._converted:
            return self._git.run("cat-file", "--filters", f"--path={path}", object_id).stdout
        if object_id not in self._read:
            self._read = self._read_some(object_id)
        return self._read[object_id]

    def _read_some(self, first: str) -> dict[str, bytes]:
        # From where we are, not from the start: one content may stand at many paths (empty files).
        self._next = self._ahead.index(first, self._next)
        some = self._ahead[self._next : self._next + _READ_AT_ONCE]
        data = memoryview(self._git.run("cat-file", "--batch", input="\n".join(some).encode("ascii")).stdout)
        found, position = {}, 0
        for object_id in some:
            end = position + _find_line_end(data[position : position + _HEADER_AT_MOST])
            size = int(bytes(data[position:end]).rpartition(b" ")[2])
            found[object_id] = bytes(data[end + 1 : end + 1 + size])
            position = end + size + 2
        return found


def _find_line_end(data: memoryview) -> int:
    return bytes(data).index(b"\n")


class Staging:
    """Writes slots ``s/0``, ``s/1`` ... of one transaction, in the order of the moves."""

    def __init__(
        self,
        tree: Standing,
        slots: Standing,
        name: str,
        content: Content,
        *,
        configured: Configured,
        reuse: Mapping[str, Move] | None = None,
    ) -> None:
        self._tree = tree
        self._slots = slots
        self._name = name
        self._content = content
        self._configured = configured
        self._reuse = reuse or {}

    def fill(self, wants: Sequence[Want]) -> tuple[Move, ...]:
        """Write everything that is to come and flush it; return the moves.

        Raises:
            OSError: disk full, no permission; nothing but slots was touched.
        """
        moves = tuple(self._stage(number, want) for number, want in enumerate(wants))
        files = [move.slot for move in moves if move.new.startswith(("100644:", "100755:"))]
        if len(files) >= SYNC_ALL_FROM:
            self._slots.sync_all()
            return moves
        for slot in files:
            self._flush(slot)
        self._slots.sync(f"{self._name}/s")
        return moves

    def _stage(self, number: int, want: Want) -> Move:
        earlier = self._reuse.get(want.path)
        if earlier and self._fits(earlier, want):
            # An undo: what was displaced comes back itself, with its times and attributes.
            return Move(want.path, earlier.slot, want.found, earlier.old)
        slot = f"{self._name}/s/{number}"
        if want.entry:
            self._write(slot, want)
        return Move(want.path, slot, want.found, self._slots.fingerprint(slot))

    def _fits(self, earlier: Move, want: Want) -> bool:
        if not want.entry or not earlier.old:
            return False
        if (want.entry == EMPTY_DIRECTORY) != (earlier.old == EMPTY_DIRECTORY):
            return False
        return self._slots.fingerprint(earlier.slot) == earlier.old

    def _write(self, slot: str, want: Want) -> None:
        with self._slots.parent(slot) as (fd, name):
            if want.entry == EMPTY_DIRECTORY:
                os.mkdir(name, dir_fd=fd)
            else:
                mode, object_id = want.entry.split(" ")
                data = self._content.read(want.path, object_id)
                if mode == standing.LINK and self._configured.symlinks:
                    os.symlink(data, os.fsencode(name), dir_fd=fd)
                    return
                _write_file(fd, name, data, executable=mode == standing.EXECUTABLE)
            self._adopt(fd, name, want)

    def _adopt(self, fd: int, name: str, want: Want) -> None:
        """Give a new file the permissions of the one it replaces, and the group its directory hands down."""
        own = os.lstat(name, dir_fd=fd)
        replaced = self._tree.status(want.path)
        if replaced and stat.S_ISREG(replaced.st_mode) and stat.S_ISREG(own.st_mode):
            mode = _permissions(
                stat.S_IMODE(replaced.st_mode) & 0o777, want.entry.startswith(standing.EXECUTABLE)
            )
            os.chmod(name, mode, dir_fd=fd)
        home = next((found for parent in [*parents(want.path), ""] if (found := self._status(parent))), None)
        if home and home.st_mode & stat.S_ISGID and home.st_gid != own.st_gid:
            os.chown(name, -1, home.st_gid, dir_fd=fd, follow_symlinks=False)

    def _status(self, directory: str) -> os.stat_result | None:
        return self._tree.status(directory) if directory else Path(self._tree.root).stat()

    def _flush(self, slot: str) -> None:
        with self._slots.parent(slot) as (fd, name):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _write_file(directory: int, name: str, data: bytes, *, executable: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o777 if executable else 0o666, dir_fd=directory)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
    finally:
        os.close(fd)


def _permissions(mode: int, executable: bool) -> int:
    """Return the mode of the replaced file with the executable bits where it can be read, or without any."""
    return mode | (mode & 0o444) >> 2 | 0o100 if executable else mode & ~0o111
