"""What watches the ways out of a sandbox, as those see it who let something out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class LeavingWatch(Protocol):
    """Looks at everything that leaves in clear; safe to use from any thread, and never raises for what it is given.

    ``way`` is shown to a person and stored: in words where it would go, without the content (``GET http://host/path``
    without its query, ``CONNECT host:443``, ``DNS``, ``model provider anthropic``).
    """

    def inspect(self, data: bytes, way: str) -> bool:
        """Tell whether one whole content must not leave; by then it is recorded and the task is being stopped."""

    def stream(self, way: str) -> Callable[[bytes], bool]:
        """Return the same for what leaves in pieces: called with each, in order, before it is sent."""
