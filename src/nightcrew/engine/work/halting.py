"""Ending an agent: because its task is paused, between two of its actions when that comes soon, else right where it is;
because what it does must wait for a person, at once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from nightcrew.engine.work.live import Signals
from nightcrew.host.clock import Clock
from nightcrew.model.isolation import Process

#: What the process is told to have been stopped for.
PAUSED: Final = "paused"
_STILL_S: Final = 0.05
LOG: Final = logging.getLogger(__name__)


class Halt:
    """Watches for the wish to pause while one agent works.

    Args:
        signals: of the attempt.
        clock: the only clock.
    """

    def __init__(self, signals: Signals, clock: Clock) -> None:
        self._signals = signals
        self._clock = clock
        self._patience_s = 0.0
        self._process: Process | None = None
        self._due_s = 0.0
        self.halted = False
        self._stopping = False

    def begin(self, process: Process, patience_s: float) -> None:
        """The agent's process exists.

        Args:
            patience_s: how long the action under way may take to its end; 0 for an agent that does not say when that is.
        """
        self._process, self._patience_s = process, patience_s

    def at_rest(self) -> bool:
        """Called between two actions: when the task is to pause, the agent ends here and gets no further answer."""
        if self._signals.pause.is_set():
            self._end()
        return self.halted or self._stopping

    def stop(self, reason: str) -> None:
        """End the agent where it is, now; from any thread."""
        self._stopping = True
        if self._process is not None:
            self._stop_at_once(self._process, lambda process: process.stop(reason))

    def tick(self) -> None:
        """Called a few times a second: when the action under way takes too long, the agent ends in the middle of it."""
        if self.halted or not self._signals.pause.is_set() or self._process is None:
            return
        now = self._clock.monotonic()
        self._due_s = self._due_s or now + self._patience_s
        if now >= self._due_s:
            self._stop_at_once(self._process, lambda _: self._end())

    def _stop_at_once(self, process: Process, stop: Callable[[Process], None]) -> None:
        """All of the tree stands still before any of it is killed, so that what it leaves is of one moment."""
        try:
            with process.frozen(_STILL_S):
                stop(process)
        except OSError as problem:
            # Out of descriptors, most likely, and nobody stayed stopped for it. It has to end all the same.
            LOG.warning("an agent was ended without being held still first: %s", problem)
            stop(process)

    def _end(self) -> None:
        self.halted = True
        if self._process is not None:
            self._process.stop(PAUSED)
