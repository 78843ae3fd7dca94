"""Removing what is out of sight already: in the background, and not while a shadow is being opened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nightcrew.host import files
from nightcrew.host.apart import Emptied
from nightcrew.host.locks import FileLock

_PAUSE_S: Final = 0.05
"""Who goes back to a checkpoint discards one shadow and opens the next: both at once are in each other's way on the disk."""
_LONGEST_S: Final = 5.0
"""An opening that takes longer has to bear a removal beside it."""
_MOST: Final = 100
"""Each that waits holds its lock, and with it an open file."""


class Removals:
    """Directories that are removed one after the other.

    Args:
        emptied: is told which part of the disk much was removed from.
    """

    def __init__(self, emptied: Emptied) -> None:
        self._emptied = emptied
        # Its threads start with the first removal, and the interpreter waits for them when it ends.
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="removal")
        self._waiting: list[Future[None]] = []
        self._changed = threading.Condition()
        self._openings = 0
        self._waited_for = 0

    def add(self, gone: Path, lock: FileLock | None) -> None:
        """Have a directory removed, and its lock given up then; comes back at once, unless many wait already."""
        if len(self._waiting) >= _MOST:
            self.finish()
        with self._changed:
            self._waiting = [each for each in self._waiting if not each.done()]
            self._waiting.append(self._remover.submit(self._remove, gone, lock, time.monotonic()))

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Begin no removal meanwhile."""
        with self._changed:
            self._openings += 1
        try:
            yield
        finally:
            with self._changed:
                self._openings -= 1
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until everything is off the disk; nothing is put off any more."""
        with self._changed:
            waiting = tuple(self._waiting)
            self._waited_for += 1
            self._changed.notify_all()
        try:
            wait(waiting)
        finally:
            with self._changed:
                self._waited_for -= 1

    def _remove(self, gone: Path, lock: FileLock | None, added_s: float) -> None:
        # Both count from when it was added: a night that opens one shadow after the other must not let them pile up.
        with self._changed:
            waited_s = time.monotonic() - added_s
            self._changed.wait_for(lambda: self._waited_for > 0, max(0.0, _PAUSE_S - waited_s))
            waited_s = time.monotonic() - added_s
            self._changed.wait_for(
                lambda: self._waited_for > 0 or not self._openings, max(0.0, _LONGEST_S - waited_s)
            )
        try:
            inode = gone.stat().st_ino
            self._emptied.note(inode, files.remove_tree(gone, inside=gone.parent))
        except OSError:
            # Something an agent built cannot be removed. It is out of sight; the next sweep tries again, and tells.
            pass
        finally:
            if lock is not None:
                lock.release()
