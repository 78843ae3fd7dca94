"""What stands at a path on disk, found through descriptors that no symbolic link can lead astray."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self

from nightcrew.host.renames import open_beneath, sync_file_system

FILE: Final = "100644"
EXECUTABLE: Final = "100755"
LINK: Final = "120000"

EMPTY_DIRECTORY: Final = "dir"
DIRECTORY: Final = "dir+"
OTHER: Final = "other"
BEHIND_LINK: Final = "linked"
"""A parent directory is a symbolic link: nothing is there as far as git is concerned, and nothing is put there."""

SYNC_ALL_FROM: Final = 50
"""From so many files on, one flush of the whole file system costs less than one per file (see ``sync_file_system``)."""

_CHUNK_BYTES: Final = 1 << 20
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Standing:
    """A directory whose content is looked at and moved by descriptor.

    Args:
        root: absolute path of the directory.
        algorithm: ``sha1`` or ``sha256``, the object format of the repository.

    Use it as a context manager; it holds one descriptor.
    """

    def __init__(self, root: str, algorithm: str) -> None:
        self.root = root
        self._algorithm = algorithm
        self._fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def beside(self, root: str) -> Standing:
        """Open another directory for the same object format."""
        return Standing(root, self._algorithm)

    @contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """Give a descriptor of the directory that holds ``path``, and the last part of it.

        Raises:
            OSError: the directory is missing, or a link is on the way (ELOOP).
        """
        directory, _, name = path.rpartition("/")
        fd = open_beneath(self._fd, directory or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def fingerprint(self, path: str) -> str:
        """Return what stands at ``path`` (docs/formats/promotion.md, "fingerprint").

        Raises:
            OSError: it cannot be read (EACCES, EIO).
        """
        try:
            with self.parent(path) as (fd, name):
                return self._look(fd, name)
        except OSError as error:
            return _nothing(error)

    def status(self, path: str) -> os.stat_result | None:
        """Return ``lstat`` of ``path``, None when nothing can be there."""
        try:
            with self.parent(path) as (fd, name):
                return os.lstat(name, dir_fd=fd)
        except OSError as error:
            _nothing(error)
            return None

    def names(self, path: str) -> list[str]:
        """Return the names in the directory ``path`` (``""``: the root); none when it is no directory."""
        try:
            fd = open_beneath(self._fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            _nothing(error)
            return []
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries]
        finally:
            os.close(fd)

    def sync_all(self) -> None:
        """Make everything on this file system survive a power loss; for many files the cheapest way."""
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_file_system(fd)
        finally:
            os.close(fd)

    def sync(self, path: str) -> None:
        """Make the names in the directory ``path`` survive a power loss; a directory that is gone needs nothing."""
        try:
            fd = open_beneath(self._fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            _nothing(error)
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _look(self, fd: int, name: str) -> str:
        found = os.lstat(name, dir_fd=fd)
        if stat.S_ISLNK(found.st_mode):
            return f"{LINK}:{self.blob_id(os.fsencode(os.readlink(name, dir_fd=fd)))}"
        if stat.S_ISDIR(found.st_mode):
            return _look_into(fd, name)
        if stat.S_ISREG(found.st_mode):
            return self._hash_file(fd, name)
        return OTHER

    def _hash_file(self, directory: int, name: str) -> str:
        # O_NONBLOCK: should a FIFO have taken the place of the file, opening it must not hang.
        fd = os.open(name, _READ | os.O_CLOEXEC, dir_fd=directory)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return OTHER
            digest = hashlib.new(self._algorithm, b"blob %d\0" % found.st_size, usedforsecurity=False)
            size = 0
            while chunk := os.read(fd, _CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        finally:
            os.close(fd)
        if size != found.st_size:
            # Being written right now. Whatever it is, it is nothing that we expected.
            return OTHER
        mode = EXECUTABLE if found.st_mode & stat.S_IXUSR else FILE
        return f"{mode}:{digest.hexdigest()}"

    def blob_id(self, data: bytes) -> str:
        """Return the object id git gives to ``data``."""
        header = b"blob %d\0" % len(data)
        return hashlib.new(self._algorithm, header + data, usedforsecurity=False).hexdigest()


def _look_into(directory: int, name: str) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(fd) as entries:
            return EMPTY_DIRECTORY if next(entries, None) is None else DIRECTORY
    finally:
        os.close(fd)


def _nothing(error: OSError) -> str:
    """Turn "there is nothing" and "behind a link" into their fingerprints; raise everything else."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ""
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return BEHIND_LINK
    raise error
