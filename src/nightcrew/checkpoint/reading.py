"""Files of a shadow as they are read for a capture: each once, with what tells whether it stood still."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from nightcrew.checkpoint.memory import Signature
from nightcrew.checkpoint.objects import LARGE_BYTES
from nightcrew.model.trees import Entry

# Without following a link, and without waiting on a FIFO that took a file's place.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BATCH_FILES: Final = 512


class Taken(NamedTuple):
    """The content of one file, and what was found with it.

    Attributes:
        entry, path: of the shadow.
        signature, certain: as in ``Seen``.
        data: the content.
    """

    entry: Entry
    path: bytes
    signature: Signature
    certain: bool
    data: bytes


class Batch:
    """Contents that wait to be hashed together: a loop over many that stays in C costs half as much."""

    def __init__(self) -> None:
        self.held: list[Taken] = []
        self._bytes = 0

    def add(self, taken: Taken) -> bool:
        """Take in a file; tell whether the batch is full."""
        self.held.append(taken)
        self._bytes += len(taken.data)
        return self._bytes >= LARGE_BYTES or len(self.held) >= _BATCH_FILES

    def empty(self) -> list[Taken]:
        """Return what is held, and hold it no longer."""
        held, self.held, self._bytes = self.held, [], 0
        return held


class Place:
    """Where the files of a shadow are: opened from there, the way to each is short.

    Args:
        prefix: of their places on disk; fd: that directory, -1 for none.
    """

    def __init__(self, prefix: str, fd: int) -> None:
        self._prefix = prefix
        self._fd = fd
        # Reading is no use of the file that anybody should see, and noting it would be a write for each.
        self._flags = _READ | os.O_NOATIME

    def open(self, entry: Entry) -> int:
        """Open the file of an entry.

        Raises:
            FileNotFoundError: it is gone, or something else took its place.
        """
        source = entry.source
        try:
            if source == self._prefix + entry.path:
                return os.open(entry.path, self._flags, dir_fd=self._fd)
            return os.open(source, self._flags)
        except OSError as error:
            if error.errno == errno.EPERM and self._flags != _READ:
                # Only the owner may ask for that.
                self._flags = _READ
                return self.open(entry)
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                # A link, a socket, or a file where a directory was.
                raise FileNotFoundError(errno.ENOENT, "something else took its place", source) from error
            raise


@contextmanager
def open_place(entries: Sequence[Entry]) -> Iterator[Place]:
    """Open the directory that the paths of entries start in, as the first of them tells it."""
    source, path = (entries[0].source, entries[0].path) if entries else ("", "")
    if not source.endswith(f"/{path}"):
        yield Place("", -1)
        return
    prefix = source[: -len(path)]
    fd = os.open(prefix, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Place(prefix, fd)
    finally:
        os.close(fd)


def check_regular(found: os.stat_result, entry: Entry) -> None:
    """Refuse what is no regular file.

    Raises:
        FileNotFoundError: something else took the place of the file that was found.
    """
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "something else took its place", entry.source)


def read_all(fd: int, size: int) -> bytes:
    """Return what is in an open file; one byte more is asked for, so that most files take one call."""
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    pieces = [data]
    while piece := os.read(fd, LARGE_BYTES):
        pieces.append(piece)
    return b"".join(pieces)
