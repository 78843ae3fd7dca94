"""Which ids a shell offers where an answer is wanted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nightcrew.journal.completing import read_ids

RUNS = (
    ("R-1", "in_review", '{"settings":{}}'),
    ("R-2", "awaiting_approval", "{}"),
    ("R-3", "running", '{"settings":{"offered":{"version":2}}}'),
    ("R-4", "running", '{"settings":{"offered":{}},"title":"offered"}'),
)
APPROVALS = (("A-1", "approved"), ("A-2", "pending"), ("A-3", "expired"))


def test_only_what_waits_is_offered_there(tmp_path: Path) -> None:
    place = tmp_path / "db"
    with sqlite3.connect(place) as db:
        for table in ("nc_runs", "nc_approvals"):
            db.execute(f"CREATE TABLE {table} (id TEXT, sort TEXT, state TEXT, body TEXT)")
        db.executemany(
            "INSERT INTO nc_runs VALUES (?, ?, ?, ?)", [(r, r, state, body) for r, state, body in RUNS]
        )
        db.executemany(
            "INSERT INTO nc_approvals VALUES (?, ?, ?, '{}')", [(a, a, state) for a, state in APPROVALS]
        )
    db.close()
    assert read_ids(place, "RA", "", waiting=True) == ["R-3", "R-2", "A-2"]
    assert read_ids(place, "RA", "a", waiting=True) == ["A-2"]
    assert read_ids(place, "RA", "") == ["R-4", "R-3", "R-2", "R-1", "A-3", "A-2", "A-1"]
