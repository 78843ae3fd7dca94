"""Giving back the grants that an attempt used up, when what it did with them is thrown away. Only rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nightcrew.engine.course.starts import find_boundary, name_attempt
from nightcrew.model.isolation import Level
from nightcrew.model.records import ApprovalRecord, AttemptRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer


def give_back(tx: Writer, attempt: AttemptRecord) -> None:
    """Return the grants that were used for what is thrown away: nothing that was done with them has reached anything.

    What a lost or paused attempt did before the checkpoint that is gone on from stays, and with it the grants for that.
    A failed one is followed by one from the very start, so the grants of those it went on from return too.
    """
    goes_on = attempt.state in ("lost", "paused", "parked")
    last = find_boundary(tx, attempt) if goes_on else None
    chain = {attempt.id} if goes_on else _find_chain(tx, attempt)
    kinds = ("approval.used", "approval.returned")
    left: Counter[tuple[str, str]] = Counter()
    for event in tx.events(after=last.event if last else 0, task=attempt.task, kinds=kinds):
        if event.data.get("attempt") in chain:
            grant = (str(event.data["id"]), str(event.data["attempt"]))
            left[grant] += 1 if event.kind == "approval.used" else -1
    for (name, used_by), uses in left.items():
        approval = tx.need(ApprovalRecord, name)
        for _ in range(uses):
            if approval.state == "approved" and approval.uses >= 0:
                data = {"attempt": used_by}
                approval = tx.change(approval, "approval.returned", data=data, uses=approval.uses + 1)


def _find_chain(tx: Reader, attempt: AttemptRecord) -> set[str]:
    """Return an attempt with those that it went on from, one after the other."""
    names = {attempt.id}
    for number in range(attempt.number - 1, 0, -1):
        before = tx.get(AttemptRecord, name_attempt(attempt.task, number))
        if before is None or before.state not in ("parked", "paused", "lost"):
            break
        if before.progress["generation"] != attempt.progress["generation"]:
            break
        names.add(before.id)
    return names


def stayed_inside(tx: Reader, attempt: AttemptRecord) -> bool:
    """Tell whether all that an attempt could do is gone with its shadow: it was confined, and used no network."""
    confined = tx.need(RunRecord, attempt.run).isolation != Level.S0
    return confined and not attempt.progress.get("network")
