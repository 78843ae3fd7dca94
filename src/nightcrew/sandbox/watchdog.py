"""The memory watch of one tree: looks often while memory grows, seldom while it does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from nightcrew.model.isolation import Limits
from nightcrew.sandbox.gauges import MemoryGauge

_QUICK_S: Final = 0.02
_CALM_S: Final = 0.1
_GROWTH: Final = 0.01  # of the limit between two looks: worth looking more often
_COST: Final = 10  # looking may cost at most a tenth of the time


class MemoryWatch:
    """Checks memory and number of processes against the limits.

    Args:
        pids: gives the processes of the tree now.
        proc: descriptor of the /proc in which they are named.
        limits: see Limits.
    """

    def __init__(self, pids: Callable[[], list[int]], proc: int, limits: Limits) -> None:
        self._limits = limits
        self._gauge = MemoryGauge(pids, proc)
        self._last_bytes = 0
        self._due = 0.0
        self.pause_s = _QUICK_S

    def check(self, now: float) -> str:
        """Look if it is time to; returns what is exceeded in words, or the empty string."""
        if now < self._due:
            return ""
        usage = self._gauge.read()
        total = usage.private_bytes + usage.shared_bytes
        cost_s = time.monotonic() - now
        grown = total - self._last_bytes > self._limits.memory_bytes * _GROWTH
        self.pause_s = max(
            _QUICK_S if grown else min(self.pause_s * 2, _CALM_S), min(cost_s * _COST, _CALM_S)
        )
        self._last_bytes = total
        self._due = now + self.pause_s
        if self._limits.memory_bytes and self._gauge.exceeds(usage, self._limits.memory_bytes):
            return f"more than {self._limits.memory_bytes} bytes of memory in use"
        return ""
