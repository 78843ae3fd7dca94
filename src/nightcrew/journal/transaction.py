"""What can be done inside one transaction: read records and events, add them, change them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from nightcrew.host.clock import Clock, stamp
from nightcrew.journal.appending import Pending, chain, open_end
from nightcrew.journal.binding import (
    BOUND,
    CHANGED,
    Compared,
    add_bound,
    check_row,
    digest_body,
    read_bound,
)
from nightcrew.journal.binding import check_columns as compare_columns
from nightcrew.journal.chain import Head, Verification, read_event, verify_chain
from nightcrew.journal.heads import STUB, SignedHead, digest_hashes
from nightcrew.journal.reader import Reader
from nightcrew.journal.resolve import CLASSES, not_found
from nightcrew.journal.rows import (
    NAMES,
    R,
    Redact,
    check_columns,
    check_fields,
    columns_of,
    decode_body,
    encode_body,
    encode_clean,
)
from nightcrew.journal.searching import Wanted, choose, of_kind, select_rows
from nightcrew.journal.tables import COUNTERS, EVENTS, HEADS, RECORDS, STRETCHES
from nightcrew.model import canonical, lifecycle
from nightcrew.model.errors import JournalDamaged, NotFound, StaleError
from nightcrew.model.events import Event
from nightcrew.model.records import Record

__all__ = ["Reader", "StoredReader", "Writer"]

_ROWS_AT_ONCE: Final = 1000


class StoredReader(Reader):
    """A reader of a database, inside one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def get(self, cls: type[R], record_id: str) -> R | None:
        """Return the record with exactly this id, or None."""
        table = RECORDS[cls]
        body = self.connection.execute(
            sa.select(table.c.body).where(table.c.id == record_id)
        ).scalar_one_or_none()
        return None if body is None else decode_body(cls, body)

    def find(self, cls: type[R], *, limit: int = 0, newest: bool = False, **equals: Any) -> list[R]:
        """Return records in counting order of their ids; see Reader."""
        check_fields(cls, equals)
        table = RECORDS[cls]
        wanted = {name: _as_choices(value) for name, value in equals.items()}
        rest = {name: choices for name, choices in wanted.items() if name not in table.c}
        query = sa.select(table.c.body).where(*(table.c[n].in_(wanted[n]) for n in wanted if n not in rest))
        query = query.order_by(table.c.sort.desc() if newest else table.c.sort)
        if limit and not rest:
            query = query.limit(limit)
        records = (decode_body(cls, row.body) for row in self.connection.execute(query))
        matching = (r for r in records if all(getattr(r, name) in choices for name, choices in rest.items()))
        return list(islice(matching, limit or None))

    def count(self, cls: type[R], field: str, **equals: str) -> dict[str, int]:
        """Return how many records there are of each value of a field; see Reader."""
        check_columns(cls, {field, *equals})
        columns = RECORDS[cls].c
        query = sa.select(columns[field], sa.func.count()).group_by(columns[field])
        rows = self.connection.execute(query.where(*(columns[n] == value for n, value in equals.items())))
        return {str(value): int(number) for value, number in rows}

    def events(
        self,
        after: int = 0,
        run: str = "",
        task: str = "",
        kinds: Sequence[str] = (),
        limit: int = 0,
        newest: bool = False,
    ) -> list[Event]:
        """Return events in the order they happened; see Reader."""
        columns = EVENTS.c
        query = sa.select(EVENTS).where(columns.seq > after)
        if task:
            query = query.where(columns.task == task)
        if kinds:
            query = query.where(sa.or_(*(of_kind(kind) for kind in kinds)))
        if limit:
            query = query.limit(limit)
        rows = select_rows(self.connection, query, run or None, newest=newest)
        return [read_event(row) for row in islice(rows, limit or None)]

    def last_seq(self) -> int:
        """Return the number of the last event, 0 when there is none.

        Raises:
            JournalDamaged: the counter is no number.
        """
        last = self._stored_last()
        if last < 0:
            raise JournalDamaged("the counter of events is no number", hint="nightcrew audit verify")
        return last

    def _stored_last(self) -> int:
        query = sa.select(COUNTERS.c.value).where(COUNTERS.c.name == "E")
        return _number(self.connection.execute(query).scalar_one_or_none())

    def verify(self, against: Sequence[SignedHead] = ()) -> Verification:
        """Check the chains as they are at this moment, and with heads that were kept elsewhere."""
        query = sa.select(EVENTS).order_by(EVENTS.c.seq).execution_options(yield_per=_ROWS_AT_ONCE)
        return verify_chain(
            self.connection.execute(query), self.heads(), self._stored_last(), against=against
        )

    def compare_rows(self, found: Verification) -> Compared:
        """Compare every row of a record with the events; see Reader."""
        left = dict(found.bound)
        bound = older = 0
        for cls, table in RECORDS.items():
            query = sa.select(table).order_by(table.c.sort).execution_options(yield_per=_ROWS_AT_ONCE)
            for row in self.connection.execute(query).mappings():
                told = left.pop(row["id"], None)
                known = row["id"] in found.named or row.get("run", row["id"]) in found.stubbed
                problem, seq = check_row(row["id"], row["body"], told, known=known)
                if not problem:
                    expected = columns_of(decode_body(cls, row["body"]), row["body"])
                    wrong = compare_columns(dict(row), expected)
                    problem = f"{wrong!r} of {row['id']} is not what its body says" if wrong else ""
                if problem:
                    return Compared(bound, older, problem, seq or (told or ("", 0))[1])
                bound, older = bound + (told is not None), older + (told is None)
        gone = min(((seq, name) for name, (digest, seq) in left.items() if digest), default=None)
        if gone:
            return Compared(bound, older, f"{gone[1]} is missing: E-{gone[0]} is its last event", gone[0])
        listed = {(row.run, row.stretch) for row in self.connection.execute(sa.select(STRETCHES))}
        hidden = min((seq for here, seq in found.stretches.items() if here not in listed), default=0)
        if hidden:
            return Compared(bound, older, f"E-{hidden} is not in the list that finds events by run", hidden)
        return Compared(bound, older)

    def heads(self) -> dict[str, Head]:
        """Return the stored ends of all chains."""
        return {row.chain: _head(row) for row in self.connection.execute(sa.select(HEADS))}

    def search(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for, oldest first, a thousand at a time."""
        chain = wanted.run or wanted.chain
        rows = select_rows(self.connection, choose(sa.select(EVENTS), wanted), chain, stream=True)
        found = (read_event(row) for row in rows)
        return islice((event for event in found if wanted.has_text(event)), wanted.limit or None)

    def _ids(self, kind: str, field: str, text: str, *, prefix: bool) -> list[str]:
        """Return up to 20 ids of one kind whose ``field`` is ``text``, or starts with it."""
        if kind == "E":
            number = text.removeprefix("E-")
            known = number.isdigit() and 0 < int(number) <= self.last_seq()
            return [f"E-{number}"] if known and not prefix and text.startswith("E-") else []
        table = RECORDS[CLASSES[kind]]
        column = table.c[field]
        matches = column.startswith(text, autoescape=True) if prefix else column == text
        query = sa.select(table.c.id).where(matches).order_by(table.c.sort).limit(20)
        return list(self.connection.execute(query).scalars())


class Writer(StoredReader):
    """A reader that also writes. Events are kept aside and written together when the transaction ends."""

    def __init__(self, connection: sa.Connection, clock: Clock, redact: Redact) -> None:
        super().__init__(connection)
        self._clock = clock
        self._redact = redact
        self._end_of = open_end(connection)
        self._seq = self._end_of.read_last()
        self._at = ""
        self._ends: dict[str, Head] = {}
        self._pending: list[Pending] = []
        # Chain → record → digest of what this transaction has made of it.
        self._bound: dict[str, dict[str, str]] = {}

    def next_id(self, kind: str) -> str:
        """Return the next unused id of a kind: ``R`` → ``R-1``, ``R-2`` and so on, per database.

        Raises:
            KeyError: ``kind`` is not one of R, C, A, M.
        """
        if kind not in ("R", "C", "A", "M"):
            raise KeyError(kind)
        counter = sa.update(COUNTERS).where(COUNTERS.c.name == kind).values(value=COUNTERS.c.value + 1)
        value = self.connection.execute(counter.returning(COUNTERS.c.value)).scalar_one()
        return f"{kind}-{value}"

    def give_back(self, name: str) -> bool:
        """Make the last id of a kind unused again; whoever took it left no trace of it. Tell whether it was the last."""
        kind, _, number = name.partition("-")
        last = (COUNTERS.c.name == kind) & (COUNTERS.c.value == int(number))
        counter = sa.update(COUNTERS).where(last).values(value=COUNTERS.c.value - 1)
        return self.connection.execute(counter.returning(COUNTERS.c.value)).first() is not None

    def append(
        self,
        kind: str,
        *,
        run: str = "",
        task: str = "",
        attempt: str = "",
        actor: str = "engine",
        data: Mapping[str, Any] | None = None,
    ) -> int:
        """Record that something happened, and return the number of the event; strings in ``data`` are redacted first.

        Raises:
            TypeError: ``data`` holds what JSON cannot.
            ValueError: there is no kind, or ``data`` has the key that binds records.
        """
        if not kind or (data and BOUND in data):
            raise ValueError(f"an event needs a kind, and {BOUND!r} is no key for its data")
        body = encode_clean(data, self._redact) if data else "{}"
        # One transaction is one act: all its events have the time of the first.
        at = self._at or self._read_clock()
        self._seq = seq = self._seq + 1
        self._pending.append((seq, at, kind, run, task, attempt, actor, body))
        return seq

    def add(
        self, record: R, kind: str, /, *, actor: str = "engine", data: Mapping[str, Any] | None = None
    ) -> R:
        """Store a new record and the event that tells of it; return it as stored (redacted).

        Raises:
            StaleError: there is a record with this id already.
            ValueError: no event kind was given.
        """
        body = encode_body(record, self._redact)
        try:
            self.connection.execute(sa.insert(RECORDS[type(record)]), columns_of(record, body))
        except IntegrityError as error:
            raise StaleError(f"{record.id} exists already", code="record.exists") from error
        self._bind(record, body)
        self._tell(record, kind, actor, {"id": record.id, **_state(record), **(data or {})})
        return decode_body(type(record), body)

    def change(
        self,
        record: R,
        kind: str,
        /,
        *,
        actor: str = "engine",
        data: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> R:
        """Change fields of a record, if it still is what ``record`` says, and tell of it; return it as stored.

        Args:
            record: as it was read.
            kind: event kind; empty for none, allowed only when the state stays.
            changes: field = new value.

        Raises:
            StaleError: somebody changed it since it was read; nothing was changed.
            lifecycle.IllegalMove: its state machine has no such move.
            NotFound: there is no such record.
        """
        new = replace(record, **changes)
        moved = _check_move(record, new)
        if moved and not kind:
            raise ValueError(f"{record.id}: a change of state needs an event")
        table = RECORDS[type(record)]
        body = encode_body(new, self._redact)
        stored = self.connection.execute(
            sa.select(table.c.body).where(table.c.id == record.id)
        ).scalar_one_or_none()
        # Compared as records, not as text: what an older version wrote lacks the fields that came later.
        # As it was read it is redacted already; as its caller made it, it may not be.
        known = (record, decode_body(type(record), encode_body(record, self._redact)))
        if stored is None or decode_body(type(record), stored) not in known:
            raise self._why_not(record)
        # Nobody else can have come between: a writer is alone from its first moment.
        self.connection.execute(sa.update(table).where(table.c.id == record.id).values(columns_of(new, body)))
        self._bind(new, body)
        if kind:
            self._tell(new, kind, actor, {"id": record.id, **moved, **(data or {})})
        return decode_body(type(record), body)

    def remove(
        self, record: Record, kind: str, /, *, actor: str = "engine", data: Mapping[str, Any] | None = None
    ) -> None:
        """Take a record out of its table, and tell of it; what its events say of it stays.

        Raises:
            NotFound: there is no such record.
        """
        table = RECORDS[type(record)]
        done = self.connection.execute(sa.delete(table).where(table.c.id == record.id))
        if not done.rowcount:
            raise not_found(NAMES[type(record)], record.id)
        self._bind(record, None)
        self._tell(record, kind, actor, {"id": record.id, **(data or {})})

    def last_seq(self) -> int:
        """Return the number of the last event, those of this transaction included."""
        if self._bound:
            self.flush()
        return self._seq

    def events(self, *args: Any, **kwargs: Any) -> list[Event]:
        """Return events, those of this transaction included; see Reader."""
        self.flush()
        return super().events(*args, **kwargs)

    def verify(self, against: Sequence[SignedHead] = ()) -> Verification:
        """Check the chains, with the events of this transaction."""
        self.flush()
        return super().verify(against)

    def heads(self) -> dict[str, Head]:
        """Return the ends of all chains, with the events of this transaction."""
        self.flush()
        return super().heads()

    def empty(self, run: str) -> tuple[int, str]:
        """Take everything out of the events of a run but what holds the chain together: numbers and hashes.

        Whoever calls this tells of it in the same transaction (``journal.pruned``, then a signed head).

        Returns:
            how many events are empty now, and one value for their hashes.
        """
        self.flush()
        chain_rows = select_rows(self.connection, sa.select(EVENTS.c.data), run)
        kept = self._bound.setdefault("", {})
        for row in chain_rows:
            kept |= read_bound(row.data)
        blank = dict.fromkeys(("at", "task", "attempt", "actor"), "")
        self.connection.execute(
            sa.update(EVENTS).where(EVENTS.c.run == run).values(kind=STUB, data="{}", **blank)
        )
        query = sa.select(EVENTS.c.hash).where(EVENTS.c.run == run).order_by(EVENTS.c.seq)
        hashes = list(self.connection.execute(query).scalars())
        return len(hashes), digest_hashes(hashes)

    def flush(self) -> None:
        """Write the events kept aside, with the ends of their chains, into the transaction."""
        if self._bound:
            self._carry_bound()
        if not self._pending:
            return
        events, ends = chain(self._pending, self._read_end)
        self._end_of.write(events, ends, self._seq)
        self._ends |= ends
        self._pending.clear()

    def _bind(self, record: Record, body: str | None) -> None:
        """Note what has become of a record; ``flush`` puts it into the last event of the record's chain."""
        run = record.id if NAMES[type(record)] == "run" else str(getattr(record, "run", ""))
        self._bound.setdefault(run, {})[record.id] = "" if body is None else digest_body(body)

    def _carry_bound(self) -> None:
        bound, self._bound = self._bound, {}
        last = {each[3]: at for at, each in enumerate(self._pending)}
        for run, digests in bound.items():
            if not digests:
                continue
            if run not in last:
                self.append(CHANGED, run=run)
                last[run] = len(self._pending) - 1
            at = last[run]
            *fields, data = self._pending[at]
            self._pending[at] = (*fields, add_bound(data, digests))  # type: ignore[assignment]

    def _read_end(self, name: str) -> Head:
        return self._ends.get(name) or self._end_of.read_end(name)

    def _read_clock(self) -> str:
        self._at = stamp(self._clock.now())
        return self._at

    def _tell(self, record: Record, kind: str, actor: str, data: Mapping[str, Any]) -> None:
        own = NAMES[type(record)]
        place = {
            name: record.id if name == own else str(getattr(record, name, ""))
            for name in ("run", "task", "attempt")
        }
        self.append(kind, actor=actor, data=data, **place)

    def _why_not(self, record: Record) -> StaleError | NotFound:
        now = self.get(type(record), record.id)
        if now is None:
            return not_found(NAMES[type(record)], record.id)
        before, after = canonical.to_plain(record), canonical.to_plain(now)
        where = [f"{key}: {before[key]!r} → {after[key]!r}" for key in before if before[key] != after[key]]
        return StaleError(
            f"{record.id} has changed since it was read",
            code="record.changed",
            where=where,
            hint="look at it again",
        )


def _head(row: Any) -> Head:
    return Head(_number(row.length), _number(row.seq), str(row.hash))


def _number(value: Any) -> int:
    """Return a number as it was written; anything that somebody put in its place is -1, which nothing ever is."""
    return value if isinstance(value, int) else -1


def _as_choices(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list | set | frozenset) else [value]


def _state(record: Record) -> dict[str, str]:
    state = getattr(record, "state", None)
    return {} if state is None else {"state": state}


def _check_move(old: Record, new: Record) -> dict[str, str]:
    """Return what to say of a move from one state to another; nothing when the state stays."""
    before, after = _state(old).get("state", ""), _state(new).get("state", "")
    if before == after:
        return {}
    lifecycle.check_move(NAMES[type(old)], old.id, before, after)
    return {"from": before, "to": after}
