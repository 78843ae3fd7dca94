"""What a content is searched for first, in one pass that never goes back: names of secrets, and beginnings of keys. Pure.

Of most files this is all that they are asked about keys: where no form can begin, none is compared. So what is looked for
here must stand in every match of a form; it is taken from the forms themselves, never written a second time.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nightcrew.policy.scanning.forms import BEARER_MARK, FORMS, URL_MARK, Form
from nightcrew.policy.scanning.placed import COMMAND_FRONTS, COMMAND_MARK

if TYPE_CHECKING:
    import re2

# `key` alone names many honest things, and `pass` is a word of many languages.
_KEY: Final = rb"(?:api|access|private|auth|encryption|signing|account|master|license)[_-]?key"
_WORDS: Final = {b"secret": 6, b"token": 5, b"credential": 10, b"pwd": 3, b"passw": 4, b"passphrase": 4}
"""Other names in small letters, with how much of them is the part that tells; a name may go on."""
_NAME: Final = rb"(?i:" + b"|".join([*_WORDS, _KEY]) + rb")"
_SECRET_KEY: Final = re.compile(_KEY, re.IGNORECASE)
# It stands in every environment of a shell; what follows is a path.
_WORKING_DIRECTORY: Final = re.compile(rb".{0,4}?(?<![a-z0-9_])(?:old)?pwd=/", re.DOTALL | re.IGNORECASE)
_ARMOUR: Final = b"PRIVATE KEY"
_WEBHOOK: Final = b"whsec_"
_ADDRESS: Final = b"://"
_FRONTS: Final = tuple(each.encode() for each in COMMAND_FRONTS)
_MEMORY: Final = 32 << 20
"""The most that the states of a search may take; a text that needs more is still searched, slowly."""


class Marks(NamedTuple):
    """What a text may hold.

    ``ends``: of the parts of names that tell, in order; ``armour``: the head of a private key; ``webhook``: the mark of a
    webhook's secret; ``address``: a URL with a password; ``formed``: something that begins as a key does, or an HTTP credential;
    ``command``: which commands and settings in which a password has its place.
    """

    ends: list[int]
    armour: bool
    webhook: bool
    address: bool
    formed: bool
    command: tuple[str, ...]


def find_names(data: bytes) -> tuple[list[int], tuple[str, ...]]:
    """Return where the parts of names end that tell of a secret, in order, in a text of one byte for each character.

    Beside them which commands and settings are there in which a password has its place.
    """
    ends: list[int] = []
    special: set[bytes] = set()
    _collect(_compile(_told()), data, 0, ends, special)
    return sorted(ends), _commands_of(special)


def find_marks(data: bytes) -> Marks:
    """Return what a text of one byte for each character may hold."""
    ends: list[int] = []
    special: set[bytes] = set()
    rest = _collect(_compile(_all()), data, 0, ends, special)
    formed = rest >= 0
    if formed:
        # All that is left to find are names and other marks; a form need be found only once.
        _collect(_compile(_plain()), data, rest, ends, special)
    return Marks(
        sorted(ends),
        _ARMOUR in special,
        _WEBHOOK in special,
        _ADDRESS in special,
        formed,
        _commands_of(special),
    )


def _collect(
    pattern: re2._Regexp[bytes], data: bytes, place: int, ends: list[int], special: set[bytes] | None = None
) -> int:
    """Add what is found from a place on; return where something stands that is neither a name nor a mark, -1 for nowhere."""
    search = pattern.search
    while match := search(data, place):
        start: int = match.start()
        end: int = match.end()
        word = match[0].lower()
        if (told := _WORDS.get(word)) is not None:
            if word != b"pwd" or not _WORKING_DIRECTORY.match(data, max(0, end - 7)):
                ends.append(start + told)
        elif _SECRET_KEY.fullmatch(word):
            ends.append(end)
        elif special is not None and (mark := _mark_of(match[0])):
            special.add(mark)
        else:
            return start
        # Not from its end: what is looked for may overlap.
        place = start + 1
    return -1


def _mark_of(found: bytes) -> bytes:
    mark = next((mark for mark in (_ARMOUR, _WEBHOOK, _ADDRESS) if found.startswith(mark)), b"")
    return mark or next((front for front in _FRONTS if found.startswith(front)), b"")


def _commands_of(special: Collection[bytes]) -> tuple[str, ...]:
    return tuple(front.decode() for front in _FRONTS if front in special)


@cache
def _compile(pattern: bytes) -> re2._Regexp[bytes]:
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    # Of what begins at one place the longest is taken: a form before the name that it begins with. It is faster, too.
    options.longest_match = True
    options.max_mem = _MEMORY
    return re2.compile(pattern, options)


@cache
def _plain() -> bytes:
    return b"|".join([_ARMOUR, _WEBHOOK, URL_MARK.encode(), _told()])


@cache
def _told() -> bytes:
    return _NAME + b"|" + COMMAND_MARK.encode()


@cache
def _all() -> bytes:
    """Return a pattern for everything that is looked for."""
    begun = [BEARER_MARK, *(each for form in FORMS for each in beginnings(form))]
    return b"|".join([*(each.encode() for each in begun), _plain()])


def beginnings(form: Form) -> list[str]:
    """Return patterns of which one is found in every match of a form, from the needle on, as far as its length is fixed."""
    from re import _parser  # type: ignore[attr-defined]  # the only reader that means what re means

    items = list(_parser.parse(form.pattern.pattern))
    if form.broken:
        return []  # has a mark of its own
    if not form.inside:
        return [_Prefix().write(items)]
    found = []
    for needle in form.needles:
        letters = [("LITERAL", ord(each)) for each in needle]
        names = [(str(op), value) for op, value in items]
        at = next((i for i in range(len(items)) if names[i : i + len(letters)] == letters), None)
        found.append(re.escape(needle) if at is None else _Prefix().write(items[at:]))
    return found


class _Prefix:
    """Writes the beginning of a pattern for RE2: up to and with the least of the first repeat of no fixed number.

    What stands around a match is left out: so it is found in more texts than the pattern, and in none fewer.
    """

    def __init__(self) -> None:
        self._over = False

    def write(self, items: Sequence[Any]) -> str:
        written = ""
        for op, value in items:
            if self._over:
                break
            written += self._item(str(op), value)
        return written

    def _item(self, op: str, value: Any) -> str:
        if op in ("ASSERT", "ASSERT_NOT"):
            return ""
        if op == "LITERAL":
            return re.escape(chr(value))
        if op == "IN":
            return "[" + "".join(_range(str(kind), held) for kind, held in value) + "]"
        if op == "SUBPATTERN":
            return f"(?:{self.write(value[3])})"
        if op == "BRANCH":
            return self._branch(value[1])
        if op == "MAX_REPEAT":
            low, high, inner = value
            written = self.write(inner)
            times = min(low, 1) if self._over else low
            self._over = self._over or low != high
            return f"(?:{written}){{{times}}}"
        raise ValueError(f"a form with a part that is not known here ({op})")

    def _branch(self, branches: Sequence[Sequence[Any]]) -> str:
        over = False
        written = []
        for each in branches:
            self._over = False
            written.append(self.write(each))
            over = over or self._over
        self._over = over
        return f"(?:{'|'.join(written)})"


def _range(kind: str, held: Any) -> str:
    if kind not in ("LITERAL", "RANGE"):
        raise ValueError(f"a form with characters that are not known here ({kind})")
    first, last = held if kind == "RANGE" else (held, held)
    return f"\\x{first:02x}-\\x{last:02x}"
