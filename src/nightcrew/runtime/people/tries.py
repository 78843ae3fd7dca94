"""Wrong proofs and the lock after them, held against the journal too: an older auth.yaml put back gives nobody new guesses.

A try is counted as a wrong one before it is looked at: as ``auth.tried`` in the journal, then in auth.yaml, under the lock of
that file. What takes it back is a right proof, or a change that makes the person anew. Of both memories the stricter counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate import factors
from nightcrew.host import crash
from nightcrew.host.clock import parse_stamp
from nightcrew.model.people import Person
from nightcrew.runtime.people.authfile import Keeper

if TYPE_CHECKING:
    from nightcrew.model.events import Event
    from nightcrew.runtime.parts import Parts

TRIED: Final = "auth.tried"
PROVED: Final = "auth.proved"
_ANEW: Final = ("auth.totp_set", "auth.person_added", "auth.person_removed", "auth.reset")
"""What else ends a row of wrong proofs; ``auth.reset`` names nobody and is about everybody."""


def count_try(parts: Parts, keeper: Keeper, person: Person, method: str, what: str) -> tuple[Person, Person]:
    """Count a try as a wrong one, on both sides, before it is looked at; return the person before and after.

    Raises:
        LimitReached: they are locked out.
    """
    before = recall(parts, person)
    factors.refuse_locked(before, parts.clock.now())
    known = {"failures": before.failures, "lockouts": before.lockouts}
    append(parts, TRIED, person=before.name, method=method, what=what, **known)
    after = keeper.put(factors.begin(before, parts.clock.now()))
    crash.point("runtime.factor.counted")
    return before, after


def recall(parts: Parts, person: Person) -> Person:
    """Return the person as the journal knows them where that is stricter: wrong tries, locks, and codes that are used up."""
    with parts.journal.read() as tx:
        events = tx.events(kinds=(TRIED, PROVED, *_ANEW))
    mine = [each for each in events if each.data.get("person", person.name) == person.name]
    return _use_up(_hold_tries(person, mine), mine)


def append(parts: Parts, kind: str, **data: Any) -> None:
    """Record what whoever asks has done."""
    with parts.journal.write() as tx:
        tx.append(kind, actor=f"user:{parts.env.user}", data=data)


def _hold_tries(person: Person, events: Iterable[Event]) -> Person:
    counted = Person(person.name)
    for event in events:
        if event.kind != TRIED:
            counted = factors.passed(counted)
            continue
        # What only the file knew then (tries under another journal) is remembered with the try.
        counted = replace(
            counted,
            failures=max(counted.failures, int(event.data.get("failures", 0))),
            lockouts=max(counted.lockouts, int(event.data.get("lockouts", 0))),
        )
        counted = factors.begin(counted, parse_stamp(event.at))
    return replace(
        person,
        failures=max(person.failures, counted.failures),
        locked_until=max(person.locked_until, counted.locked_until),
        lockouts=max(person.lockouts, counted.lockouts),
    )


def _use_up(person: Person, events: Iterable[Event]) -> Person:
    mine = [each.data for each in events if each.kind in (PROVED, "auth.totp_set")]
    spent = {each["code"] for each in mine if "code" in each}
    person = replace(person, backup=tuple(each for each in person.backup if each not in spent))
    step = max((int(each["step"]) for each in mine if "step" in each), default=0)
    if person.totp is None or step <= person.totp.last_step:
        return person
    return factors.spend_step(person, step)
