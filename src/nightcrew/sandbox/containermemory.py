"""Whether the kernel has killed in a container for want of memory, read from its control group while it runs.

What a container's own monitor says of it comes too late or not at all on some machines, and when the container is gone
its group is gone too. So the group is looked at from outside as long as there is one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from nightcrew.sandbox import cgroups

_LOOK_S: Final = 0.02
_PATIENCE_S: Final = 0.1
"""Between two questions for the first process of a container that has none yet: each starts a program."""


class MemoryWatch:
    """Counts what the kernel kills in one container for want of memory.

    Args:
        find: gives the number of its first process on this machine and its id; 0 while there is none.
    """

    def __init__(self, find: Callable[[], tuple[int, str]]) -> None:
        self.kills = 0
        self._find = find
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="nightcrew-container-memory", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more; the count is final then."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        counter = self._find_counter()
        while counter:
            self.kills = max(self.kills, cgroups.read_memory_kills(counter))
            if self._over.wait(_LOOK_S):
                return

    def _find_counter(self) -> str:
        while not self._over.is_set():
            pid, name = self._find()
            if pid:
                found = cgroups.find_memory_counter(pid)
                # Of a daemon on another machine the number would be somebody else's here.
                return found if name and name in found else ""
            self._over.wait(_PATIENCE_S)
        return ""
