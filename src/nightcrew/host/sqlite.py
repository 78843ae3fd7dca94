"""Reading an SQLite file at once: without SQLAlchemy, which takes longer to load than a shell waits at a press of the tab key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path


def read_column(
    database: Path, queries: Iterable[tuple[str, Sequence[str | int]]], *, timeout_s: float
) -> list[str]:
    """Return the first column of the rows of several queries, one after the other; the file is opened for reading only.

    Args:
        database: an absolute path; nothing is made where there is no file.
        queries: statements with the values for their question marks.
        timeout_s: how long to wait for somebody who writes.

    Raises:
        OSError: there is no such file, it is no database, it is damaged or kept busy.
    """
    address = f"{database.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=timeout_s)) as connection:
            return [row[0] for text, values in queries for row in connection.execute(text, values)]
    except sqlite3.Error as error:
        raise OSError(f"{database}: {error}") from error
