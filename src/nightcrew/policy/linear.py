"""Regular expressions that a person writes into a rule, matched in time that grows with the text alone.

A rule may stand in a repository that nobody has read, and the text is what an agent wants to run: with an engine that goes back
and tries again, the two together decide how long a decision takes. So patterns are written as for Python's ``re``, and matched by
RE2, which cannot go back; what only such an engine can do (looking around, back-references) is refused when the file is read.

``\\w \\d \\s \\b`` mean ASCII, as a shell splits words and no further; so does ``(?i)``, save for a letter that is written itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

HINT: Final = "in single quotes a backslash needs no second one"
LONGEST: Final = 8192
"""Characters that a pattern may have."""
MOST_STEPS: Final = 10_000
"""So large a pattern may be once it is compiled: each character of a text costs at most as many steps."""

_LAST: Final = 0x10FFFF
_HIGH: Final = 128
#: Stands for every line end but one at the very end of a text: with it ``$`` needs no look at what follows.
_LINE_END: Final = 0x10FFFE
_ASCII: Final = {
    "CATEGORY_DIGIT": frozenset(c for c in range(_HIGH) if chr(c).isdigit()),
    "CATEGORY_WORD": frozenset(c for c in range(_HIGH) if chr(c).isalnum() or chr(c) == "_"),
    "CATEGORY_SPACE": frozenset(map(ord, " \t\n\r\f\v")),
}
_CANNOT: Final = {
    "ASSERT": "looks around itself",
    "ASSERT_NOT": "looks around itself",
    "GROUPREF": "refers back to what a group has matched",
    "GROUPREF_EXISTS": "refers back to what a group has matched",
    "ATOMIC_GROUP": "keeps what it has taken (an atomic group)",
    "POSSESSIVE_REPEAT": "keeps what it has taken (a possessive quantifier)",
}
#: How the beginnings of those are written, to say where.
_WRITTEN: Final = re.compile(
    r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<found>\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9]|(?:[*+?]|\{[0-9,]*\})\+)",
    re.DOTALL,
)
_INSTEAD: Final = {
    "looks": "say what may not be there with an exception of the rule (unless:), or list what may",
    "refers": "write out what may repeat",
    "keeps": "leave it out: nothing here goes back",
}


class CannotMatch(ValueError):
    """A pattern that cannot be used.

    Attributes:
        at: which character of it, counted from 0; -1 for the whole. hint: what to write instead.
    """

    def __init__(self, said: str, at: int = -1, hint: str = HINT) -> None:
        super().__init__(said)
        self.at = at
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Characters:
    """Which characters one place of a pattern takes: those of ASCII one by one, the others as ranges."""

    low: frozenset[int]
    high: tuple[tuple[int, int], ...] = ()

    def inverse(self) -> Characters:
        """Return all others."""
        left, start = [], _HIGH
        for first, last in sorted(self.high):
            if first > start:
                left.append((start, first - 1))
            start = max(start, last + 1)
        if start <= _LAST:
            left.append((start, _LAST))
        return Characters(frozenset(range(_HIGH)) - self.low, tuple(left))

    def written(self) -> str:
        """Return it as RE2 reads it."""
        ranges = [(c, c) for c in sorted(self.low)]
        for (
            first,
            last,
        ) in self.high:  # what stands for a line end is taken where a line end is, and nowhere else
            ranges += [
                (a, b)
                for a, b in ((first, min(last, _LINE_END - 1)), (max(first, _LINE_END + 1), last))
                if a <= b
            ]
        if 10 in self.low:
            ranges.append((_LINE_END, _LINE_END))
        joined: list[tuple[int, int]] = []
        for first, last in ranges:
            if joined and first == joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        if not joined:
            return "[^\\x{0}-\\x{10FFFF}]"
        return "[" + "".join(f"\\x{{{a:x}}}-\\x{{{b:x}}}" for a, b in joined) + "]"


def compile_linear(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a pattern is found in a text.

    Raises:
        CannotMatch: it is wrong, or needs what this engine cannot do.
    """
    return _compile(pattern)


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> Callable[[str], bool]:
    import re2

    if len(pattern) > LONGEST:
        raise CannotMatch(f"has {len(pattern)} characters, and at most {LONGEST} are read")
    writer = _Writer(pattern)
    written = writer.write()
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        search = re2.compile(written, options)
    except re2.error as error:
        raise CannotMatch("repeats too much", hint="repeat at most 1000 times in all") from error
    if search.programsize > MOST_STEPS:
        raise CannotMatch(
            f"is too large: {search.programsize} steps for each character, and at most {MOST_STEPS} are allowed",
            hint="repeat less, or write * for many",
        )
    return _searching(search.search, by_lines=writer.by_lines)


def _searching(search: Callable[[str], object], *, by_lines: bool) -> Callable[[str], bool]:
    marker = chr(_LINE_END)

    def find(text: str) -> bool:
        if not text.isascii():
            # Halves of a pair, as they stand for bytes that are no text, have no form in UTF-8.
            text = text.encode("utf-8", "replace").decode("utf-8").replace(marker, "?")
        if not by_lines and "\n" in text[:-1]:
            text = text[:-1].replace("\n", marker) + text[-1:]
        return search(text) is not None

    return find


