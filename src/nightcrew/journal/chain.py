"""The chain of events: every event carries the hash of the one before it in its run.

What is checked, and what it shows: numbers without a gap (a deletion), each event's own hash (an edit), the link to
the one before (a reordering, a second writer), and count and last hash of every chain beside the events (a cut tail).
What it cannot show: somebody who rewrites events, heads and counters together. ``head`` is one value over all chains;
who notes it down elsewhere notices that too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from nightcrew.model import canonical
from nightcrew.model.events import GENESIS, Event, compute_hash


@dataclass(frozen=True, slots=True)
class Head:
    """The end of one chain: how many events it has, the number and the hash of the last."""

    count: int = 0
    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Verification:
    """What checking the journal found.

    Attributes:
        ok: everything verifies.
        events: events that were checked (up to the first bad one).
        chains: runs with events, and one for the installation if it has any.
        first_bad: number of the first event that is missing or wrong, 0 when all is well.
        problem: in words, empty when all is well.
        head: digest over the ends of all chains; note it down to notice a rewritten journal.
    """

    ok: bool
    events: int
    chains: int
    first_bad: int = 0
    problem: str = ""
    head: str = ""


class EventRow(Protocol):
    """A row of the events table."""

    seq: int
    at: str
    kind: str
    run: str
    task: str
    attempt: str
    actor: str
    data: str
    prev: str
    hash: str


def read_event(row: EventRow | Any) -> Event:
    """Return the event of a row.

    Raises:
        ValueError: its data is not JSON.
    """
    return Event(
        seq=row.seq,
        at=row.at,
        kind=row.kind,
        run=row.run,
        task=row.task,
        attempt=row.attempt,
        actor=row.actor,
        data=json.loads(row.data),
        prev=row.prev,
        hash=row.hash,
    )


def verify_chain(rows: Iterable[EventRow | Any], heads: Mapping[str, Head], last_seq: int) -> Verification:
    """Check all events, given in the order of their numbers, against each other and against the stored ends.

    Args:
        rows: rows of the events table.
        heads: chain (run id, empty for the installation) → its stored end.
        last_seq: the stored number of the last event.
    """
    walk = _Walk()
    for row in rows:
        problem = walk.step(row, last_seq)
        if problem:
            return walk.result(walk.seq + 1, problem)
    bad, problem = walk.compare_ends(heads, last_seq)
    return walk.result(bad, problem)


@dataclass
class _Walk:
    seq: int = 0
    ends: dict[str, Head] = field(default_factory=dict)

    def step(self, row: EventRow | Any, last_seq: int) -> str:
        """Take in the next row; return what is wrong with it, or nothing."""
        expected = self.seq + 1
        if row.seq != expected:
            return f"E-{expected} is missing"
        if expected > last_seq:
            return f"E-{expected} was not written by nightcrew: its counter stands at {last_seq}"
        problem = _check_row(row)
        if problem:
            return problem
        end = self.ends.get(row.run, Head())
        if row.prev != end.hash:
            after = f"E-{end.seq}" if end.count else "the start of its chain"
            return f"E-{expected} does not follow {after}"
        self.seq = expected
        self.ends[row.run] = Head(end.count + 1, expected, row.hash)
        return ""

    def compare_ends(self, heads: Mapping[str, Head], last_seq: int) -> tuple[int, str]:
        """Return the first event that the stored ends know and that is not here, or is another."""
        if self.seq < last_seq:
            return self.seq + 1, f"the end is cut off: E-{self.seq + 1} to E-{last_seq} are missing"
        wrong = [
            max(heads.get(chain, Head()).seq, self.ends.get(chain, Head()).seq)
            for chain in heads.keys() | self.ends.keys()
            if heads.get(chain) != self.ends.get(chain)
        ]
        if wrong:
            return min(wrong), f"E-{min(wrong)} is not the end that was recorded for its chain"
        return 0, ""

    def result(self, bad: int, problem: str) -> Verification:
        head = "" if problem else canonical.digest(self.ends)
        return Verification(not problem, self.seq, len(self.ends), bad, problem, head)


def _check_row(row: EventRow | Any) -> str:
    try:
        event = read_event(row)
    except (ValueError, TypeError):
        return f"E-{row.seq} cannot be read"
    if compute_hash(event) != row.hash or canonical.encode(event.data) != row.data:
        return f"E-{row.seq} was changed after it was written"
    return ""
