"""Seeing that a working copy changes while an agent works in it: a walk over what it has written, seldom enough.

The walk looks at names, sizes and times and reads nothing; it costs about 2 ms per thousand files that were written
(overlay), whatever the size of the repository. Where the shadow is a plain copy it walks all of the copy. The next
walk comes a second later, or twenty times what this one took, so that looking is never more than a twentieth of a core.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import time
from dataclasses import dataclass
from typing import Final

#: Shortest time between two walks, in seconds.
LOOK_S: Final = 1.0
#: The time between two walks is at least so many times what one takes.
REST: Final = 20
_NUMBERS: Final = struct.Struct("=QQqqL")


@dataclass(frozen=True, slots=True)
class Look:
    """What one walk saw: a digest of everything, and how many paths are younger than the last checkpoint."""

    digest: bytes
    young: int


class ChangeWatch:
    """Watches one folder from outside; used by one thread.

    Args:
        folder: absolute path of what the agent writes.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._known = self._walk(0)
        self._since_ns = time.time_ns()
        self._due_s = 0.0

    def note_checkpoint(self) -> None:
        """Take what is there now as known; called before a checkpoint is taken, so that nothing falls between."""
        # Times of files come from a clock that ticks at least a hundred times a second and lags by up to a tick.
        self._since_ns = time.time_ns() - 20_000_000
        self._known = self._walk(self._since_ns)

    def look(self, now_s: float) -> Look | None:
        """Return what changed since the last checkpoint; None when nothing has, or when it is too soon to look.

        Args:
            now_s: of a clock that only goes forward.
        """
        if now_s < self._due_s:
            return None
        began = time.monotonic()
        found = self._walk(self._since_ns)
        self._due_s = now_s + max(LOOK_S, (time.monotonic() - began) * REST)
        return None if found.digest == self._known.digest else found

    def _walk(self, since_ns: int) -> Look:
        seen, young = hashlib.blake2b(digest_size=16), 0
        todo = [self._folder]
        while todo:
            folder = todo.pop()
            try:
                with os.scandir(folder) as entries:
                    found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
            except OSError:
                # Removed meanwhile, or closed to us by its owner inside: the checkpoint itself will say so.
                continue
            for path, what in found:
                if stat.S_ISDIR(what.st_mode):
                    todo.append(path)
                elif what.st_ctime_ns > since_ns:
                    young += 1
                seen.update(os.fsencode(path))
                seen.update(
                    _NUMBERS.pack(what.st_ino, what.st_size, what.st_mtime_ns, what.st_ctime_ns, what.st_mode)
                )
        return Look(seen.digest(), young)