class _Writer:
    """One pattern, read by Python's own reader and written down for RE2."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        #: It asks where lines begin or end; it asks where the whole text ends.
        self.by_lines = self.by_text = False

    def write(self) -> str:
        from re import _parser  # type: ignore[attr-defined]  # the only reader that means what re means

        try:
            tree = _parser.parse(self.pattern)
            written = self._sequence(tree, tree.state.flags)
        except re.error as error:
            at = -1 if error.pos is None else error.pos
            raise CannotMatch(str(error.msg), at) from error
        except (OverflowError, RecursionError) as error:
            raise CannotMatch("is nested too deeply, or repeats too much") from error
        if self.by_lines and self.by_text:
            raise CannotMatch(
                "asks for the end of a line in one part ((?m)) and for the end of the text in another",
                self.pattern.find("$"),
                "write \\Z for the end of the text",
            )
        return written

    def _sequence(self, items: Any, flags: int) -> str:
        return "".join(self._item(str(op), value, flags) for op, value in items)

    def _item(self, op: str, value: Any, flags: int) -> str:
        if op in _CANNOT:
            raise self._refuse(op)
        if op in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(value, flags)
        if op == "SUBPATTERN":
            _, added, removed, inner = value
            return f"(?:{self._sequence(inner, (flags | added) & ~removed)})"
        if op == "BRANCH":
            return "(?:" + "|".join(self._sequence(each, flags) for each in value[1]) + ")"
        if op == "AT":
            return self._place(str(value), flags)
        return self._characters(op, value, flags).written()

    def _repeat(self, value: Any, flags: int) -> str:
        low, high, inner = value
        # More is refused by RE2 anyhow; its words for it would be about a pattern that nobody wrote.
        unlimited = str(high) == "MAXREPEAT"
        if low > 1000 or (not unlimited and high > 1000):
            raise CannotMatch("repeats more than 1000 times", hint="write * or + for many")
        times = f"{{{low},{'' if unlimited else high}}}"
        return f"(?:{self._sequence(inner, flags)}){times}"

    def _place(self, name: str, flags: int) -> str:
        if name in ("AT_BEGINNING", "AT_END") and flags & re.MULTILINE:
            self.by_lines = True
            return "(?m:^)" if name == "AT_BEGINNING" else "(?m:$)"
        self.by_text = self.by_text or name == "AT_END"
        return {
            "AT_BEGINNING": "\\A",
            "AT_BEGINNING_STRING": "\\A",
            "AT_END": "(?m:$)",
            "AT_END_STRING": "\\z",
            "AT_BOUNDARY": "\\b",
            "AT_NON_BOUNDARY": "\\B",
        }[name]

    def _characters(self, op: str, value: Any, flags: int) -> Characters:
        if op == "ANY":
            taken = Characters(frozenset() if flags & re.DOTALL else frozenset({10}))
            return taken.inverse()
        if op in ("LITERAL", "NOT_LITERAL"):
            found = _one(value, value, flags)
            return found.inverse() if op == "NOT_LITERAL" else found
        if op == "IN":
            return _set(value, flags)
        if op == "FAILURE":
            return Characters(frozenset())
        raise CannotMatch(f"has a part that is not known here ({op.lower()})")  # a newer Python

    def _refuse(self, op: str) -> CannotMatch:
        said = _CANNOT[op]
        at = next((m.start() for m in _WRITTEN.finditer(self.pattern) if m["found"]), -1)
        return CannotMatch(
            f"{said}, which takes an engine that goes back", at, _INSTEAD[said.partition(" ")[0]]
        )


def _set(items: Any, flags: int) -> Characters:
    low: set[int] = set()
    high: list[tuple[int, int]] = []
    negated = False
    for op, value in items:
        if str(op) == "NEGATE":
            negated = True
            continue
        for each in _members(str(op), value, flags):
            low |= each.low
            high += each.high
    found = Characters(frozenset(low), tuple(sorted(high)))
    return found.inverse() if negated else found


def _members(op: str, value: Any, flags: int) -> Iterator[Characters]:
    if op == "CATEGORY":
        name = str(value)
        plain = Characters(_ASCII[name.replace("_NOT", "")])
        yield plain.inverse() if "_NOT" in name else plain
    elif op == "RANGE":
        yield _one(value[0], value[1], flags)
    else:
        yield _one(value, value, flags)


def _one(first: int, last: int, flags: int) -> Characters:
    """Return the characters of a range; without regard to case where that is wanted."""
    low = set(range(first, min(last + 1, _HIGH)))
    high = [(max(first, _HIGH), last)] if last >= _HIGH else []
    if flags & re.IGNORECASE:
        low |= {ord(c) for each in low for c in (chr(each).lower(), chr(each).upper())}
        if first == last >= _HIGH:
            other = [c for c in (chr(first).lower(), chr(first).upper()) if len(c) == 1 and ord(c) >= _HIGH]
            high += [(ord(c), ord(c)) for c in other]
    return Characters(frozenset(low), tuple(high))
