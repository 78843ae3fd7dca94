"""Values found by the name they are given to: ``password=x``, ``"api_key": "x"``, ``--token x``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from nightcrew.policy.scanning.noise import REFERENCE

# The names of secret values in small letters; what stands around them in a name does not matter. `key` alone names many
# honest things, and `pass` is a word of many languages. All but one hold a rare letter: once `c`, `k` and `w` are written
# as `K`, one search for that letter, which looks around itself where it is found, takes the place of one for each name.
_SMALL: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZckw", b"abKdefghijKlmnopqrstuvKxyzKKK")
_MARKED: Final = re.compile(
    rb"K(?:en(?<=toKen)|ey(?:(?<=[eghinrst]Key)|(?<=[eghinrst][ _-]Key))"
    rb"|ret(?<=seKret)|redential|d(?<=pKd)|(?=hseK_)|(?<=passK))"
)
_TAILS: Final = frozenset([b"ken", b"cret", b"credential", b"wd"])
_PASSPHRASE: Final = b"passphrase"
_SECRET_KEY = re.compile(
    rb"(?:api|access|private|auth|encryption|signing|account|master|license)[_-]?key\Z", re.IGNORECASE
)
# It stands in every environment of a shell; what follows is a path.
_WORKING_DIRECTORY = re.compile(rb".{0,4}?(?<![a-z0-9_])(?:old)?pwd=/", re.DOTALL | re.IGNORECASE)
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


class Names(NamedTuple):
    """Where a text names secrets.

    ``ends``: of the parts of names that tell, in order; ``armour``: it may hold the head of a private key; ``webhook``:
    it may hold the mark of a webhook's secret.
    """

    ends: list[int]
    armour: bool
    webhook: bool


class Value(NamedTuple):
    """An assigned value: it stands in ``[start, end)``, ``name_end`` is the end of the part of the name that tells.

    ``quoted``: in quotes; ``tight``: written as ``NAME=value``.
    """

    start: int
    end: int
    name_end: int
    quoted: bool
    tight: bool


def find_assigned(text: str, names: Names | None = None) -> Iterator[Value]:
    """Yield the values that are given to the name of a secret, in order, none overlapping.

    Args:
        names: of ``text``, where the caller has them.
    """
    if names is None:
        names = find_names(lower(text).encode("latin-1", "replace"))
    position = 0
    for start in names.ends:
        if start >= position and (value := _find_value(text, start)):
            yield value
            position = value.end


def lower(text: str) -> str:
    """Return the text in small letters, every character at its place."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    # A letter whose small form is longer (U+0130) would shift every position.
    return "".join(c.lower() if c.isascii() else "?" for c in text)


def find_names(data: bytes) -> Names:
    """Return where a text of one byte for each character names secrets."""
    small = data.translate(_SMALL)
    ends, armour, webhook = [], False, False
    for match in _MARKED.finditer(small):
        start, end = match.span()
        if data[start] in b"wW":
            webhook = webhook or small.startswith(b"hseK_", start + 1)
            if small.endswith(b"pass", 0, start):
                ends.append(start)
        if end - start == 3 and match[0] == b"Key":
            armour = armour or data.endswith(b"PRIVATE KEY", 0, end)
            if _SECRET_KEY.search(data, max(0, end - 20), end):
                ends.append(end)
        elif (tail := data[start:end].lower()) in _TAILS and not (
            tail == b"wd" and _WORKING_DIRECTORY.match(data, max(0, end - 7))
        ):
            ends.append(end)
    place = small.find(_PASSPHRASE)
    while place >= 0:
        ends.append(place + len("pass"))
        place = small.find(_PASSPHRASE, place + len(_PASSPHRASE))
    return Names(sorted(ends), armour, webhook)


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
