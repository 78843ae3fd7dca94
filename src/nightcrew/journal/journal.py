"""The journal: one object per database, one way in for writing, one for reading."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import Clock, stamp
from nightcrew.journal.reader import Reader
from nightcrew.model.errors import EngineUnavailable, UsageError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from nightcrew.journal.chain import Verification
    from nightcrew.journal.database import Database
    from nightcrew.journal.heads import SignedHead
    from nightcrew.journal.transaction import Writer

_FILE: Final = "sqlite:///"
_POLL_S: Final = 0.02
"""How often ``wait`` looks; one look costs about 0.1 ms."""
_TURN_S: Final = 60.0
"""Longest that a thread of this process waits for the others to finish their writing."""


def _unchanged(text: str) -> str:
    return text


class Journal:
    """Events and state tables of one database. Safe to use from many threads and processes at once.

    Nothing happens on the disk before the first write (or the first use of ``engine``): reading a journal that
    does not exist gives empty results.
    """

    def __init__(self, url: str, *, clock: Clock, redact: Callable[[str], str] = _unchanged) -> None:
        self.url = url
        self.path = Path(url.removeprefix(_FILE)) if url.startswith(_FILE) else None
        if self.path is not None and not self.path.is_absolute():
            raise UsageError(
                f"the database must have an absolute path: {url}",
                code="database.relative",
                hint="four slashes: sqlite:////home/you/nightcrew.db",
            )
        self._clock = clock
        self._redact = redact
        self._opening = threading.Lock()
        self._turn = threading.Lock()
        self._writer = 0
        self._opened: Database | None = None

    @classmethod
    def open(cls, url: str, *, clock: Clock, redact: Callable[[str], str] = _unchanged) -> Journal:
        """Return the journal at ``url``.

        Args:
            url: ``sqlite:////absolute/path.db`` or an SQLAlchemy URL of PostgreSQL.
            clock: gives the times of events.
            redact: applied to every text before it is hashed or written.

        Raises:
            UsageError: a relative path.
        """
        return cls(url, clock=clock, redact=redact)

    @property
    def engine(self) -> sa.Engine:
        """The SQLAlchemy engine, for the durable engine to share; the database exists from here on."""
        return self._made().engine

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """Give one consistent moment of the journal.

        Raises:
            EngineUnavailable: the database does not answer, or is of a newer nightcrew.
            JournalDamaged: it cannot be read.
        """
        if not self._exists():
            yield Reader()
            return
        from nightcrew.journal.transaction import StoredReader

        with self._database().transaction(write=False) as connection:
            yield StoredReader(connection)

    @contextmanager
    def write(self, *, durable: bool = False) -> Iterator[Writer]:
        """Give the journal for writing: all or nothing, alone, seen by others when the block has ended.

        Keep it short: nobody else can write meanwhile. It cannot be nested.

        Args:
            durable: be on the disk when it returns, power loss included; otherwise a power loss may take the last
                transactions (never a part of one). A killed process loses nothing either way.

        Raises:
            EngineUnavailable: somebody else kept the database too long, or it cannot be written.
        """
        from nightcrew.journal.transaction import Writer

        database = self._made()
        with self._alone(), database.transaction(write=True, durable=durable) as connection:
            writer = Writer(connection, self._clock, self._redact)
            yield writer
            writer.flush()

    def verify(self, against: Sequence[SignedHead] = ()) -> Verification:
        """Check every event against its chain, the ends of the chains, and the heads that were signed.

        Args:
            against: signed heads that were kept elsewhere.

        Raises:
            JournalDamaged: the database itself cannot be read.
        """
        with self.read() as tx:
            return tx.verify(against)

    def wait(self, after_seq: int, timeout_s: float) -> int:
        """Wait until there is an event with a higher number, at most ``timeout_s``; return the last number."""
        deadline = self._clock.monotonic() + timeout_s
        while True:
            with self.read() as tx:
                last = tx.last_seq()
            left = deadline - self._clock.monotonic()
            if last > after_seq or left <= 0:
                return last
            self._clock.sleep(min(_POLL_S, left))

    def close(self) -> None:
        """Close idle connections; the journal can be used again."""
        with self._opening:
            if self._opened is not None:
                self._opened.dispose()

    def _exists(self) -> bool:
        if self.path is not None and not self.path.exists():
            return False
        return self._database().has_tables(stamp(self._clock.now()))

    def _database(self) -> Database:
        # SQLAlchemy costs a fifth of a second to import: only who has something to read pays for it.
        from nightcrew.journal.database import Database

        with self._opening:
            if self._opened is None:
                self._opened = Database(self.url, self.path)
            return self._opened

    def _made(self) -> Database:
        database = self._database()
        if not database.ready:
            database.make_tables(stamp(self._clock.now()))
        return database

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let the threads of this process take turns: fairer and cheaper than the database's own waiting."""
        me = threading.get_ident()
        if self._writer == me:
            raise RuntimeError("a journal transaction was opened inside another one of the same thread")
        if not self._turn.acquire(timeout=_TURN_S):
            raise EngineUnavailable("the database was kept busy by this process", code="database.busy")
        self._writer = me
        try:
            yield
        finally:
            self._writer = 0
            self._turn.release()
