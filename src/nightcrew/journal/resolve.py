"""Turning what a person types into the full id of something that exists.

Accepted, in this order: a full id in any case (``r-7/t04``); a task's short form when its run is known or there is
only one task of that name (``T04``, ``4``, ``2.1``, ``R-7/4``); a bare number where only one kind is asked for
(``approve 3``); a prefix that only one id has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from nightcrew.model import ids
from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.records import (
    ApprovalRecord,
    CheckpointRecord,
    PromotionRecord,
    Record,
    RunRecord,
    TaskRecord,
)

CLASSES: Final[Mapping[str, type[Record]]] = {
    "R": RunRecord,
    "T": TaskRecord,
    "C": CheckpointRecord,
    "A": ApprovalRecord,
    "M": PromotionRecord,
}

_WORDS: Final = {"R": "run", "T": "task", "C": "checkpoint", "A": "approval", "M": "promotion", "E": "event"}

_SEE: Final = {
    "run": "nightcrew ps -a",
    "task": "nightcrew ps -a",
    "checkpoint": "nightcrew ps -a, then: nightcrew checkpoint list R-..",
    "approval": "nightcrew inbox",
    "promotion": "nightcrew ps -a, then: nightcrew log R-..",
    "event": "nightcrew events",
}

_ALLOWED = re.compile(r"[A-Z0-9./-]{1,80}")
_SHORT_TASK = re.compile(r"T?([0-9]+(?:\.[0-9]+){0,2})")
_RUN_AND_TASK = re.compile(r"(R-[0-9]+)/(?:T?([0-9]+(?:\.[0-9]+){0,2}))")


class Lookup(Protocol):
    """How ids are found."""

    def __call__(self, kind: str, field: str, text: str, *, prefix: bool) -> list[str]:
        """Return ids of one kind whose ``field`` is ``text``, or starts with it, in counting order."""


def not_found(word: str, text: str) -> NotFound:
    """Return the error for an id that nothing has."""
    hint = _SEE.get(word, "")
    return NotFound(
        f"no {word} {text}", code=f"{word}.missing", hint=f"see what there is: {hint}" if hint else ""
    )


def resolve_id(text: str, kinds: str, run: str, lookup: Lookup) -> str:
    """Return the full id that ``text`` stands for.

    Args:
        text: what was typed.
        kinds: letters of the kinds that are meant here, out of ``RTCAME``.
        run: full id of the run in question, or empty.
        lookup: finds ids.

    Raises:
        NotFound: nothing has that id.
        UsageError: several have, or ``text`` cannot be an id.
    """
    typed = text.strip().upper()
    if not _ALLOWED.fullmatch(typed):
        raise UsageError(f"not an id: {text!r}", code="id.malformed", hint="ids look like R-7, R-7/T04, A-19")
    for candidates in _readings(typed, kinds, run, lookup):
        found = list(dict.fromkeys(candidates))
        if len(found) == 1:
            return found[0]
        if found:
            shown = ", ".join(found[:10]) + (" ..." if len(found) > 10 else "")
            raise UsageError(
                f"{text} could be {shown}", code="id.ambiguous", hint=f"type more of it: {found[0]}"
            )
    if len(kinds) < 3:
        raise not_found(" or ".join(_WORDS[kind] for kind in kinds), text)
    raise NotFound(f"nothing has the id {text}", code="id.missing", hint="see what there is: nightcrew ps -a")


def _readings(typed: str, kinds: str, run: str, lookup: Lookup) -> Iterator[list[str]]:
    """Yield what the text may mean, from the most exact reading to the vaguest; the first non-empty one counts."""
    yield [i for kind in kinds for i in lookup(kind, "id", typed, prefix=False)]
    if "T" in kinds:
        yield _task_short_forms(typed, run, lookup)
    if len(kinds) == 1 and typed.isdigit():
        yield lookup(kinds, "id", f"{kinds}-{int(typed)}", prefix=False)
    # A run before its tasks, whose ids all start with it.
    for kind in kinds:
        yield lookup(kind, "id", typed, prefix=True)
    if "T" in kinds and run:
        yield lookup("T", "id", ids.join_task(run, typed), prefix=True)


def _task_short_forms(typed: str, run: str, lookup: Lookup) -> list[str]:
    both = _RUN_AND_TASK.fullmatch(typed)
    if both:
        return lookup("T", "id", ids.join_task(both.group(1), ids.name_task(both.group(2))), prefix=False)
    short = _SHORT_TASK.fullmatch(typed)
    if short is None:
        return []
    name = ids.name_task(short.group(1))
    if run:
        return lookup("T", "id", ids.join_task(run, name), prefix=False)
    return lookup("T", "name", name, prefix=False)
