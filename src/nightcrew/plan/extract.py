"""Find the one JSON object in what a model said: in prose, in a fenced block, with a comma too many. Pure.

Only what cannot change the meaning is mended: a byte order mark, commas before a closing bracket. What was cut off, says a
key twice, or holds what no text can hold is refused with words that a model can act on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

#: Longest answer that is looked at; a plan of 100 tasks is a tenth of it.
MAX_CHARACTERS: Final = 1 << 20
#: Characters that are looked at in search of objects in prose; one that never ends is looked at anew from each bracket.
_LOOKED_AT: Final = 4 << 20
_FENCED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[ \t]*(?:json|JSON)?[ \t]*\n(.*?)^[ \t]*\1", re.DOTALL | re.MULTILINE
)
_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=[ \t\r\n]*[}\]])', re.DOTALL)


class NoAnswer(Exception):
    """There is no such object; the text says what is wrong, for the model that shall mend it."""


def extract(text: str, key: str) -> Mapping[str, Any]:
    """Return the object of an answer that has ``key``; of several the last one, which is what a model ends with.

    Raises:
        NoAnswer: there is none, or it cannot be read for certain.
    """
    if len(text) > MAX_CHARACTERS:
        raise NoAnswer(f"the answer is longer than {MAX_CHARACTERS} characters")
    if not text.strip():
        raise NoAnswer("the answer is empty; answer with one JSON object")
    problem = ""
    for candidate in _candidates(text.lstrip("\ufeff")):
        try:
            found = _read(candidate)
        except NoAnswer as error:
            problem = problem or str(error)
            continue
        if key in found:
            _check_text(found)
            return found
        problem = problem or f"the object has no key {key!r}"
    raise NoAnswer(
        problem or "there is no JSON object in the answer; answer with one JSON object and nothing else"
    )


def _candidates(text: str) -> Iterator[str]:
    """Yield what may be the object, likeliest first: all of it, fenced blocks, objects in prose; later ones first."""
    whole = text.strip()
    if whole.startswith("{"):
        yield whole
    for found in reversed(list(_FENCED.finditer(text))):
        if found.group(2).strip().startswith("{"):
            yield found.group(2).strip()
    yield from reversed(list(_objects(text)))


def _objects(text: str) -> Iterator[str]:
    """Yield outermost ``{...}``, with what stands in strings left alone."""
    position, left = 0, _LOOKED_AT
    while left > 0 and (start := text.find("{", position)) >= 0:
        end = _find_end(text, start)
        left -= (end if end >= 0 else len(text)) - start
        if end < 0:
            position = start + 1
            continue
        yield text[start : end + 1]
        position = end + 1


def _find_end(text: str, start: int) -> int:
    depth, inside, position = 0, False, start
    while position < len(text):
        character = text[position]
        if inside and character == "\\":
            position += 1
        elif character == '"':
            inside = not inside
        elif not inside and character in "{[":
            depth += 1
        elif not inside and character in "}]":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1


def _read(text: str) -> dict[str, Any]:
    problem = ""
    for attempt in (text, _drop_commas(text)):
        try:
            found = json.loads(attempt, object_pairs_hook=_keep_once, parse_constant=_refuse_constant)
        except RecursionError:
            raise NoAnswer("the JSON is nested too deep") from None
        except ValueError as error:
            problem = str(error)
            continue
        if isinstance(found, dict):
            return found
        problem = "it is no object"
    raise NoAnswer(f"the JSON cannot be read: {problem}")


def _drop_commas(text: str) -> str:
    """Return the text without commas that stand before a closing bracket, outside of strings."""
    return _STRING_OR_COMMA.sub(lambda found: found.group(1) or "", text)


def _keep_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NoAnswer("a key stands twice in one object")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NoAnswer(f"{name} is no JSON")


def _check_text(found: Mapping[str, Any]) -> None:
    try:
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise NoAnswer("a text holds half a character (a lone surrogate)") from None
