"""Runs of key characters in a content: the only places where keys can be. Pure.

Written for speed: one pass that turns every key character into an ``a``, a substring search for a row of them, and a few
operations per run that is found. In ordinary text one byte in ten is part of such a run, and most of these are names: where
nothing begins as a key does, only the longer ones are asked for, which may be random or base64.
"""

from __future__ import annotations

import string
from typing import Final, NamedTuple

from nightcrew.policy.scanning.forms import RUN
from nightcrew.policy.scanning.marks import Marks, find_marks
from nightcrew.policy.scanning.noise import entropy

_KEY_CHARACTERS: Final = (string.ascii_letters + string.digits + "_-").encode()
_MAP: Final = bytes(ord("a") if c in _KEY_CHARACTERS else ord(" ") for c in range(256))
_PLAIN: Final = (string.ascii_lowercase + "_-").encode()
_LOWER: Final = string.ascii_lowercase.encode()
_UPPER: Final = string.ascii_uppercase.encode()
_DIGITS: Final = string.digits.encode()
_HEX: Final = b"0123456789abcdefABCDEF-_"
_BASE64: Final = _KEY_CHARACTERS + b"+/="
_WIDEST: Final = 256
"""A secret that is longer than this is a document."""

# Of random base62 characters 58 % are capital letters or digits, of hexadecimal ones 62 %; of names one in ten.
ODD_IN: Final = 6
# Keys of small letters and digits alone hold by lot few digits: of 52 characters one in twelve has less than a sixth.
ODD_IN_FORMED: Final = 20
# Random base62 text of 24 characters has 4.1 bits per character on average; names of that length stay below 3.8.
RANDOM_LENGTH: Final = 24
BASE64_LENGTH: Final = 20
"""Shortest run that is looked at in a base64 text."""
_RANDOM_BITS: Final = 3.9

_JOINTS_BEFORE: Final = b".:~/"
_JOINTS_BEHIND: Final = b".~"


class Run(NamedTuple):
    """A run of at least RUN key characters at ``[start, end)``, ``odd`` of them capital letters or digits; not a name."""

    start: int
    end: int
    text: bytes
    odd: int

    def may_be_inside(self, data: bytes) -> bool:
        """Tell whether the characters around it, or a mark in it, allow a form that does not begin with its needle."""
        start, end, text, _ = self
        return (
            (start > 0 and data[start - 1] in _JOINTS_BEFORE)
            or (end < len(data) and data[end] in _JOINTS_BEHIND)
            or b"-us" in text
            or b"AZDO" in text
            or b"JQQJ9" in text
        )

    def is_random(self) -> bool:
        """Tell whether it looks drawn by lot: long, of small and capital letters and digits, not hexadecimal."""
        text = self.text
        if len(text) < RANDOM_LENGTH or not text.translate(None, _HEX):
            return False
        if any(len(text.translate(None, kind)) == len(text) for kind in (_LOWER, _UPPER, _DIGITS)):
            return False
        return entropy(text.decode("latin-1")) >= _RANDOM_BITS

    def widen(self, data: bytes) -> tuple[int, int]:
        """Return where the base64 text begins and ends that it is part of."""
        before = data[max(0, self.start - _WIDEST) : self.start]
        start = (
            self.start - (len(before) - len(before.rstrip(_BASE64)))
            if before[-1:] in (b"+", b"/")
            else self.start
        )
        behind = data[self.end : self.end + _WIDEST]
        return start, self.end + len(behind) - len(behind.lstrip(_BASE64))


class Seen(NamedTuple):
    """What was seen in a content at first sight: its marks, and the runs that matter beside these."""

    marks: Marks
    runs: list[Run]


def look(data: bytes) -> Seen:
    """Look over a content: for what it may hold, and for the runs where that stands."""
    marks = find_marks(data)
    if marks.formed:
        return Seen(marks, find_runs(data, RUN, ODD_IN_FORMED))
    return Seen(marks, find_runs(data, min(BASE64_LENGTH, RANDOM_LENGTH)))


def find_runs(data: bytes, length: int = RUN, odd_in: int = ODD_IN) -> list[Run]:
    """Return the runs of a content that have at least so many characters, one odd one in so many, in order."""
    row = b"a" * length
    mapped = data.translate(_MAP)
    find, found, size = mapped.find, [], len(data)
    start = find(row)
    while start >= 0:
        end = find(b" ", start)
        if end < 0:
            end = size
        text = data[start:end]
        odd = len(text.translate(None, _PLAIN))
        if odd * odd_in >= end - start:
            found.append(Run(start, end, text, odd))
        start = find(row, end)
    return found
