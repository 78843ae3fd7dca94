"""Files on disk: atomic writing, private directories, removal that stays inside our own tree."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

from nightcrew.host.tokens import nonce
from nightcrew.model.errors import UsageError

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory survive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_together(*fds: int) -> None:
    """Bring open files to disk, all at once: the file system puts their waiting into one.

    Raises:
        OSError: one of them could not be written.
    """
    problems: list[OSError] = []

    def sync(fd: int) -> None:
        try:
            os.fsync(fd)
        except OSError as error:
            problems.append(error)

    others: list[threading.Thread] = []
    alone = list(fds[:1])
    for fd in fds[1:]:
        thread = threading.Thread(target=sync, args=(fd,))
        try:
            thread.start()
            others.append(thread)
        except RuntimeError:
            # No thread is to be had: one after the other will do.
            alone.append(fd)
    for fd in alone:
        sync(fd)
    for thread in others:
        thread.join()
    if problems:
        raise problems[0]


def write_atomic(path: str | Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file in one act: after a crash or power loss it holds the old bytes or the new ones, never a part.

    Args:
        path: the file; its directory must exist.
        data: all of the new content.
        mode: permission bits it gets, whatever the umask.

    Raises:
        OSError: disk full, no permission; the old file is untouched and nothing is left beside it.
    """
    target = Path(path)
    aside = target.with_name(f".{target.name}.{nonce()}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(fd, mode)
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        aside.replace(target)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def ensure_private_directory(path: str | Path) -> None:
    """Create a directory only its owner can enter (0700), with its parents; tighten it when it is ours already.

    Raises:
        UsageError: it is a shared place such as /tmp, or belongs to somebody else: not a home for private state.
        OSError: it cannot be created.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        _tighten(place)


def _tighten(place: Path) -> None:
    found = place.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{place} is not a directory", code="state.not_a_directory")
    if found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid():
        raise UsageError(
            f"{place} is shared with others or belongs to another user",
            code="state.shared",
            hint="name a directory of your own; nightcrew keeps it closed to others (mode 0700)",
        )
    if found.st_mode & 0o077:
        place.chmod(0o700)


def free_bytes(path: str | Path) -> int:
    """Return what an ordinary user may still write where ``path`` is, or will be, in bytes."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def remove_tree(path: str | Path, *, inside: str | Path) -> int:
    """Remove a file or a whole tree that lies inside ``inside``, and return how many names went; nothing there is fine.

    Never follows a symbolic link, never leaves the file system it starts on, opens directories that were closed to
    us (overlay work directories have mode 000), and holds one descriptor however deep the tree is: an agent may
    have built it to hurt.

    Raises:
        ValueError: ``path`` is not strictly below ``inside``.
        OSError: something could not be removed (EXDEV: something is mounted there).
    """
    parent = Path(os.path.realpath(Path(path).absolute().parent))
    target = parent / Path(path).name
    confine = Path(os.path.realpath(inside))
    if Path(path).name in ("", ".", "..") or confine not in target.parents:
        raise ValueError(f"refused to remove {path}: it is not inside {inside}")
    try:
        fd = os.open(parent, _OPEN_DIRECTORY)
    except FileNotFoundError:
        return 0
    removal = _Removal(fd)
    removal.remove(target.name)
    return removal.count


class _Removal:
    """Depth-first removal with one open directory: the way down is kept as names and inode numbers."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.way: list[tuple[str, int, int]] = []
        self.left: list[list[str]] = []
        self.count = 0

    def remove(self, name: str) -> None:
        try:
            if self._unlink(name):
                self._descend(name)
            while self.way:
                if self.left[-1]:
                    self._descend(self.left[-1].pop())
                else:
                    self._ascend()
        finally:
            os.close(self.fd)

    def _empty(self) -> None:
        """Unlink what can be unlinked in the open directory and note the directories that must be entered."""
        with os.scandir(self.fd) as entries:
            names = [entry.name for entry in entries]
        self.left.append([name for name in names if self._unlink(name)])

    def _unlink(self, name: str) -> bool:
        """Remove a name unless it is a directory with content; return True when it is such a directory."""
        try:
            found = os.lstat(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        directory = stat.S_ISDIR(found.st_mode)
        remove = os.rmdir if directory else os.unlink
        try:
            remove(name, dir_fd=self.fd)
        except PermissionError:
            os.fchmod(self.fd, 0o700)
            if directory:
                return True
            remove(name, dir_fd=self.fd)
        except OSError as error:
            # A directory with something in it, or (EBUSY) with something mounted on it: descending tells which.
            if not directory or error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY):
                raise
            return True
        self.count += 1
        return False

    def _descend(self, name: str) -> None:
        above = os.fstat(self.fd)
        below = _open_directory(name, self.fd)
        if os.fstat(below).st_dev != above.st_dev:
            os.close(below)
            raise OSError(errno.EXDEV, "another file system is mounted here", name)
        self.way.append((name, above.st_dev, above.st_ino))
        os.close(self.fd)
        self.fd = below
        self._empty()

    def _ascend(self) -> None:
        name, device, inode = self.way.pop()
        self.left.pop()
        above = os.open("..", _OPEN_DIRECTORY, dir_fd=self.fd)
        found = os.fstat(above)
        if (found.st_dev, found.st_ino) != (device, inode):
            os.close(above)
            raise OSError(errno.ESTALE, "the tree was moved while it was being removed", name)
        os.close(self.fd)
        self.fd = above
        os.rmdir(name, dir_fd=self.fd)
        self.count += 1


def _open_directory(name: str, parent: int) -> int:
    try:
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    except PermissionError:
        # Mode 000. An O_PATH descriptor needs no permission and, unlike chmod by name, cannot be led to a link.
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent)
        try:
            Path(f"/proc/self/fd/{handle}").chmod(0o700)
        finally:
            os.close(handle)
        fd = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    return fd
