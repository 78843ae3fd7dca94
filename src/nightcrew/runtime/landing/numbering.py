"""The number of a promotion: it stands in the commits that are prepared, so it is taken first, and given back when nothing came of it.

A number that the journal, a file or a transcript names is never used again. What was refused under it is told by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nightcrew.model.errors import NotFound
from nightcrew.model.ids import PROMOTION
from nightcrew.runtime.trees.guarding import REFUSED, Guard, note_refusal

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

_NONE: Final = "M-0"


@dataclass(slots=True)
class Number:
    """The id of a promotion or undo that is prepared.

    Attributes:
        id: ``M-31``; ``M-0`` of a dry run, which takes none.
        kept: something names it: it is not given back.
    """

    id: str
    kept: bool = False

    def keep(self) -> None:
        """Something is about to name it."""
        self.kept = True

    def note(self, parts: Parts, guard: Guard) -> None:
        """Record what stands against it for good; nothing of a dry run, or when nothing does."""
        if self.id != _NONE and note_refusal(parts, guard, self.id):
            self.keep()

    def refuse(self, parts: Parts, run: str, reason: str) -> None:
        """Record why nothing landed."""
        data = {"promotion": self.id, "secrets": [], "handoff": [], "planted": [], "reason": reason}
        self.keep()
        with parts.journal.write() as tx:
            tx.append(REFUSED, run=run, actor=f"user:{parts.env.user}", data=data)


@contextmanager
def take_number(parts: Parts, *, dry_run: bool) -> Iterator[Number]:
    """Take the next number for as long as something is prepared under it.

    One process's number is given back only while no other took one after it: what is left then is a gap, never two of a kind.
    """
    if dry_run:
        yield Number(_NONE)
        return
    with parts.journal.write() as tx:
        number = Number(tx.next_id(PROMOTION))
    try:
        yield number
    finally:
        if not number.kept:
            with parts.journal.write() as tx:
                tx.give_back(number.id)


def explain_missing(tx: Reader, text: str, error: NotFound) -> NotFound:
    """Return what to say of a promotion that is not there: where it was refused, that it was, and why."""
    name = f"{PROMOTION}-{text.strip().upper().removeprefix(f'{PROMOTION}-')}"
    for event in reversed(tx.events(kinds=(REFUSED,))):
        if event.data.get("promotion") == name:
            why = _describe(event.data)
            return NotFound(
                f"{name} never landed: it was refused ({why}); there is nothing of it to show or to take back",
                code="promotion.refused",
                hint=f"nightcrew log {event.run}" if event.run else "",
            )
    return error


def _describe(data: Mapping[str, object]) -> str:
    said = {
        "secrets": "a secret in it",
        "planted": "a planted credential in it",
        "handoff": "a path that may never land",
    }
    return str(data.get("reason") or "") or ", ".join(text for key, text in said.items() if data.get(key))
