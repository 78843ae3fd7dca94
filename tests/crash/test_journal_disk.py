"""A disk that is full, a directory that may not be written: nothing is half done, and the error says what it is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FULL = """
import sys
from nightcrew.host.clock import SystemClock
from nightcrew.journal import Journal
from nightcrew.model.errors import EngineUnavailable
journal = Journal.open(f"sqlite:///{sys.argv[1]}/n.db", clock=SystemClock())
done = 0
try:
    while True:
        with journal.write() as tx:
            for _ in range(50):
                tx.append("x.happened", run="R-1", data={"text": "y" * 500})
        done += 50
except EngineUnavailable as error:
    print(error.code, error.hint)
found = journal.verify()
print(found.ok, found.events == done, done > 0)
"""

# The interpreter may be where only root can read it: everything is loaded before it becomes somebody else.
READ_ONLY = """
import os, sys
import sqlalchemy.dialects.sqlite.pysqlite
import nightcrew.journal.database, nightcrew.journal.transaction
from nightcrew.host.clock import SystemClock
from nightcrew.journal import Journal
from nightcrew.model.errors import EngineUnavailable
journal = Journal.open(f"sqlite:///{sys.argv[1]}/warm/n.db", clock=SystemClock())
with journal.write() as tx:
    tx.append("x.happened")
journal = Journal.open(f"sqlite:///{sys.argv[1]}/n.db", clock=SystemClock())
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    with journal.write() as tx:
        tx.append("x.happened")
except EngineUnavailable as error:
    print(error.code, bool(error.hint))
"""


def test_full_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    command = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, FULL], capture_output=True, text=True, check=False
    )
    assert done.stdout == "database.unusable free some space\nTrue True True\n", done.stderr


def test_read_only_state_directory(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    place = tmp_path / "state"
    place.mkdir()
    for path in (place, *place.parents[:-2]):
        path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(place)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "database.unusable True\n", done.stderr
    assert os.listdir(place) == ["warm"]
