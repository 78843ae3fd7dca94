"""The slope alarm: money that goes much faster than it did before is told while there is still some left. Pure but for the clock.

What went in the last WINDOW_S is compared with what went before that at the same pace; it is told when it is so many times
faster and would use up a budget within HORIZON_S, and then not again for QUIET_S.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from nightcrew.engine.books.budgets import Scope
from nightcrew.host.calendar import describe_moment
from nightcrew.host.clock import Clock
from nightcrew.model.usage import Spent, describe_minutes, describe_usd

#: What counts as "of late".
WINDOW_S: Final = 600.0
#: Nothing is compared before it is known what is usual.
LEAST_S: Final = 600.0
#: A budget that lasts longer is no reason to wake anybody.
HORIZON_S: Final = 3600.0
QUIET_S: Final = 1800.0


class Slope:
    """How fast one run spends; of what this host has seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_s = clock.monotonic()
        self._late: deque[tuple[float, float]] = deque()
        self._before = 0.0
        self._quiet_until_s = 0.0

    def note(self, spent: Spent) -> None:
        """Something was spent just now."""
        if spent.usd:
            self._late.append((self._clock.monotonic(), spent.usd))

    def look(self, scopes: Sequence[Scope], times: float) -> dict[str, Any] | None:
        """Return what to tell when money goes ``times`` faster than before and soon is gone; None for nothing."""
        now = self._clock.monotonic()
        while self._late and now - self._late[0][0] > WINDOW_S:
            self._before += self._late.popleft()[1]
        usual_s = now - self._began_s - WINDOW_S
        if not times or usual_s < LEAST_S or now < self._quiet_until_s:
            return None
        late, usual = sum(usd for _, usd in self._late) / WINDOW_S, self._before / usual_s
        left = min((each for each in scopes if each.budget.usd), key=_left_usd, default=None)
        if left is None or not usual or late < times * usual or _left_usd(left) <= 0:
            return None
        lasts_s = _left_usd(left) / late
        if lasts_s > HORIZON_S:
            return None
        self._quiet_until_s = now + QUIET_S
        return self._describe(left, late, usual, lasts_s)

    def _describe(self, scope: Scope, late: float, usual: float, lasts_s: float) -> dict[str, Any]:
        wall = self._clock.now()
        at = describe_moment(wall + timedelta(seconds=lasts_s), wall)
        said = (
            f"{describe_usd(late * 3600)} an hour of late, {late / usual:.1f} times as much as before:"
            f" {scope.budget.describe()} for {scope.told} would be spent in {describe_minutes(lasts_s)}, at {at}"
        )
        return {
            "of": scope.of,
            "name": scope.name,
            "usd_per_hour": round(late * 3600, 4),
            "before_usd_per_hour": round(usual * 3600, 4),
            "lasts_s": round(lasts_s),
            "said": said,
        }


def _left_usd(scope: Scope) -> float:
    return scope.budget.usd - scope.spent.usd
