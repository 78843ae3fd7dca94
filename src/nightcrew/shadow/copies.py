"""Shadows where overlay mounts cannot be had: a plain copy of the export, and how its changes are found."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from nightcrew.model.trees import Entry
from nightcrew.shadow.layers import Stack
from nightcrew.shadow.scan import describe, list_directory, same_content, sort_out, vanished

# _IOW(0x94, 9, int) of linux/fs.h: share the blocks of another file (btrfs, xfs).
_FICLONE: Final = 0x40049409


def copy_tree(source: Path, target: Path) -> None:
    """Copy directories, files and symbolic links with modes and times; other kinds are passed over.

    Args:
        source: a tree nobody writes to.
        target: the new tree; where it exists, what the source has too is replaced.
    """
    target.mkdir(exist_ok=True)
    waiting = [(str(source), str(target))]
    while waiting:
        here, there = waiting.pop()
        with os.scandir(here) as found:
            for item in found:
                place = f"{there}/{item.name}"
                if item.is_dir(follow_symlinks=False):
                    Path(place).mkdir(exist_ok=True)
                    waiting.append((item.path, place))
                elif item.is_symlink():
                    Path(place).symlink_to(os.readlink(item.path))  # noqa: PTH115
                elif item.is_file(follow_symlinks=False):
                    _copy_file(item.path, place)


def scan_copy(copy: str, under: Stack, copied_ns: int, apart: Collection[str]) -> Iterator[Entry]:
    """Yield what differs between a copy and what it was made from.

    A file is taken as unchanged without reading it when size, mode and modification time are as they were *and* its
    inode was not changed since the copy was made: the modification time can be set back by anyone, the change time
    by nobody.

    Args:
        copy: the copy; under: what it was made from.
        copied_ns: change time of a file written after the last one of the copy.
        apart: directories that are not part of the repository (environment folders).
    """
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        listed = list_directory(copy, directory)
        if isinstance(listed, Entry):
            yield listed
            continue
        yield from vanished(directory, listed, under)
        before = under.list(directory)
        for path, item in sort_out(directory, listed):
            if isinstance(item, Entry):
                yield item
            elif path not in apart:
                if item.is_dir(follow_symlinks=False):
                    waiting.append(path)
                yield from _compare(path, item, before.get(item.name), copied_ns)


def _compare(
    path: str, item: os.DirEntry[str], old: tuple[str, os.stat_result] | None, copied_ns: int
) -> Iterator[Entry]:
    found = item.stat(follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        if old is not None and not stat.S_ISDIR(old[1].st_mode):
            yield Entry(path, "opaque")
    elif old is None or not _is_unchanged(item.path, found, old, copied_ns):
        yield describe(path, item.path, found)


def _is_unchanged(place: str, found: os.stat_result, old: tuple[str, os.stat_result], copied_ns: int) -> bool:
    original, before = old
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(before.st_mode) or found.st_size != before.st_size:
        return False
    if stat.S_ISLNK(found.st_mode):
        return os.readlink(place) == os.readlink(original)  # noqa: PTH115
    if found.st_mode & stat.S_IXUSR != before.st_mode & stat.S_IXUSR:
        return False
    if found.st_mtime_ns == before.st_mtime_ns and found.st_ctime_ns < copied_ns:
        return True
    try:
        return same_content(place, original)
    except PermissionError:
        return False


def _copy_file(source: str, target: str) -> None:
    """Copy one file, sharing its blocks where the file system can."""
    Path(target).unlink(missing_ok=True)
    with open(source, "rb") as read, open(target, "xb") as write:  # noqa: PTH123
        try:
            fcntl.ioctl(write.fileno(), _FICLONE, read.fileno())
        except OSError as error:
            # The file system cannot share blocks, or not between these two places.
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL):
                raise
            shutil.copyfileobj(read, write, 1 << 20)
    shutil.copystat(source, target)
