"""How long an agent works: written down every few seconds while it does, where a budget in time holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import Clock
from nightcrew.model.usage import Spent

if TYPE_CHECKING:
    from nightcrew.engine.money.spending import Spending

#: How often it is written down; a killed host forgets at most this much.
EVERY_S: Final = 5.0


class Timekeeper:
    """The working time of one attempt.

    Args:
        spending: of its run; None where nobody counts time.
        clock: the only clock.
        task, attempt: name of the task, id of the attempt.
    """

    def __init__(self, spending: Spending | None, clock: Clock, task: str, attempt: str) -> None:
        self._spending = spending
        self._clock = clock
        self._task = task
        self._attempt = attempt
        self._since_s = clock.monotonic()

    def tick(self) -> None:
        """Called a few times a second while the agent works."""
        if self._spending is not None and self._clock.monotonic() - self._since_s >= EVERY_S:
            self.write_down()

    def write_down(self) -> None:
        """Write down the time since it was done last; what is spent by that is paused, as by an answer."""
        if self._spending is None:
            return
        now = self._clock.monotonic()
        worked, self._since_s = now - self._since_s, now
        self._spending.record(self._task, self._attempt, "", Spent(seconds=round(worked, 3)))
