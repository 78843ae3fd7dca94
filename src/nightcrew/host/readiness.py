"""Waiting for one descriptor; unlike ``select.select`` also for one whose number is above a thousand."""

from __future__ import annotations

import select


def is_readable(fd: int, within_s: float = 0.0) -> bool:
    """Tell whether something can be read (or the other end is gone) within that time."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, within_s) * 1000))
