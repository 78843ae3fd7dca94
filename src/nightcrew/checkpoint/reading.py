"""Files of a shadow as they are read for a capture: each once, with what tells whether it stood still."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final, NamedTuple

from nightcrew.checkpoint.memory import Signature
from nightcrew.checkpoint.objects import LARGE_BYTES
from nightcrew.host.descent import Descent, lost
from nightcrew.model.trees import Entry

# Without following a link, and without waiting on a FIFO that took a file's place.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
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
    """Where the files of a shadow are. No link is followed on the way to any of them, whatever is moved meanwhile.

    What an agent puts in a directory's place while it runs may lead to files that only the user can read. The directory
    of the last file is held open: those of one directory come one after the other.
    """

    def __init__(self) -> None:
        self._prefix = ""
        self._top = -1
        self._descent = Descent(-1)
        # Reading is no use of the file that anybody should see, and noting it would be a write for each.
        self._flags = _READ | os.O_NOATIME

    def close(self) -> None:
        """Let go of the directories."""
        self._descent.close()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def open(self, entry: Entry) -> int:
        """Open the file of an entry.

        Raises:
            FileNotFoundError: it is gone, or something else took its place, or that of a directory above it.
        """
        fd, name = self._enter(entry)
        try:
            return os.open(name, self._flags, dir_fd=fd)
        except OSError as error:
            if error.errno == errno.EPERM and self._flags != _READ:
                # Only the owner may ask for that.
                self._flags = _READ
                return self.open(entry)
            raise lost(error, entry.source) from error

    def read_link(self, entry: Entry) -> tuple[os.stat_result, bytes]:
        """Return the status of a symbolic link and where it leads to.

        Raises:
            FileNotFoundError: it is gone, or something else took its place, or that of a directory above it.
        """
        fd, name = self._enter(entry)
        found = os.lstat(name, dir_fd=fd)
        try:
            return found, os.fsencode(os.readlink(name, dir_fd=fd))
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise _taken(entry) from error
            raise

    def _enter(self, entry: Entry) -> tuple[int, str]:
        """Return the directory that an entry lies in, held, and its name there."""
        source, path = entry.source, entry.path
        if source != self._prefix + path or self._top < 0:
            return self._start(source, path)
        above, _, name = path.rpartition("/")
        return self._descent.enter(above), name

    def _start(self, source: str, path: str) -> tuple[int, str]:
        """Go down from another directory than before."""
        self.close()
        above, _, name = source.rpartition("/")
        within = source.endswith(f"/{path}")
        self._prefix = source[: -len(path)] if within else f"{above}/"
        self._top = os.open(self._prefix, _DIRECTORY)
        self._descent = Descent(self._top)
        return self._descent.enter(path.rpartition("/")[0] if within else ""), name


def _taken(entry: Entry) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "something else took its place", entry.source)


def check_regular(found: os.stat_result, entry: Entry) -> None:
    """Refuse what is no regular file.

    Raises:
        FileNotFoundError: something else took the place of the file that was found.
    """
    if not stat.S_ISREG(found.st_mode):
        raise _taken(entry)


def read_all(fd: int, size: int) -> bytes:
    """Return what is in an open file; one byte more is asked for, so that most files take one call.

    Of a file that grows meanwhile no more than its size: an agent that goes on could make it larger than memory.
    """
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data
    pieces, missing = [data], size - len(data)
    while missing > 0 and (piece := os.read(fd, missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)[:size]
