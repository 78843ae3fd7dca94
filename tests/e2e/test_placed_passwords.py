"""Passwords that only their place tells: found in what a task changed, and blotted out of what is kept of its work."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

HELD = "correct" + "-horse-" + "battery"
AGENT = f"""
import pathlib
line = "curl -sS --user ada:" + "{HELD[:7]}" + "{HELD[7:]}" + " https://api.test/x"
pathlib.Path("deploy.sh").write_text("#!/bin/sh\\n" + line + "\\n")
pathlib.Path(".pgpass").write_text("db.test:5432:app:ada:" + "{HELD[:7]}" + "{HELD[7:]}" + "\\n")
pathlib.Path("honest.sh").write_text('curl -u "$USER:$PASS" https://api.test; mysql -p app\\n')
print("ran:", line)
"""


def test_they_are_told_and_never_kept(crew: Hermetic) -> None:
    crew.write({"agent.py": AGENT})
    crew.commit("agent")
    ran = crew.run_tasks("- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: test -s deploy.sh\n")
    assert HELD not in ran.stdout + ran.stderr
    found = crew.run("secrets", "scan", "R-1/T01", "--json")
    assert {each["path"] for each in found.json["secrets"]} == {"deploy.sh", ".pgpass"}, found
    assert HELD not in found.stdout
    transcripts = list(crew.state.rglob("*.jsonl"))
    assert transcripts
    for path in transcripts:
        assert HELD not in path.read_text(), path
