"""Sizes and times as people write them: ``4GiB``, ``10MB``, ``30m``, ``1h30m``, ``never``."""

from __future__ import annotations

import re
from typing import Final

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*\Z")
# Possessive, so that a long row of digits with a wrong end is read once and not in every possible way.
_TIME = re.compile(r"\s*+(?:[0-9]++(?:\.[0-9]++)?\s*+[A-Za-z]*+\s*+)+\Z")
_TIME_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")

# KB, MB, ... count in thousands (SI), KiB, MiB, ... in 1024 (IEC). A bare K, M, G is 1024, as in ls, du and df.
_SIZES: Final = {"": 1, "b": 1} | {
    unit: factor
    for power, letter in enumerate("kmgtpe", start=1)
    for unit, factor in ((letter, 1024**power), (f"{letter}ib", 1024**power), (f"{letter}b", 1000**power))
}
_SECONDS: Final = {
    unit: seconds
    for seconds, units in (
        (0.001, "ms"),
        (1.0, "s sec secs second seconds"),
        (60.0, "m min mins minute minutes"),
        (3600.0, "h hour hours"),
        (86400.0, "d day days"),
    )
    for unit in units.split()
}
# A hundred years: nothing waits longer, and what is beyond it overflows clocks.
MAX_SECONDS: Final = 100 * 365 * 86400.0
MAX_BYTES: Final = 1 << 60


def parse_size(value: str | int) -> int:
    """Return a size in bytes; a plain number is bytes.

    Raises:
        ValueError: it is not a size, in words for a person.
    """
    match = _SIZE.match(str(value))
    factor = _SIZES.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(
            f"{value!r} is not a size; write for example 512MiB, 4GiB, 10MB or a number of bytes"
        )
    size = int(float(match[1]) * factor) if "." in match[1] else int(match[1][:30]) * factor
    if size > MAX_BYTES:
        raise ValueError(f"{value!r} is more than {format_size(MAX_BYTES)}")
    return size


def parse_duration(value: str | float) -> float:
    """Return a time in seconds; a plain number is seconds, ``never`` is 0 (no limit).

    Raises:
        ValueError: it is not a time, in words for a person.
    """
    text = str(value).strip().lower()
    if text == "never":
        return 0.0
    wrong = ValueError(f"{value!r} is not a time; write for example 90s, 30m, 1h30m or a number of seconds")
    if not _TIME.match(text):
        raise wrong
    parts = _TIME_PART.findall(text)
    if len(parts) > 1 and any(not unit for _, unit in parts):
        raise wrong
    if any(unit and unit not in _SECONDS for _, unit in parts):
        raise wrong
    seconds = sum(float(number) * _SECONDS.get(unit, 1.0) for number, unit in parts)
    if seconds > MAX_SECONDS:
        raise ValueError(f"{value!r} is more than a hundred years; write never for no limit")
    return seconds


def format_size(size_bytes: int) -> str:
    """Return a size as people write it, exact: ``4GiB``, ``10MB``, ``1234B``."""
    if not size_bytes:
        return "0"
    names = ((f, n) for n, f in _NAMES)
    factor, name = max((pair for pair in names if size_bytes % pair[0] == 0), default=(1, "B"))
    return f"{size_bytes // factor}{name}"


_NAMES: Final = (
    ("B", 1),
    *((f"{u}iB", 1024**p) for p, u in enumerate("KMGTPE", start=1)),
    *((f"{u}B", 1000**p) for p, u in enumerate("kMGTPE", start=1)),
)


def describe_size(size_bytes: int) -> str:
    """Return a size for a person to read, rounded: ``11.5 MB``, ``900 B``."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
