"""New directories kept away from where much was removed a moment ago.

Ext4 without a journal does not give an inode out again while its removal may not be on the disk yet: for one minute, or
for six where the disk has not been written meanwhile. It looks at every such inode anew for each file that is made in
the same part of the disk (``recently_deleted`` in ialloc.c), and puts what is made in a spreading directory into the part
with the fewest directories: the one that has just been emptied. So we keep in mind which parts we emptied, and make the
next directory below one that lies elsewhere, and move it. With a journal nothing of this happens, and nothing is
done here; nor on any other file system.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

_TOGETHER: Final = 16 * 8192
"""Inodes of one part of the disk: groups that ext4 fills together, times inodes of a group, both as mke2fs chooses them."""
_FRESH_S: Final = 360.0
"""RECENTCY_MIN and RECENTCY_DIRTY of ialloc.c together."""
_MANY: Final = 200
"""Removing fewer files does not make new ones noticeably dearer (0.1 us for each of both)."""
_MOST_DECOYS: Final = 8
"""Each may read a part of the disk that nobody has read since the machine was started."""
_EXT4, _JOURNALS, _DEVICES = Path("/proc/fs/ext4"), Path("/proc/fs/jbd2"), Path("/sys/dev/block")


class Emptied:
    """The parts of a disk where much was removed lately, as files in a directory: all processes see the same.

    Args:
        memory: the directory; made when there is something to keep in mind.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory

    def note(self, inode: int, removed: int) -> None:
        """Keep in mind that ``removed`` files lay where this inode was; it is advice, so a full disk is no error."""
        if removed < _MANY:
            return
        try:
            if not _reuses_late(self._memory.parent):
                return
            self._memory.mkdir(exist_ok=True)
            (self._memory / str(inode // _TOGETHER)).touch()
        except OSError:
            # No room, or read-only by now: the next directory may lie in a slow place.
            return

    def make_apart(self, place: Path) -> None:
        """Make a directory, where it can be had, in a part of the disk that was not emptied lately.

        Raises:
            OSError: it cannot be made, or is there.
        """
        place.mkdir()
        emptied = self._parts()
        if _part(place) not in emptied:
            return
        # What lies elsewhere is made first: moving it over an empty directory is one act, and the place is never gone.
        decoys: list[Path] = []
        for parent in (self._memory, *[place.parent] * _MOST_DECOYS):
            tried = parent / f"{place.name}.{len(decoys)}"
            try:
                tried.mkdir()
                decoys.append(tried)
                if _part(tried) not in emptied:
                    tried.rename(place)
                    decoys.pop()
                    break
            except OSError:
                # The disk is full, or somebody has removed one of them: it stays where it is.
                break
        for each in decoys:
            with contextlib.suppress(OSError):  # left to whoever sweeps here
                each.rmdir()

    def _parts(self) -> set[int]:
        found: set[int] = set()
        since = time.time() - _FRESH_S
        try:
            for entry in os.scandir(self._memory):
                if entry.stat().st_mtime <= since:
                    (os.unlink if entry.name.isdigit() else os.rmdir)(entry.path)
                elif entry.name.isdigit():
                    found.add(int(entry.name))
        except OSError:
            # Nothing was emptied, or another process forgets the same part just now: only a hint is lost.
            return found
        return found


def _part(place: Path) -> int:
    return place.stat().st_ino // _TOGETHER


def _reuses_late(place: Path) -> bool:
    """Tell whether a directory lies on an ext4 without a journal."""
    number = place.stat().st_dev
    device = (_DEVICES / f"{os.major(number)}:{os.minor(number)}").resolve().name
    if not (_EXT4 / device).exists():
        return False
    return not any(_JOURNALS.glob(f"{device}-*"))
