"""First processes that have told how their tree ended, and that nothing is left of it but themselves.

Nobody waits for them: what they still do is exit, and have the kernel take their mounts and namespaces down, a
millisecond or two. Only who mounts a directory that such a mount still writes to waits until it is gone: two overlays on
one upper directory are nothing the kernel answers for.
"""

from __future__ import annotations

import os
import select
import threading
import time
from typing import Final, NamedTuple

from nightcrew.host import readiness
from nightcrew.model.isolation import SandboxSpec

_PATIENCE_S: Final = 30.0  # as long as for a killed process


class _First(NamedTuple):
    pidfd: int
    uppers: frozenset[str]


class Leaving:
    """Those that are on their way out; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._firsts: list[_First] = []

    def add(self, pidfd: int, spec: SandboxSpec) -> None:
        """Take over the pidfd of a first process whose tree is gone."""
        with self._lock:
            self._firsts.append(_First(pidfd, frozenset(overlay.upper for overlay in spec.overlays)))

    def wait_for(self, spec: SandboxSpec) -> None:
        """Return when none of them has a directory mounted any more that ``spec`` is going to mount."""
        wanted = {place for overlay in spec.overlays for place in (overlay.upper, *overlay.lowers)}
        wanted |= {bind.source for bind in spec.binds}
        end = time.monotonic() + _PATIENCE_S
        while (busy := self._busy(wanted)) and time.monotonic() < end:
            readiness.is_readable(busy, _PATIENCE_S)
            os.close(busy)

    def _busy(self, wanted: set[str]) -> int:
        """Forget those that are gone; return a copy of the pidfd of one that has what is wanted, 0 when there is none."""
        with self._lock:
            gone = _readable([first.pidfd for first in self._firsts])
            for pidfd in gone:
                os.close(pidfd)
            self._firsts = [first for first in self._firsts if first.pidfd not in gone]
            return next((os.dup(first.pidfd) for first in self._firsts if first.uppers & wanted), 0)

    def wait_for_all(self) -> None:
        """Return when all of them are gone: at the end, and when a run has failed, of which nothing may stay open."""
        with self._lock:
            firsts, self._firsts = self._firsts, []
        end = time.monotonic() + _PATIENCE_S
        for first in firsts:
            readiness.is_readable(first.pidfd, end - time.monotonic())
            os.close(first.pidfd)


def _readable(pidfds: list[int]) -> set[int]:
    if not pidfds:
        return set()
    poller = select.poll()
    for pidfd in pidfds:
        poller.register(pidfd, select.POLLIN)
    return {pidfd for pidfd, _events in poller.poll(0)}
