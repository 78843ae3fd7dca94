"""What stands at a path on disk, found through descriptors that no symbolic link can lead astray."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
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


Signature = tuple[int, ...]
"""What changes when something at a path is written, replaced or removed: of a file mode, inode, device, size and both
times (the time of change cannot be set by a program), of a directory mode, inode and device; empty for nothing."""


class Standing:
    """A directory whose content is looked at and moved by descriptor.

    Args:
        root: absolute path of the directory.
        algorithm: ``sha1`` or ``sha256``, the object format of the repository.

    Attributes:
        seen: signature of every path that was looked at; under ``<path>/`` the full one of a directory whose names were read.

    Use it as a context manager; it holds one descriptor.
    """

    def __init__(self, root: str, algorithm: str) -> None:
        self.root = root
        self.seen: dict[str, Signature] = {}
        self._algorithm = algorithm
        self._hash = hashlib.sha256 if algorithm == "sha256" else hashlib.sha1
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

    def open_directory(self, path: str) -> int:
        """Return a descriptor of a directory; close it.

        Raises:
            OSError: it is missing, or a link is on the way (ELOOP).
        """
        return open_beneath(self._fd, path or ".", os.O_PATH | os.O_DIRECTORY)

    def fingerprint(self, path: str) -> str:
        """Return what stands at ``path`` (docs/formats/promotion.md, "fingerprint").

        Raises:
            OSError: it cannot be read (EACCES, EIO).
        """
        try:
            # A link on the way leads this look astray, and not the next one.
            found = os.lstat(path, dir_fd=self._fd)
            if stat.S_ISREG(found.st_mode):
                fd = open_beneath(self._fd, path, _READ)
                self.seen[path] = _sign_fully(found)
                return self._hash_open(fd)
        except OSError:
            # What it is, if anything, is found out step by step.
            pass
        directory, _, name = path.rpartition("/")
        self.seen[path] = ()
        try:
            fd = open_beneath(self._fd, directory or ".", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            return _nothing(error)
        try:
            return self.fingerprint_in(fd, name, path)
        finally:
            os.close(fd)

    def fingerprint_in(self, directory: int, name: str, path: str) -> str:
        """Return what stands at ``path``, which is called ``name`` in a directory that is open already."""
        try:
            return self._look(directory, name, path)
        except OSError as error:
            return _nothing(error)

    def status(self, path: str) -> os.stat_result | None:
        """Return ``lstat`` of ``path``, None when nothing can be there."""
        self.seen.setdefault(path, ())
        try:
            with self.parent(path) as (fd, name):
                found = os.lstat(name, dir_fd=fd)
        except OSError as error:
            _nothing(error)
            return None
        self.seen[path] = sign(found)
        return found

    def directory(self, path: str) -> os.stat_result | None:
        """Return the status of a directory, None where there is none; it is not noted as seen.

        Only for what new files there shall look like: a link further up may lead to another directory. What is moved goes no
        such way.
        """
        try:
            found = os.lstat(path or ".", dir_fd=self._fd)
        except OSError as error:
            _nothing(error)
            return None
        return found if stat.S_ISDIR(found.st_mode) else None

    def is_unchanged(self, seen: Mapping[str, Signature]) -> bool:
        """Tell whether every path still is as it was when it was looked at, at the cost of one look-up each.

        A link that took the place of a directory above leads to another inode, or to the same file by another way; whoever
        moves it goes no such way. Nor does it matter that a file written within the same tick of the clock can escape
        this: whoever moves it compares its content (``Mover``).
        """
        for path, signature in seen.items():
            try:
                found = os.lstat(path.rstrip("/") or ".", dir_fd=self._fd)
            except OSError as error:
                _nothing(error)
                if signature:
                    return False
                continue
            if (_sign_fully(found) if path.endswith("/") else sign(found)) != signature:
                return False
        return True

    def names(self, path: str) -> list[str]:
        """Return the names in the directory ``path`` (``""``: the root); none when it is no directory."""
        try:
            fd = open_beneath(self._fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            _nothing(error)
            return []
        try:
            self.seen[f"{path}/"] = _sign_fully(os.fstat(fd))
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

    def _look(self, fd: int, name: str, path: str) -> str:
        found = os.lstat(name, dir_fd=fd)
        self.seen[path] = sign(found)
        if stat.S_ISLNK(found.st_mode):
            return f"{LINK}:{self.blob_id(os.fsencode(os.readlink(name, dir_fd=fd)))}"
        if stat.S_ISDIR(found.st_mode):
            self.seen[f"{path}/"] = _sign_fully(found)
            return _look_into(fd, name)
        if stat.S_ISREG(found.st_mode):
            return self._hash_file(fd, name)
        return OTHER

    def _hash_file(self, directory: int, name: str) -> str:
        # O_NONBLOCK: should a FIFO have taken the place of the file, opening it must not hang.
        return self._hash_open(os.open(name, _READ | os.O_CLOEXEC, dir_fd=directory))

    def _hash_open(self, fd: int) -> str:
        """Hash what was opened, and close it."""
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return OTHER
            if found.st_size < _CHUNK_BYTES:
                data = os.read(fd, found.st_size + 1)
                return _name(found, self.blob_id(data)) if len(data) == found.st_size else OTHER
            digest = self._hash(b"blob %d\0" % found.st_size, usedforsecurity=False)
            size, left = 0, found.st_size
            # One byte more than there should be: less than was asked for is all there is.
            while chunk := os.read(fd, asked := min(left + 1, _CHUNK_BYTES)):
                digest.update(chunk)
                size += len(chunk)
                left = max(0, left - len(chunk))
                if len(chunk) < asked:
                    break
        finally:
            os.close(fd)
        if size != found.st_size:
            # Being written right now. Whatever it is, it is nothing that we expected.
            return OTHER
        return _name(found, digest.hexdigest())

    def blob_id(self, data: bytes) -> str:
        """Return the object id git gives to ``data``."""
        return self._hash(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


def _name(found: os.stat_result, object_id: str) -> str:
    return f"{EXECUTABLE if found.st_mode & stat.S_IXUSR else FILE}:{object_id}"


def sign(found: os.stat_result) -> Signature:
    """Return the signature of what stands somewhere."""
    if stat.S_ISDIR(found.st_mode):
        return found.st_mode, found.st_ino, found.st_dev
    return _sign_fully(found)


def _sign_fully(found: os.stat_result) -> Signature:
    return (
        found.st_mode,
        found.st_ino,
        found.st_dev,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def identify(found: os.stat_result) -> Signature:
    """Return what stays when a file that nobody writes to is renamed."""
    return found.st_ino, found.st_size, found.st_mtime_ns


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
