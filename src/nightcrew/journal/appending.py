"""Where events, ends of chains and the counter are read and written: the part of the journal that must be fast.

With SQLite it speaks to the driver that the transaction is open on: a statement costs 3 us there, 60 us through SQLAlchemy,
and an event costs several. Everything else, and every other database, goes the portable way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

import sqlalchemy as sa

from nightcrew.journal.chain import Head
from nightcrew.journal.tables import COUNTERS, EVENTS, HEADS
from nightcrew.model.errors import JournalDamaged
from nightcrew.model.events import Frame, make_frame

COLUMNS: Final = ("seq", "at", "kind", "run", "task", "attempt", "actor", "data", "prev", "hash")
"""Of an event, in the order in which a row has them."""

EventValues = tuple[int, str, str, str, str, str, str, str, str, str]
"""A row of the events table."""
Pending = tuple[int, str, str, str, str, str, str, str]
"""A row without its hashes."""

_INSERT: Final = f"INSERT INTO {EVENTS.name} ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_END: Final = f"SELECT length, seq, hash FROM {HEADS.name} WHERE chain = ?"  # noqa: S608
_SET_END: Final = (
    f"INSERT INTO {HEADS.name} (chain, length, seq, hash) VALUES (?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (chain) DO UPDATE SET length = excluded.length, seq = excluded.seq, hash = excluded.hash"
)
_LAST: Final = f"SELECT value FROM {COUNTERS.name} WHERE name = 'E'"  # noqa: S608
_SET_LAST: Final = f"UPDATE {COUNTERS.name} SET value = ? WHERE name = 'E'"  # noqa: S608


class Appending(Protocol):
    """The end of the journal, inside one writing transaction."""

    def read_last(self) -> int:
        """Return the number of the last event; from here on nobody else writes."""

    def read_end(self, chain: str) -> Head:
        """Return the end of a chain; of one without events the beginning."""

    def write(self, events: Sequence[EventValues], ends: Mapping[str, Head], last: int) -> None:
        """Write events, the ends of their chains, and the number of the last of them."""


def chain(
    pending: Sequence[Pending], read_end: Callable[[str], Head]
) -> tuple[list[EventValues], dict[str, Head]]:
    """Return the rows with their hashes, each event after the one before it in its run; and the new ends of these chains.

    Args:
        pending: in the order of their numbers.
        read_end: gives the end of a chain as it is before them.
    """
    # Plain local values: this runs for every event of the journal.
    events: list[EventValues] = []
    counts: dict[str, int] = {}
    last: dict[str, tuple[int, str]] = {}
    frames: dict[tuple[str, str, str, str, str], Frame] = {}
    for seq, at, kind, run, task, attempt, actor, data in pending:
        if run not in last:
            end = read_end(run)
            counts[run], last[run] = end.count, (end.seq, end.hash)
        named = (kind, run, task, attempt, actor)
        frame = frames.get(named)
        if frame is None:
            actor = clean_actor(actor)  # noqa: PLW2901
            frame = frames[named] = make_frame(kind, run, task, attempt, actor)
        a, b, c, d, e, actor = frame  # noqa: PLW2901
        prev = last[run][1]
        digest = sha256(f"{a}{at}{b}{data}{c}{prev}{d}{seq}{e}".encode("ascii")).hexdigest()
        counts[run] += 1
        last[run] = (seq, digest)
        events.append((seq, at, kind, run, task, attempt, actor, data, prev, digest))
    return events, {run: Head(counts[run], *last[run]) for run in last}


def clean_actor(actor: str) -> str:
    """Return an actor as text: a login name can hold bytes that are none."""
    return actor if actor.isascii() else actor.encode("utf-8", "backslashreplace").decode("utf-8")


def open_end(connection: sa.Connection) -> Appending:
    """Return the end of the journal that a transaction is open on."""
    return Direct(connection) if connection.dialect.name == "sqlite" else Portable(connection)


def _check_last(row: Any) -> int:
    if row is None or not isinstance(row[0], int):
        raise JournalDamaged(
            "the counter of events is gone or no number; nothing was written", hint="nightcrew audit verify"
        )
    return row[0]


class Direct:
    """SQLite: the statements go to the driver."""

    def __init__(self, connection: sa.Connection) -> None:
        self._driver: Any = connection.connection.dbapi_connection

    def read_last(self) -> int:
        """See Appending; the transaction has the lock of the whole database already."""
        return _check_last(self._driver.execute(_LAST).fetchone())

    def read_end(self, chain: str) -> Head:
        """See Appending."""
        row = self._driver.execute(_END, (chain,)).fetchone()
        return Head() if row is None else Head(*row)

    def write(self, events: Sequence[EventValues], ends: Mapping[str, Head], last: int) -> None:
        """See Appending."""
        self._driver.executemany(_INSERT, events)
        self._driver.executemany(
            _SET_END, [(chain, end.count, end.seq, end.hash) for chain, end in ends.items()]
        )
        self._driver.execute(_SET_LAST, (last,))


class Portable:
    """Any database: through SQLAlchemy."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read_last(self) -> int:
        """See Appending. Where a transaction does not lock the database, this row lets one writer in at a time."""
        query = sa.select(COUNTERS.c.value).where(COUNTERS.c.name == "E").with_for_update()
        return _check_last(self._connection.execute(query).one_or_none())

    def read_end(self, chain: str) -> Head:
        """See Appending."""
        row = self._connection.execute(sa.select(HEADS).where(HEADS.c.chain == chain)).one_or_none()
        return Head() if row is None else Head(row.length, row.seq, row.hash)

    def write(self, events: Sequence[EventValues], ends: Mapping[str, Head], last: int) -> None:
        """See Appending."""
        rows = [dict(zip(COLUMNS, event, strict=True)) for event in events]
        self._connection.execute(sa.insert(EVENTS), rows)
        for chain, end in ends.items():
            values = {"length": end.count, "seq": end.seq, "hash": end.hash}
            known = self._connection.execute(sa.update(HEADS).where(HEADS.c.chain == chain).values(values))
            if not known.rowcount:
                self._connection.execute(sa.insert(HEADS), {"chain": chain, **values})
        self._connection.execute(sa.update(COUNTERS).where(COUNTERS.c.name == "E").values(value=last))
