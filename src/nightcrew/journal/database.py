"""The door to SQL: the engine that DBOS shares, transactions of the right kind, and foreign errors in our words.

SQLite: write-ahead log, 30 s of patience with other writers, ``synchronous=NORMAL``: after a power loss the database
is whole, but the last transactions may be missing, all of them or a tail. A durable transaction (``FULL``) is on the
disk when it returns, and so is everything before it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import exc

from nightcrew.host.files import ensure_private_directory
from nightcrew.host.locks import FileLock
from nightcrew.journal.chain import STRETCH
from nightcrew.journal.tables import (
    COUNTED,
    COUNTERS,
    EVENTS,
    METADATA,
    SCHEMA,
    SCHEMA_TABLE,
    STRETCHES,
)
from nightcrew.model.errors import EngineUnavailable, JournalDamaged, NightcrewError

_BUSY_S: Final = 30.0
"""How long a writer waits for others; the same as DBOS uses for its own engine."""


class Database:
    """One database, given by its SQLAlchemy URL; ``path`` is its file, None when it is a server."""

    def __init__(self, url: str, path: Path | None) -> None:
        self.path = path
        self.engine = _make_engine(url, path)
        driver: Any = self.engine.dialect.loaded_dbapi
        # Of the driver itself, which the fast part of the journal speaks to.
        self._foreign: type[Exception] = driver.Error
        self._ready = False
        self._making = threading.Lock()
        self._writing = threading.Lock()
        self._writer: sa.Connection | None = None

    @property
    def ready(self) -> bool:
        """Whether the tables are known to be there, as this version needs them."""
        return self._ready

    def has_tables(self, now: str) -> bool:
        """Tell whether our tables are there; where there are none, none are made, and what is older gets what is new.

        Raises:
            EngineUnavailable: they are of a newer nightcrew, or the database does not answer.
        """
        if not self._ready and (self.path is None or self.path.exists()):
            with translated(self.path), self.engine.connect() as connection:
                version = _find_version(connection)
            if 0 < version < SCHEMA:
                self.make_tables(now)
            self._ready = version > 0
        return self._ready

    def make_tables(self, now: str) -> None:
        """Create what is missing: directory (0700), file (0600), tables.

        Raises:
            EngineUnavailable: it cannot be created.
        """
        with self._making:
            if self._ready:
                return
            with translated(self.path):
                if self.path is None:
                    self._create(now)
                else:
                    self._create_file(self.path, now)
            self._ready = True

    @contextmanager
    def transaction(self, *, write: bool, durable: bool = False) -> Iterator[sa.Connection]:
        """Give a connection inside a transaction; committed at the end of the block, rolled back on an exception.

        A reading transaction sees one moment of the database; a writing one holds the only write lock from its
        first moment, so what it reads cannot change before it commits.
        """
        with translated(self.path, self._foreign), self._connect(write=write) as connection:
            if connection.dialect.name == "sqlite":
                yield from self._run_direct(connection, write=write, durable=durable)
                return
            if not write:
                connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()

    def _run_direct(
        self, connection: sa.Connection, *, write: bool, durable: bool
    ) -> Iterator[sa.Connection]:
        """Begin, yield and commit on the SQLite driver itself: through SQLAlchemy the same three steps cost 40 times as much.

        What is executed through SQLAlchemy meanwhile is inside of this transaction; it has nothing of its own to commit.
        """
        driver: Any = connection.connection.dbapi_connection
        if durable:
            driver.execute("PRAGMA synchronous=FULL")
        try:
            driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            yield connection
            driver.execute("COMMIT")
        except BaseException:
            # An interrupt inside of a statement has closed the driver's connection, and the transaction with it: what is told is
            # the interrupt.
            with suppress(self._foreign):
                if driver.in_transaction:
                    driver.rollback()
                if durable:
                    driver.execute("PRAGMA synchronous=NORMAL")
            raise
        if durable:
            driver.execute("PRAGMA synchronous=NORMAL")

    @contextmanager
    def _connect(self, *, write: bool) -> Iterator[sa.Connection]:
        """Give a connection of the pool; who writes to SQLite gets the one that is kept for that, while it is free."""
        if not write or self.path is None or not self._writing.acquire(blocking=False):
            with self.engine.connect() as connection:
                yield connection
            return
        try:
            if self._writer is None:
                self._writer = self.engine.connect()
            try:
                yield self._writer
            except BaseException:
                # Whatever state it is in: the next one who writes begins with another.
                self._writer.close()
                self._writer = None
                raise
            if self._writer.in_transaction():
                self._writer.rollback()
        finally:
            self._writing.release()

    def dispose(self) -> None:
        """Close all connections that are not in use."""
        with self._writing:
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self.engine.dispose()

    def _create_file(self, path: Path, now: str) -> None:
        try:
            if not path.parent.exists():
                ensure_private_directory(path.parent)
            # SQLite gives its -wal and -shm files the mode of the database itself.
            path.touch(mode=0o600)
            path.chmod(0o600)
        except OSError as error:
            raise EngineUnavailable(
                f"cannot create the database {path}: {error.strerror}",
                code="database.unusable",
                hint="the state directory must be writable; XDG_STATE_HOME moves it",
            ) from error
        # Changing to the write-ahead log does not wait for other connections: one process at a time.
        lock = FileLock(path.with_name(f"{path.name}.lock"))
        if not lock.acquire(_BUSY_S):
            raise EngineUnavailable(
                f"{lock.holder() or 'another process'} is creating {path}", code="database.busy"
            )
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            self._create(now)
        finally:
            lock.release()

    def _create(self, now: str) -> None:
        with self.transaction(write=True, durable=True) as connection:
            if _find_version(connection) < SCHEMA:
                _add_missing(connection, now)


def _find_version(connection: sa.Connection) -> int:
    """Return the version of the layout, 0 where there are no tables yet.

    Raises:
        EngineUnavailable: it is of a newer nightcrew.
    """
    if not sa.inspect(connection).has_table(SCHEMA_TABLE.name):
        return 0
    version = connection.execute(sa.select(sa.func.max(SCHEMA_TABLE.c.version))).scalar_one_or_none() or 0
    if version > SCHEMA:
        raise EngineUnavailable(
            f"the database was written by a newer nightcrew (layout {version}, this one knows {SCHEMA})",
            code="database.newer",
            hint="use that newer version; nothing was changed",
        )
    return int(version)


def _add_missing(connection: sa.Connection, now: str) -> None:
    """Add the tables and counters that the database does not have yet; what is there stays as it is."""
    METADATA.create_all(connection)
    _mark_stretches(connection)
    known = set(connection.execute(sa.select(COUNTERS.c.name)).scalars())
    missing = [{"name": name, "value": 0} for name in COUNTED if name not in known]
    if missing:
        connection.execute(sa.insert(COUNTERS), missing)
    connection.execute(sa.insert(SCHEMA_TABLE).values(version=SCHEMA, created_at=now))


def _mark_stretches(connection: sa.Connection) -> None:
    """Put the list of stretches in the place of the index by run that layouts before the third had."""
    stretch = EVENTS.c.seq.op(">>")(sa.literal_column(str(STRETCH)))
    found = sa.select(EVENTS.c.run, stretch).distinct()
    connection.execute(sa.delete(STRETCHES))
    connection.execute(sa.insert(STRETCHES).from_select(["run", "stretch"], found))
    connection.execute(sa.text(f"DROP INDEX IF EXISTS {EVENTS.name}_run"))


def _make_engine(url: str, path: Path | None) -> sa.Engine:
    if path is None:
        return sa.create_engine(url, pool_size=16, max_overflow=32, pool_pre_ping=True)
    # Not from the text of the URL: a path may hold characters that mean something there.
    place = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(
        place, pool_size=16, max_overflow=48, connect_args={"timeout": _BUSY_S, "check_same_thread": False}
    )
    sa.event.listen(engine, "connect", _prepare_connection)
    return engine


def _prepare_connection(connection: Any, _record: Any) -> None:
    """Set up one SQLite connection as DBOS and we need it.

    DBOS counts on the driver's old transaction mode with IMMEDIATE (it sends ``BEGIN IMMEDIATE`` itself when it
    migrates), and on Python 3.12 and later on ``unixepoch('subsec')``, which SQLite has from 3.42 on.
    """
    connection.isolation_level = "IMMEDIATE"
    for pragma in (
        f"busy_timeout={int(_BUSY_S * 1000)}",
        "foreign_keys=ON",
        "synchronous=NORMAL",
        # A column default of DBOS calls our function; SQLite only allows that in a schema it trusts.
        "trusted_schema=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    version = connection.execute("SELECT sqlite_version()").fetchone()[0]
    if tuple(int(part) for part in version.split(".")) < (3, 42):
        connection.create_function("unixepoch", 1, _unix_epoch)


def _unix_epoch(what: object) -> float | int | None:
    """Stand in for SQLite's ``unixepoch(time)`` where it does not know ``subsec`` yet; other times give NULL."""
    # The database clock is the clock of this machine by definition; no Clock can be handed to SQLite.
    milliseconds = time.time_ns() // 1_000_000
    if what in ("subsec", "subsecond"):
        return milliseconds / 1000
    return milliseconds // 1000 if what == "now" else None


@contextmanager
def translated(path: Path | None, foreign: type[Exception] = exc.DatabaseError) -> Iterator[None]:
    """Say the errors of SQLAlchemy, and those of the driver (``foreign``), in our words; the one seam where they pass."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except (exc.DatabaseError, exc.InterfaceError, exc.TimeoutError, foreign) as error:
        raise _translate(error, path) from error


def _translate(error: Exception, path: Path | None) -> NightcrewError:
    said = str(getattr(error, "orig", None) or error)
    where = [f"database {path}"] if path else []
    if "malformed" in said or "not a database" in said:
        return JournalDamaged(
            f"the database cannot be read: {said}",
            code="database.damaged",
            where=where,
            hint="stop nightcrew, keep a copy of the file, and restore a backup",
        )
    if "locked" in said or "busy" in said:
        return EngineUnavailable(
            f"another process kept the database for more than {_BUSY_S:.0f} s",
            code="database.busy",
            where=where,
            hint="see who runs: nightcrew ps",
        )
    return EngineUnavailable(
        f"the database cannot be used: {said}",
        code="database.unusable",
        where=where,
        hint="free some space" if "full" in said else "see what is wrong: nightcrew doctor",
    )
