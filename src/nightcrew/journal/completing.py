"""Ids for the completion of a shell: straight from the file, without the database code, and nothing at all when anything is odd."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

#: Letter of a kind → its table.
_TABLES: Final = {
    "R": "nc_runs",
    "T": "nc_tasks",
    "A": "nc_approvals",
    "C": "nc_checkpoints",
    "M": "nc_promotions",
}
MOST: Final = 50
"""Ids of each kind, the newest first: nobody reads more."""
_PATIENCE_S: Final = 0.05


def read_ids(database: Path, kinds: str, begun: str) -> list[str]:
    """Return the newest ids that begin like what was typed; read only, and empty where they cannot be read.

    Args:
        database: the SQLite file.
        kinds: letters out of ``RTACM``.
        begun: what was typed so far, in any case.
    """
    first, last = begun.upper(), begun.upper() + "\x7f"  # ids are ASCII
    found: list[str] = []
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)
        try:
            for kind in kinds:
                query = f"SELECT id FROM {_TABLES[kind]} WHERE id >= ? AND id < ? ORDER BY sort DESC LIMIT ?"  # noqa: S608
                found += [row[0] for row in connection.execute(query, (first, last, MOST))]
        finally:
            connection.close()
    except (sqlite3.Error, OSError, ValueError):
        return []  # no database yet, one that is kept busy or damaged: a shell must not be told of it in the middle of a line
    return found
