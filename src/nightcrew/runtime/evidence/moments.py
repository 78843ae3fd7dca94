"""Moments as people name them: ``30d`` (so long ago), ``yesterday``, ``2025-11-20``, ``2025-11-20T18:30``. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from nightcrew.host.clock import stamp
from nightcrew.model.errors import UsageError
from nightcrew.model.units import parse_duration

_DAYS: Final = {"today": 0, "yesterday": 1}


def read_moment(text: str, now: datetime, option: str) -> str:
    """Return a moment as events have it (UTC), empty for an empty text. Days and times without a zone are local ones.

    Args:
        text: as typed. now: the present. option: what it was given to, for the error.

    Raises:
        UsageError: it is no moment.
    """
    word = text.strip().lower()
    if not word:
        return ""
    if word in _DAYS:
        local = now.astimezone() - timedelta(days=_DAYS[word])
        return stamp(local.replace(hour=0, minute=0, second=0, microsecond=0))
    try:
        if len(word) > 5 and "-" in word:
            return stamp(datetime.fromisoformat(text.strip()).astimezone())
        seconds = parse_duration(word)
        if seconds <= 0:
            raise ValueError
        return stamp(now - timedelta(seconds=seconds))
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option}: {text!r} is not a moment",
            code="usage.moment",
            hint="write for example 30d, 2h, today, yesterday, 2025-11-20 or 2025-11-20T18:30",
        ) from None
