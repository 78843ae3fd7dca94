"""What a process descends from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_MOST: Final = 1000


def find_ancestor(marker: bytes) -> int:
    """Return the id of the nearest process above this one whose command line holds ``marker``; 0 when there is none.

    A process that somebody else adopted after its parent ended is not found by this: it is a net, not a wall.
    """
    pid = os.getppid()
    for _ in range(_MOST):
        if pid <= 1:
            return 0
        try:
            if marker in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            # It ended meanwhile, or it is not ours to look at: above it nothing of ours can be.
            return 0
        pid = int(stat[stat.rindex(b")") + 2 :].split()[1])
    return 0
