"""The user's own calendar: which day it is where the machine stands, and when a time of day comes next."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
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
    here = now.astimezone()
    if found := _TIME_OF_DAY.match(plain):
        moment = here.replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0, tzinfo=None)
        if moment <= here.replace(tzinfo=None):
            moment += timedelta(days=1)
        # Read as a time of the wall clock, so that a change to or from summer time in between does not move it.
        return moment.astimezone()
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write for example 07:30, or '2026-11-22 07:30'") from None
    moment = moment.astimezone()
    if moment <= here:
        raise ValueError(f"{text!r} is over already")
    return moment
