"""Ids for the completion of a shell: straight from the file, without the database code, and nothing at all when anything is odd."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nightcrew.host.sqlite import read_column

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
#: Which of a kind wait for a person's answer: questions, plans, and new plans of runs that go on.
_WAITING: Final = {
    "A": "AND state = 'pending'",
    "R": """AND (state = 'awaiting_approval' OR body LIKE '%"offered":{"%')""",
}


def read_ids(database: Path, kinds: str, begun: str, *, waiting: bool = False) -> list[str]:
    """Return the newest ids that begin like what was typed; read only, and empty where they cannot be read.

    Args:
        database: the SQLite file.
        kinds: letters out of ``RTACM``.
        begun: what was typed so far, in any case.
        waiting: only what waits for a person's answer.
    """
    first, last = begun.upper(), begun.upper() + "\x7f"  # ids are ASCII
    newest = "SELECT id FROM {} WHERE id >= ? AND id < ? {} ORDER BY sort DESC LIMIT ?"
    meant = _WAITING if waiting else {}
    queries = [(newest.format(_TABLES[kind], meant.get(kind, "")), (first, last, MOST)) for kind in kinds]
    try:
        return read_column(database, queries, timeout_s=_PATIENCE_S)
    except (OSError, ValueError):
        return []  # no database yet, one that is kept busy or damaged: a shell must not be told of it in the middle of a line
