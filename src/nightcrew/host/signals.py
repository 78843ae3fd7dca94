"""The door to signals: being asked to end is an interrupt, and cleaning up is not interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def endings_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread for TERM and HUP too; call it there only."""
    before = {each: signal.signal(each, signal.default_int_handler) for each in _ENDINGS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore INT, TERM and HUP while something bounded is cleaned up; call it in the main thread only."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, *_ENDINGS)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
