"""The chain of events: every event carries the hash of the one before it in its run.

What is checked, and what it shows: numbers without a gap (a deletion), each event's own hash (an edit), the link to
the one before (a reordering, a second writer), and count and last hash of every chain beside the events (a cut tail).
Whoever rewrites events, heads and counters together is noticed by the heads that were signed before: those in the journal
(``journal.signed``), and those that somebody keeps elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from nightcrew.host.signing import is_signed
from nightcrew.journal import heads as signing
from nightcrew.journal.binding import read_bound, read_subject
from nightcrew.journal.heads import PRUNED, SIGNED, STUB, SignedHead, read_signed
from nightcrew.model.events import GENESIS, Event, hash_text, make_frame, write_text

STRETCH: Final = 8
"""Bits of an event's number that say where in its stretch it stands: a stretch is 256 numbers."""

#: Given a public key, a signature and a message: whether they belong together.
Check = Callable[[str, str, bytes], bool]


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
        head: root over the ends of all chains; note it down to notice a rewritten journal.
        signed: signed heads in the journal, and of those it was compared with, that match.
        emptied: events of which only the hashes are left, because a signed act of retention emptied them.
        keys: public keys that signed, in the order of their first use.
        against: number of the last event of each head that it was compared with.
        bound: record → the last digest of its body in an event, and the number of that event.
        named: records that an event is about. stubbed: runs whose events were emptied.
        stretches: run and stretch of events → the first of them.
    """

    ok: bool
    events: int
    chains: int
    first_bad: int = 0
    problem: str = ""
    head: str = ""
    signed: int = 0
    emptied: int = 0
    keys: tuple[str, ...] = ()
    against: tuple[int, ...] = ()
    bound: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    named: Collection[str] = ()
    stubbed: Collection[str] = ()
    stretches: Mapping[tuple[str, int], int] = field(default_factory=dict)


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


def verify_chain(
    rows: Iterable[EventRow | Any],
    heads: Mapping[str, Head],
    last_seq: int,
    *,
    against: Sequence[SignedHead] = (),
    check: Check = is_signed,
) -> Verification:
    """Check all events, given in the order of their numbers, against each other and against the stored ends.

    Args:
        rows: rows of the events table.
        heads: chain (run id, empty for the installation) → its stored end.
        last_seq: the stored number of the last event.
        against: signed heads that were kept elsewhere; their signatures are checked by whoever read them.
        check: how signatures inside the journal are checked.
    """
    walk = _Walk(check, sorted(against, key=lambda each: each.statement.seq))
    problem = walk.compare()  # a head can be older than the first event
    for row in rows:
        problem = problem or walk.step(row, last_seq)
        if problem:
            return walk.result(walk.bad or walk.seq + 1, problem)
    bad, problem = walk.compare_ends(heads, last_seq)
    return walk.result(bad, problem)


@dataclass
class _Walk:
    check: Check
    against: Sequence[SignedHead]
    seq: int = 0
    bad: int = 0
    compared: int = 0
    signed: int = 0
    unsigned: int = 0
    ends: dict[str, Head] = field(default_factory=dict)
    keys: dict[str, None] = field(default_factory=dict)
    stubs: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    bound: dict[str, tuple[str, int]] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    stretches: dict[tuple[str, int], int] = field(default_factory=dict)

    def step(self, row: EventRow | Any, last_seq: int) -> str:
        """Take in the next row; return what is wrong with it, or nothing."""
        expected = self.seq + 1
        if row.seq != expected:
            return f"E-{expected} is missing"
        if expected > last_seq:
            return f"E-{expected} was not written by nightcrew: its counter stands at {last_seq}"
        problem = _check_stub(row) if row.kind == STUB else _check_row(row)
        if problem:
            return problem
        end = self.ends.get(row.run, Head())
        if row.prev != end.hash:
            after = f"E-{end.seq}" if end.count else "the start of its chain"
            return f"E-{expected} does not follow {after}"
        if row.kind == STUB:
            self.stubs.setdefault(row.run, []).append((expected, row.hash))
        problem = self._read_proof(row) if not row.run and row.kind in (SIGNED, PRUNED) else ""
        if problem:
            return problem
        self.bound |= {name: (digest, expected) for name, digest in read_bound(row.data).items()}
        self.named.add(read_subject(row.data))
        self.stretches.setdefault((row.run, expected >> STRETCH), expected)
        self.seq = expected
        self.ends[row.run] = Head(end.count + 1, expected, row.hash)
        return self.compare()

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
        if self.compared < len(self.against):
            known = self.against[-1].statement.seq
            return self.seq + 1, f"the end is cut off: a signed head knows E-{self.seq + 1} to E-{known}"
        return self._find_untold()

    def result(self, bad: int, problem: str) -> Verification:
        return Verification(
            ok=not problem,
            events=self.seq,
            chains=len(self.ends),
            first_bad=bad,
            problem=problem,
            head="" if problem else signing.compute_root(signing.ends_of(self.ends)),
            signed=self.signed,
            emptied=sum(map(len, self.stubs.values())),
            keys=tuple(self.keys),
            against=tuple(each.statement.seq for each in self.against),
            bound=self.bound,
            named=self.named,
            stubbed=self.stubs.keys(),
            stretches=self.stretches,
        )

    def _find_untold(self) -> tuple[int, str]:
        """Return the first event that was emptied without a signed act that tells of it."""
        if self.unsigned:
            return self.unsigned, f"E-{self.unsigned} empties events and is not covered by a signature"
        untold = [
            found[self.told.get(chain, 0)][0]
            for chain, found in self.stubs.items()
            if len(found) > self.told.get(chain, 0)
        ]
        if untold:
            return min(untold), f"E-{min(untold)} was emptied, and no signed act of nightcrew tells of it"
        return 0, ""

    def _read_proof(self, row: EventRow | Any) -> str:
        data = json.loads(row.data)
        if row.kind == SIGNED:
            return self._check_signed(row.seq, data)
        self.unsigned = self.unsigned or row.seq
        for chain, said in data.get("runs", {}).items():
            found = self.stubs.get(chain, [])
            if said.get("digest") != signing.digest_hashes([each for _, each in found]):
                self.bad = found[0][0] if found else row.seq
                return f"E-{row.seq} tells of other events of {chain} than those that were emptied"
            self.told[chain] = len(found)
        return ""

    def _check_signed(self, seq: int, data: Any) -> str:
        try:
            head = read_signed(data)
        except ValueError:
            return f"E-{seq} holds no signed head that can be read"
        said = head.statement
        if not self.check(head.key, head.signature, said.message):
            return f"E-{seq} holds a head whose signature is wrong"
        if (said.seq, said.root) != (self.seq, signing.compute_root(signing.ends_of(self.ends))):
            return f"E-{seq} holds a signed head of other events than those before it"
        self.signed += 1
        self.unsigned = 0
        self.keys[head.key] = None
        return ""

    def compare(self) -> str:
        """Compare with the heads that were kept elsewhere and end here."""
        while self.compared < len(self.against) and self.against[self.compared].statement.seq == self.seq:
            head = self.against[self.compared]
            mine = signing.ends_of(self.ends)
            if head.statement.root != signing.compute_root(mine):
                other = [end for end in head.ends if end not in mine]
                self.bad = min((end[2] for end in other), default=self.seq)
                which = (
                    f"E-{self.bad} is not the event that was signed" if other else "other events were signed"
                )
                return (
                    f"{which}: the journal was rewritten up to there after the head of E-{self.seq} was made"
                )
            self.compared += 1
            self.signed += 1
        return ""


def _check_row(row: EventRow | Any) -> str:
    try:
        json.loads(row.data)
        frame = make_frame(row.kind, row.run, row.task, row.attempt, row.actor)
        text = write_text(frame, row.at, row.data, row.prev, row.seq)
    except (ValueError, TypeError, AttributeError):
        return f"E-{row.seq} cannot be read"
    if not row.data.isascii() or hash_text(text) != row.hash:
        return f"E-{row.seq} was changed after it was written"
    return ""


def _check_stub(row: EventRow | Any) -> str:
    blank = (row.at, row.task, row.attempt, row.actor, row.data) == ("", "", "", "", "{}")
    return "" if blank and row.run else f"E-{row.seq} was changed after it was written"
