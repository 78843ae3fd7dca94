"""Runs of key characters in a content: the only places where keys can be. Pure.

Written for speed: one pass that turns every key character into an ``a``, a substring search for a row of them, and a few
operations per run that is found. In ordinary text one byte in ten is part of such a run.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Final, NamedTuple

from nightcrew.policy.scanning.forms import RUN
from nightcrew.policy.scanning.noise import entropy

_KEY_CHARACTERS: Final = (string.ascii_letters + string.digits + "_-").encode()
_MAP: Final = bytes(ord("a") if c in _KEY_CHARACTERS else ord(" ") for c in range(256))
_ROW: Final = b"a" * RUN
_PLAIN: Final = (string.ascii_lowercase + "_-").encode()
_LOWER: Final = string.ascii_lowercase.encode()
_UPPER: Final = string.ascii_uppercase.encode()
_DIGITS: Final = string.digits.encode()
_HEX: Final = b"0123456789abcdefABCDEF-_"
_BASE64: Final = _KEY_CHARACTERS + b"+/="
_WIDEST: Final = 256
"""A secret that is longer than this is a document."""

# Random base62 text of 24 characters has 4.1 bits per character on average; names of that length stay below 3.8.
_RANDOM_LENGTH: Final = 24
_RANDOM_BITS: Final = 3.9


class Run(NamedTuple):
    """A run of at least RUN key characters at ``[start, end)``, not all of them small letters."""

    start: int
    end: int
    text: bytes

    def starts(self) -> Iterator[int]:
        """Yield where a key may begin in it: at its first character, and after each dash."""
        yield self.start
        dash = self.text.find(b"-")
        while dash >= 0:
            yield self.start + dash + 1
            dash = self.text.find(b"-", dash + 1)

    def may_be_inside(self, data: bytes) -> bool:
        """Tell whether the characters around it, or a mark in it, allow a form that does not begin with its needle."""
        return (
            data[self.start - 1 : self.start] in _JOINTS_BEFORE
            or data[self.end : self.end + 1] in _JOINTS_BEHIND
            or b"-us" in self.text
            or b"AZDO" in self.text
            or b"JQQJ9" in self.text
        )

    def is_random(self) -> bool:
        """Tell whether it looks drawn by lot: long, of small and capital letters and digits, not hexadecimal."""
        text = self.text
        if len(text) < _RANDOM_LENGTH or not text.translate(None, _HEX):
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


_JOINTS_BEFORE: Final = frozenset((b".", b":", b"~", b"/"))
_JOINTS_BEHIND: Final = frozenset((b".", b"~"))


def find_runs(data: bytes) -> Iterator[Run]:
    """Yield the runs of a content in order."""
    mapped = data.translate(_MAP)
    start = mapped.find(_ROW)
    while start >= 0:
        end = mapped.find(b" ", start)
        if end < 0:
            end = len(data)
        text = data[start:end]
        if text.translate(None, _PLAIN):
            yield Run(start, end, text)
        start = mapped.find(_ROW, end)
