"""A night whose journal tests damage, search and take along: made once, with the database put back before each of them."""

from __future__ import annotations

import shutil
import sqlite3

from conftest import FILES
from nightcrew.testing.hermetic import Hermetic, Ran

TASKS = """- [ ] 1. Greet
  - Run: `echo "print('greetings')" >> src/app.py`
  - Scope: src/**
  - Accept: `grep -q greetings src/app.py`
- [ ] 2. Note
  - Run: `echo note > NOTES.md`
  - Scope: NOTES.md
  - Accept: `test -f NOTES.md`
"""


def make_night(place: Hermetic) -> None:
    """Have a run done and promoted, a head kept elsewhere and a bundle made; what the database held is kept beside it."""
    place.make_repository(FILES)
    done = place.run_tasks(TASKS)
    assert done.code == 0, done
    for command in (
        ("accept", "R-1"),
        ("promote", "R-1", "--yes"),
        ("audit", "head", "--sign", "-o", str(place.root / "head.json")),
        ("audit", "bundle", "R-1", "-o", str(place.root / "R-1.tar.gz")),
    ):
        done = place.run(*command)
        assert done.code == 0, done
    database = place.state / "nightcrew.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(database, place.root / "sound.db")
    shutil.copy(place.state / "signing" / "last.head", place.root / "last.head")


def put_back(night: Hermetic) -> Hermetic:
    """Give the database what it held; what a test did to it is gone."""
    for name in ("nightcrew.db-wal", "nightcrew.db-shm", "nightcrew.db"):
        (night.state / name).unlink(missing_ok=True)
    shutil.copy(night.root / "sound.db", night.state / "nightcrew.db")
    shutil.copy(night.root / "last.head", night.state / "signing" / "last.head")
    return night


def tamper(crew: Hermetic, *statements: str) -> None:
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refused(crew: Hermetic, *args: str) -> Ran:
    done = crew.look("audit", "verify", *args)
    assert done.code == 12, done
    return done
