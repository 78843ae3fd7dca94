"""The watch over memory, processes and disk of one tree: looks often while something grows, seldom while not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

from nightcrew.model.isolation import Limits
from nightcrew.model.units import format_size
from nightcrew.sandbox.gauges import DiskGauge, MemoryGauge, unlinked_bytes

_QUICK_S: Final = 0.02
_CALM_S: Final = 0.1
_GROWTH: Final = 0.01  # of the limit between two looks: worth looking more often
_COST: Final = 10  # looking may take at most a tenth of the time
_SEARCH_S: Final = 1.0  # between two searches for files that are open but have no name


def describe_memory(limits: Limits) -> str:
    """Say that a tree has taken more memory than it may."""
    return f"more than {limits.memory_bytes} bytes of memory in use"


class Watchdog:
    """Checks a tree against its limits from outside.

    Args:
        pids: gives the processes of the tree now.
        proc: descriptor of the /proc in which they are named.
        layers: directories whose content counts as written by the tree.
        copies: directories of which only what is changed from now on counts.
        limits: see Limits.
        count_processes: the kernel does not bound their number here, so we do.
        count_kills: tells how many processes of the tree the kernel has killed for want of memory, where it does.
    """

    def __init__(
        self,
        pids: Callable[[], list[int]],
        proc: int,
        layers: tuple[str, ...],
        limits: Limits,
        *,
        count_processes: bool,
        count_kills: Callable[[], int] | None = None,
        copies: tuple[str, ...] = (),
    ) -> None:
        self._count_kills = count_kills
        self._pids = pids
        self._proc = proc
        self._limits = limits
        self._memory = MemoryGauge(pids, proc)
        self._disk = DiskGauge(layers, limits.disk_bytes, limits.inodes, copies)
        self._count_processes = count_processes
        self._last_bytes = 0
        self._due = time.monotonic() + _QUICK_S  # many a command has ended by then
        self._search_due = 0.0
        self.pause_s = _QUICK_S

    def check(self, now: float) -> tuple[Literal["memory", "disk"], str] | None:
        """Look if it is time to; returns which limit is exceeded and by what."""
        if now < self._due:
            return None
        excess = self._check_memory()
        if excess:
            return "memory", excess
        excess = self._disk.step() or self._search_unlinked(now)
        if excess:
            return "disk", excess
        cost_s = time.monotonic() - now
        self.pause_s = max(self.pause_s, min(cost_s * _COST, _CALM_S))
        self._due = now + self.pause_s
        return None

    def _check_memory(self) -> str:
        usage = self._memory.read()
        total = usage.private_bytes + usage.shared_bytes
        limits = self._limits
        grows = abs(total - self._last_bytes) > limits.memory_bytes * _GROWTH or self._disk.grows
        self.pause_s = _QUICK_S if grows else min(self.pause_s * 2, _CALM_S)
        self._last_bytes = total
        # First, for many processes take much memory too: a fork bomb is told as what it is.
        if self._count_processes and limits.processes and usage.threads > limits.processes:
            return f"more than {limits.processes} processes and threads at once"
        if limits.memory_bytes and self._memory.exceeds(usage, limits.memory_bytes):
            return describe_memory(limits)
        if self._count_kills is not None and self._count_kills():
            return describe_memory(limits)
        return ""

    def _search_unlinked(self, now: float) -> str:
        """A file that is deleted while open takes space that no walk finds."""
        limit = self._limits.disk_bytes
        if now < self._search_due or self._disk.unexplained_bytes <= limit:
            return ""
        self._search_due = now + _SEARCH_S
        if unlinked_bytes(self._pids(), self._proc) > limit:
            return f"more than {format_size(limit)} written to deleted files (limits.disk)"
        return ""
