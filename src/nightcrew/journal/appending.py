"""Where events, ends of chains and the counter are read and written: the part of the journal that must be fast.

With SQLite it speaks to the driver that the transaction is open on: a statement costs 3 us there, 60 us through SQLAlchemy,
and an event costs several. Everything else, and every other database, goes the portable way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import chain as join
from typing import Any, Final, Protocol

import sqlalchemy as sa

from nightcrew.journal.chain import STRETCH, Head
from nightcrew.journal.tables import COUNTERS, EVENTS, HEADS, STRETCHES
from nightcrew.model.errors import JournalDamaged
from nightcrew.model.events import Frame, make_frame

COLUMNS: Final = ("seq", "at", "kind", "run", "task", "attempt", "actor", "data", "prev", "hash")
"""Of an event, in the order in which a row has them."""

EventValues = tuple[int, str, str, str, str, str, str, str, str, str]
"""A row of the events table."""
Pending = tuple[int, str, str, str, str, str, str, str]
"""A row without its hashes."""

_ROW: Final = f"({', '.join('?' * len(COLUMNS))})"
_INSERT: Final = f"INSERT INTO {EVENTS.name} ({', '.join(COLUMNS)}) VALUES {_ROW}"  # noqa: S608
_TOGETHER: Final = 25
"""Rows in one statement, where there are so many: a tenth cheaper than one by one."""
_INSERT_MANY: Final = f"{_INSERT}{f', {_ROW}' * (_TOGETHER - 1)}"
_END: Final = f"SELECT length, seq, hash FROM {HEADS.name} WHERE chain = ?"  # noqa: S608
_SET_END: Final = (
    f"INSERT INTO {HEADS.name} (chain, length, seq, hash) VALUES (?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (chain) DO UPDATE SET length = excluded.length, seq = excluded.seq, hash = excluded.hash"
)
_MARK: Final = f"INSERT OR IGNORE INTO {STRETCHES.name} (run, stretch) VALUES (?, ?)"  # noqa: S608
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
    # Plain local values: this runs for every event of the journal. Events of one run mostly follow each other, and many are alike.
    events: list[EventValues] = []
    ends: dict[str, Head] = {}
    known: tuple[str, str, str, str, str] | None = None
    current, count, last, prev = None, 0, 0, ""
    a = b = c = d = e = shown = ""
    for seq, at, kind, run, task, attempt, actor, data in pending:
        if run != current:
            if current is not None:
                ends[current] = Head(count, last, prev)
            end = ends.get(run) or read_end(run)
            current, count, prev = run, end.count, end.hash
        named = (kind, run, task, attempt, actor)
        if named != known:
            known = named
            a, b, c, d, e, shown = _make_frame(*named)
        digest = sha256(f"{a}{at}{b}{data}{c}{prev}{d}{seq}{e}".encode("ascii")).hexdigest()
        events.append((seq, at, kind, run, task, attempt, shown, data, prev, digest))
        count, last, prev = count + 1, seq, digest
    if current is not None:
        ends[current] = Head(count, last, prev)
    return events, ends


@lru_cache(maxsize=1024)
def _make_frame(kind: str, run: str, task: str, attempt: str, actor: str) -> Frame:
    return make_frame(kind, run, task, attempt, clean_actor(actor))


def find_stretches(events: Sequence[EventValues], ends: Collection[str]) -> Collection[tuple[str, int]]:
    """Return the stretches that these events stand in, of each of their chains."""
    first = events[0][0] >> STRETCH
    if first == events[-1][0] >> STRETCH:
        return [(run, first) for run in ends]
    return {(event[3], event[0] >> STRETCH) for event in events}


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
        whole = len(events) - len(events) % _TOGETHER
        for at in range(0, whole, _TOGETHER):
            self._driver.execute(_INSERT_MANY, [*join.from_iterable(events[at : at + _TOGETHER])])
        if whole < len(events):
            self._driver.executemany(_INSERT, events[whole:])
        self._driver.executemany(_MARK, find_stretches(events, ends))
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
        for run, stretch in find_stretches(events, ends):
            here = sa.and_(STRETCHES.c.run == run, STRETCHES.c.stretch == stretch)
            if self._connection.execute(sa.select(STRETCHES).where(here)).one_or_none() is None:
                self._connection.execute(sa.insert(STRETCHES), {"run": run, "stretch": stretch})
        for chain, end in ends.items():
            values = {"length": end.count, "seq": end.seq, "hash": end.hash}
            known = self._connection.execute(sa.update(HEADS).where(HEADS.c.chain == chain).values(values))
            if not known.rowcount:
                self._connection.execute(sa.insert(HEADS), {"chain": chain, **values})
        self._connection.execute(sa.update(COUNTERS).where(COUNTERS.c.name == "E").values(value=last))
