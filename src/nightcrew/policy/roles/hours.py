"""When a role works. Pure but for the table of time zones, which is data of the machine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOCAL: Final = "local"
_TIME: Final = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])\Z")
_MINUTES_OF_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """From one time of day to another, on some days; with ``until`` before ``since`` over midnight.

    Attributes:
        since, until: minutes after midnight; ``until`` may be 1440. The same twice is the whole day.
        days: numbers of the days that it begins on, Monday is 0.
        zone: name of a time zone, or ``local`` for that of the machine.
    """

    since: int
    until: int
    days: tuple[int, ...] = tuple(range(7))
    zone: str = LOCAL

    def is_open(self, now: datetime) -> bool:
        """Tell whether a moment (with a time zone) lies within."""
        local = now.astimezone(find_zone(self.zone))
        minute = local.hour * 60 + local.minute
        today, yesterday = local.weekday(), (local.weekday() - 1) % 7
        if self.since < self.until:
            return today in self.days and self.since <= minute < self.until
        return (today in self.days and minute >= self.since) or (
            yesterday in self.days and minute < self.until
        )

    def next_change(self, now: datetime) -> datetime:
        """Return the next moment at which it opens or closes; a week from now when it never does."""
        zone, is_open = find_zone(self.zone), self.is_open(now)
        local = now.astimezone(zone)
        for days in range(-1, 9):
            date = (local + timedelta(days=days)).date()
            for at in self._moments(datetime(date.year, date.month, date.day, tzinfo=zone), now.tzinfo):
                if at > now and self.is_open(at) != is_open:
                    return at
        return now + timedelta(days=7)

    def _moments(self, midnight: datetime, zone: tzinfo | None) -> list[datetime]:
        """Return when it may open or close on a day, in order: the times named, and any quarter of an hour of a day whose
        clocks are changed.
        """
        found = {
            (midnight + timedelta(minutes=minute)).replace(fold=fold).astimezone(zone)
            for minute in (self.since, self.until)
            for fold in (0, 1)
        }
        first, last = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
        if last - first != timedelta(days=1):
            quarters = int((last - first) / timedelta(minutes=15))
            found |= {(first + timedelta(minutes=15 * each)).astimezone(zone) for each in range(quarters + 1)}
        return sorted(found)

    def describe(self) -> str:
        """Return it in words: ``22:00-06:00 mon tue wed thu fri (Europe/Berlin)``."""
        days = "" if len(self.days) == len(DAYS) else " " + " ".join(DAYS[day] for day in self.days)
        zone = "" if self.zone == LOCAL else f" ({self.zone})"
        return f"{_write(self.since)}-{_write(self.until)}{days}{zone}"


def find_zone(name: str) -> tzinfo | None:
    """Return a time zone; None for that of the machine, as ``datetime.astimezone`` takes it.

    Raises:
        ValueError: this machine knows none of that name.
    """
    if name == LOCAL:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"this machine knows no time zone {name!r}") from None


def read_time(text: str) -> int:
    """Return the minutes after midnight that ``22:00`` stands for.

    Raises:
        ValueError: it is no time of day.
    """
    found = _TIME.match(text)
    minutes = int(found[1]) * 60 + int(found[2]) if found else _MINUTES_OF_DAY + 1
    if minutes > _MINUTES_OF_DAY:
        raise ValueError(f"{text!r} is no time of day")
    return minutes


def read_days(words: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of days, each once, in the order of the week.

    Raises:
        ValueError: one of them is no day.
    """
    found = set()
    for word in words:
        if word[:3].lower() not in DAYS:
            raise ValueError(f"{word!r} is no day")
        found.add(DAYS.index(word[:3].lower()))
    return tuple(sorted(found))


def _write(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def read_hours(plain: Mapping[str, Any]) -> Hours:
    """Return hours that were recorded as plain JSON."""
    return Hours(int(plain["since"]), int(plain["until"]), tuple(plain["days"]), str(plain["zone"]))
