"""Text for people: hostile characters shown by name, columns that fit, the nearest word to a typo. Pure.

Names and messages come from agents and from files that agents wrote. Nothing here is trusted to be printable:
every character that a terminal could obey, or that a reader could not see, is shown as a chip such as ``<U+202E>``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

# Categories that are never shown raw: controls, formats (bidi, zero width, tags), surrogates, private use, unassigned,
# line and paragraph separators. Zs is refused except for the plain space: other blanks look like it and are not it.
_CHIP_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Letters and marks that draw nothing: fillers, grapheme joiner, Khmer inherent vowels, Mongolian and general variation
# selectors, the braille blank. (Unicode 15, property Default_Ignorable_Code_Point, plus U+2800.)
_BLANK: Final = frozenset(
    [
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x2800,
        0x3164,
        0xFFA0,
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
    ]
) | frozenset(range(0xE0100, 0xE01F0))


def is_hidden(char: str) -> bool:
    """Tell whether a terminal would obey ``char`` or a reader could not see it (the plain space is neither)."""
    if char == " ":
        return False
    return unicodedata.category(char) in _CHIP_CATEGORIES or ord(char) in _BLANK


def name_hidden(char: str) -> str:
    """Return the chip of one character: ``<U+202E>``, or ``<0xFF>`` for a byte that is not UTF-8."""
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"<0x{code - 0xDC00:02X}>"
    return f"<U+{code:04X}>"


def shown(text: str, *, keep: str = "") -> str:
    """Return ``text`` safe for a terminal, every hidden character as a chip.

    Args:
        text: anything, also surrogate escapes of undecodable file names.
        keep: characters that the caller handles himself and that stay (``"\\n"`` for text of several lines).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(name_hidden(c) if c not in keep and is_hidden(c) else c for c in text)


def find_hidden(text: str) -> tuple[str, ...]:
    """Return the chips of the hidden characters in ``text``, each once, in order of appearance."""
    if text.isascii() and text.isprintable():
        return ()
    return tuple(dict.fromkeys(name_hidden(c) for c in text if is_hidden(c)))


def measure(text: str) -> int:
    """Return how many terminal columns ``text`` takes (wide East Asian characters take two, combining marks none)."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """Return ``text`` cut to ``columns``, ending in ``…`` when something was left out. For labels, never for commands."""
    if measure(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += _columns(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """Return ``text`` cut or filled with spaces to exactly ``columns``."""
    cut = fit(text, columns)
    return cut + " " * (columns - measure(cut))


def fold(text: str, columns: int) -> list[str]:
    """Break one line into pieces of at most ``columns``, at spaces where it can, losing no character.

    Joining the pieces gives ``text`` back: a break never eats the space it stands at.
    """
    columns = max(columns, 2)
    pieces: list[str] = []
    while measure(text) > columns:
        cut = _find_cut(text, columns)
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def _find_cut(text: str, columns: int) -> int:
    used, last_space = 0, 0
    for index, char in enumerate(text):
        used += _columns(char)
        if used > columns:
            return last_space or index
        if char == " ":
            last_space = index + 1
    return len(text)


def hang(prefix: str, text: str, columns: int) -> list[str]:
    """Return ``text`` behind ``prefix`` in lines of at most ``columns`` (at least 20 for the text), losing nothing.

    What goes on in the next line is indented and begins with ``…``, so that it is never taken for a line of its own.
    """
    first, *rest = fold(text, max(columns - measure(prefix), 20))
    indent = " " * max(measure(prefix) - 2, 0)
    return [prefix + first, *(f"{indent}… {piece}" for piece in rest)]


def count(number: int, what: str) -> str:
    """Return ``1 task`` or ``3 tasks``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def shorten_id(text: str, head: int = 4, tail: int = 2) -> str:
    """Return ``77ab..9e`` for a long hex id; a short text comes back as it is."""
    return text if len(text) <= head + tail + 2 else f"{text[:head]}..{text[-tail:]}"


def closest(word: str, choices: Iterable[str]) -> str:
    """Return the choice that ``word`` is most likely a misspelling of, or the empty string.

    One edit (letter left out, added, wrong, or two swapped) is allowed in words up to 4 letters, two in longer ones.
    """
    allowed = 1 if len(word) <= 4 else 2
    ranked = sorted(
        (distance(word.lower(), c.lower()), c) for c in choices if abs(len(c) - len(word)) <= allowed
    )
    return ranked[0][1] if ranked and ranked[0][0] <= allowed else ""


@lru_cache(maxsize=4096)
def distance(left: str, right: str) -> int:
    """Return the number of edits between two words, a swap of neighbours counting as one (optimal string alignment)."""
    before: Sequence[int] = ()
    above: list[int] = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if before and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]
