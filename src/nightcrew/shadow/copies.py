"""Shadows where overlay mounts cannot be had: a copy of the export, and how its changes are found."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from nightcrew.host.descent import Descent
from nightcrew.model.trees import Entry
from nightcrew.shadow.layers import Stack
from nightcrew.shadow.names import GIT
from nightcrew.shadow.scan import describe, join, list_directory, name_items, same_content, vanished

# _IOW(0x94, 9, int) of linux/fs.h: share the blocks of another file (btrfs, xfs).
_FICLONE: Final = 0x40049409


def copy_tree(source: Path, target: Path, *, share: bool) -> None:
    """Copy directories, files and symbolic links with modes and times; other kinds are passed over.

    Args:
        source: a tree nobody writes to.
        target: the new tree; where it exists, what the source has too is replaced.
        share: let the file system share the blocks, where it can.
    """
    _copy_all(Stack([str(source)]), target, share=share, apart=())


def copy_stack(stack: Stack, target: Path, *, share: bool) -> None:
    """Copy what a stack of layers shows, like ``copy_tree``, without the ``.git`` at its top."""
    _copy_all(stack, target, share=share, apart=(GIT,))


def _copy_all(stack: Stack, target: Path, *, share: bool, apart: Collection[str]) -> None:
    target.mkdir(exist_ok=True)
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for name, (source, found) in stack.list(directory).items():
            path = join(directory, name)
            place = f"{target}/{path}"
            if path in apart:
                continue
            if stat.S_ISDIR(found.st_mode):
                Path(place).mkdir(exist_ok=True)
                waiting.append(path)
            elif stat.S_ISLNK(found.st_mode):
                Path(place).unlink(missing_ok=True)
                Path(place).symlink_to(os.readlink(source))  # noqa: PTH115
                os.utime(place, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
            elif stat.S_ISREG(found.st_mode):
                _copy_file(source, place, share=share)


def scan_copy(
    copy: str, under: Stack, copied_ns: int, apart: Collection[str], empty: list[str] | None = None
) -> Iterator[Entry]:
    """Yield what differs between a copy and what it was made from.

    A file is taken as unchanged without reading it when size, mode and modification time are as they were *and* its
    inode was not changed since the copy was made: the modification time can be set back by anyone, the change time
    by nobody.

    Args:
        copy: the copy; under: what it was made from.
        copied_ns: change time of a file written after the last one of the copy.
        apart: directories that are not part of the repository (environment folders).
        empty: gets the directories that are new and that nothing is in: no entry stands for them.
    """
    fd = os.open(copy, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    descent = Descent(fd)
    try:
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            listed = list_directory(descent, directory)
            if isinstance(listed, Entry):
                yield listed
                continue
            names, _ = listed
            yield from vanished(directory, frozenset(names), under)
            before = under.list(directory)
            if empty is not None and directory and not names and under.find(directory) is None:
                empty.append(directory)
            for path, name, refused in name_items(directory, names):
                if refused is not None:
                    yield refused
                elif path not in apart:
                    found = os.lstat(path, dir_fd=fd)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(path)
                    yield from _compare(descent, path, f"{copy}/{path}", found, before.get(name), copied_ns)
    finally:
        descent.close()
        os.close(fd)


def _compare(
    descent: Descent,
    path: str,
    place: str,
    found: os.stat_result,
    old: tuple[str, os.stat_result] | None,
    copied_ns: int,
) -> Iterator[Entry]:
    if stat.S_ISDIR(found.st_mode):
        if old is not None and not stat.S_ISDIR(old[1].st_mode):
            yield Entry(path, "opaque")
    elif old is None or not _is_unchanged(descent, path, found, old, copied_ns):
        yield describe(path, place, found)


def _is_unchanged(
    descent: Descent, path: str, found: os.stat_result, old: tuple[str, os.stat_result], copied_ns: int
) -> bool:
    original, before = old
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(before.st_mode) or found.st_size != before.st_size:
        return False
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(
            path.rpartition("/")[2], dir_fd=descent.enter(path.rpartition("/")[0])
        ) == os.readlink(original)  # noqa: PTH115
    if found.st_mode & stat.S_IXUSR != before.st_mode & stat.S_IXUSR:
        return False
    if found.st_mtime_ns == before.st_mtime_ns and found.st_ctime_ns < copied_ns:
        return True
    try:
        return same_content(descent, path, original)
    except PermissionError:
        return False


def _copy_file(source: str, target: str, *, share: bool) -> None:
    """Copy one file; its holes stay holes."""
    Path(target).unlink(missing_ok=True)
    with open(source, "rb") as read, open(target, "xb") as write:  # noqa: PTH123
        if not (share and clone(read.fileno(), write.fileno())):
            _copy_data(read.fileno(), write.fileno())
    shutil.copystat(source, target)


def clone(source: int, target: int) -> bool:
    """Make an empty open file share the blocks of another; tell False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        # Not this file system, or not between these two places.
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
            raise
        return False
    return True


def _copy_data(source: int, target: int) -> None:
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            # Nothing but a hole up to the end.
            break
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < end and (sent := os.sendfile(target, source, at, end - at)):
            at += sent
        if at < end:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
    os.ftruncate(target, size)
