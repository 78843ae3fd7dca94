"""Values found by the name they are given to: ``password=x``, ``"api_key": "x"``, ``--token x``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from nightcrew.policy.scanning.noise import REFERENCE

# Parts of the names of secret values, in small letters; what stands around them in a name does not matter.
_NAMES: Final = ("pass", "secret", "token", "credential", "pwd", "key")
# `pass` alone is a word of many languages.
_PASS: Final = ("w", "phrase")
# `key` alone names many honest things.
_SECRET_KEY = re.compile(r"(?:api|access|private|auth|encryption|signing|account|master|license)[_-]?key\Z")
_WORKING_DIRECTORY = re.compile(r".{0,4}?(?<![a-z0-9_])(?:old)?pwd=/", re.DOTALL)
_AFTER_OPTION = re.compile(r"[a-z-]{0,20}[ \t]+(['\"]?)(?P<bare>[^\s'\"-][^\s'\"]{5,})")
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


def find_assigned(text: str, lowered: str = "") -> Iterator[Value]:
    """Yield the values that are given to the name of a secret, in order, none overlapping.

    Args:
        lowered: ``lower(text)``, where the caller has it.
    """
    lowered = lowered or lower(text)
    position = 0
    for start in sorted({place for name in _NAMES for place in _places(lowered, name)}):
        if start >= position and (value := _find_value(text, lowered, start)):
            yield value
            position = value.end


def lower(text: str) -> str:
    """Return the text in small letters, every character at its place."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    # A letter whose small form is longer (U+0130) would shift every position.
    return "".join(c.lower() if c.isascii() else "?" for c in text)


def _places(lowered: str, name: str) -> Iterator[int]:
    place = lowered.find(name)
    while place >= 0:
        end = place + len(name)
        if _names_secret(lowered, name, end):
            yield end
        place = lowered.find(name, end)


def _names_secret(lowered: str, name: str, end: int) -> bool:
    if name == "key":
        return _SECRET_KEY.search(lowered, max(0, end - 20), end) is not None
    if name == "pass":
        return lowered.startswith(_PASS, end)
    # The shell's working directory stands in every environment; what follows is a path.
    return name != "pwd" or _WORKING_DIRECTORY.match(lowered, max(0, end - 7)) is None


def _find_value(text: str, lowered: str, start: int) -> Value | None:
    match = _ASSIGNED.match(text, start)
    if match is not None:
        kind = next(name for name in ("quoted", "escaped", "bare") if match[name] is not None)
        quoted, span = kind != "bare", match.span(kind)
        return Value(*span, start, quoted, _is_tight(match)) if _is_secret(match) else None
    option = _AFTER_OPTION.match(lowered, start)
    if option is None or REFERENCE.match(option["bare"]):
        return None
    word = max(lowered.rfind(c, max(0, start - 60), start) for c in " \t\n\"'=")
    return Value(*option.span("bare"), start, False, False) if lowered.startswith("--", word + 1) else None


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
