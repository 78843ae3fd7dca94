"""Values found by the name they are given to: ``password=x``, ``"api_key": "x"``, ``--token x``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nightcrew.policy.scanning.marks import find_names
from nightcrew.policy.scanning.noise import REFERENCE

_AFTER_OPTION = re.compile(r"[A-Za-z\u212a-]{0,20}[ \t]+(['\"]?)(?P<bare>[^\s'\"-][^\s'\"]{5,})")
_ASSIGNED = re.compile(
    r"""[A-Za-z0-9_.-]{0,40}            # rest of the name
        \\{0,7}["'\]]{0,2}[ \t]{0,8}(=>|:=|=|:)[ \t]{0,8}
        (?:(["'`])(?P<quoted>(?:(?!\2)[^\\\n]|\\.){1,4096})\2
          |\\{1,7}["'](?P<escaped>[^\\"'\n]{1,4096})\\{1,7}["']   # JSON inside a text of JSON
          |(?P<bare>[^\s"'`,;(){}\[\]<>&|]{1,4096})(?P<call>[(\[]?))""",
    re.VERBOSE,
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_.]{0,24}\Z")


class Value(NamedTuple):
    """An assigned value: it stands in ``[start, end)``, ``name_end`` is the end of the part of the name that tells.

    ``quoted``: in quotes; ``tight``: written as ``NAME=value``.
    """

    start: int
    end: int
    name_end: int
    quoted: bool
    tight: bool


def find_assigned(text: str, ends: Sequence[int] | None = None) -> Iterator[Value]:
    """Yield the values that are given to the name of a secret, in order, none overlapping.

    Args:
        ends: where its names of secrets end, where the caller knows (``marks.find_names``).
    """
    if ends is None:
        ends, _ = find_names(as_searched(text))
    position = 0
    for start in ends:
        if start >= position and (value := _find_value(text, start)):
            yield value
            position = value.end


def as_searched(text: str) -> bytes:
    """Return the text as names of secrets are looked for in it: small letters, one byte for each character."""
    return lower(text).encode("latin-1", "replace")


def lower(text: str) -> str:
    """Return the text in small letters, every character at its place."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    # A letter whose small form is longer (U+0130) would shift every position.
    return "".join(c.lower() if c.isascii() else "?" for c in text)


def _find_value(text: str, start: int) -> Value | None:
    match = _ASSIGNED.match(text, start)
    if match is not None:
        kind = next(name for name in ("quoted", "escaped", "bare") if match[name] is not None)
        quoted, span = kind != "bare", match.span(kind)
        return Value(*span, start, quoted, _is_tight(match)) if _is_secret(match) else None
    option = _AFTER_OPTION.match(text, start)
    if option is None or REFERENCE.match(option["bare"].lower()):
        return None
    word = max(text.rfind(c, max(0, start - 60), start) for c in " \t\n\"'=")
    return Value(*option.span("bare"), start, False, False) if text.startswith("--", word + 1) else None


def _is_secret(match: re.Match[str]) -> bool:
    value = match["quoted"] if match["quoted"] is not None else match["escaped"]
    if value is not None:
        return len(value) >= 4 and " " not in value.strip() and not REFERENCE.match(value)
    value = match["bare"]
    if match["call"] or len(value) < 6 or REFERENCE.match(value) or value.isdigit():
        return False
    # `token: Iterator` and `token = lexer.next` are code; `TOKEN=correcthorse` is a setting.
    return _is_tight(match) or not _IDENTIFIER.match(value)


def _is_tight(match: re.Match[str]) -> bool:
    return match["bare"] is not None and (
        match[1] == "=" and match[0].find("=") + 1 == match.start("bare") - match.start()
    )
