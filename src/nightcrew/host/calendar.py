"""The user's own calendar: which day it is where the machine stands, and when a time of day comes next."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_TIME_OF_DAY: Final = re.compile(r"([01]?[0-9]|2[0-3])[:.]([0-5][0-9])\Z")


def local_day(now: datetime) -> str:
    """Return the day of a moment in the machine's own time zone: ``2026-11-21``."""
    return now.astimezone().strftime("%Y-%m-%d")


def describe_moment(moment: datetime, now: datetime) -> str:
    """Return a moment for a person to read: ``07:30``, with the day when it is another one."""
    local, today = moment.astimezone(), now.astimezone()
    return local.strftime("%H:%M" if local.date() == today.date() else "%Y-%m-%d %H:%M")


def next_moment(text: str, now: datetime) -> datetime:
    """Return the moment that a person names: ``07:30`` (the next one), or ``2026-11-22 07:30``.

    Raises:
        ValueError: it is none, or it is over, in words for a person.
    """
    plain = text.strip()
    if found := _TIME_OF_DAY.match(plain):
        today = now.astimezone().replace(
            hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, tzinfo=None
        )
        # Times of the wall clock, so that a change to or from summer time in between does not move them.
        moments = [each for days in (0, 1) for each in _place(today + timedelta(days=days))]
        return next(moment for moment in moments if moment > now)
    try:
        moments = _place(datetime.fromisoformat(plain))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time; write for example 07:30, or '2026-11-22 07:30'") from None
    if coming := next((moment for moment in moments if moment > now), None):
        return coming
    raise ValueError(f"{text!r} is over already")


def _place(wall: datetime) -> list[datetime]:
    """Return the moments at which clocks show a time: two of them in the hour that comes twice when summer time ends.

    One that they leave out when it begins is as much later as they are put forward.
    """
    # By its timestamp: astimezone alone would place such a time an hour early, and so perhaps before now.
    first, second = (
        datetime.fromtimestamp(wall.replace(fold=fold).timestamp(), UTC).astimezone() for fold in (0, 1)
    )
    return [first, second] if first < second else [first]
