"""What lay uncommitted before a run began is no drift; what the run itself has put on the branch is none either."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = """
- [ ] 1. two places
  - Run: sed -i -e '1s/.*/FIRST/' -e '20s/.*/LAST/' src/long.txt
  - Accept: grep -q LAST src/long.txt
"""


def told(crew: Hermetic) -> list[dict[str, object]]:
    lines = crew.look("events", "--kinds", "drift.detected", "--json").stdout.splitlines()
    return [json.loads(line)["data"] for line in lines]


def test_it_is_told_only_where_it_matters(crew: Hermetic) -> None:
    crew.write({"src/long.txt": "".join(f"line {each}\n" for each in range(1, 21))})
    crew.commit("long")
    crew.write({"tasks.md": PLAN, "notes.txt": "mine\n", "src/app.py": "print('mine, from before')\n"})
    (crew.repo / "README.md").unlink()
    (crew.root / "elsewhere/inner").mkdir(parents=True)
    (crew.root / "elsewhere/inner/old.txt").write_text("old\n")
    done = crew.run("run", "-f", "tasks.md", "--yes")
    assert done.code == 0, done
    assert told(crew) == []
    assert crew.show("R-1")["drift"] == {}
    assert "drift" not in done.stdout + done.stderr
    # What is changed now is told, with what stood as it was left out.
    crew.write({"notes.txt": "mine, and more\n"})
    found = crew.show("R-1")["drift"]
    assert (found["severity"], found["other"]) == ("low", ["notes.txt"])
    # What came with its directory was not there, however old it is.
    (crew.root / "elsewhere").rename(crew.repo / "brought")
    assert "brought/inner/old.txt" in crew.show("R-1")["drift"]["other"]
    # A file that much else depends on is told whenever it differs from what the work stood on.
    crew.write({"package.json": "{}\n"})
    assert crew.show("R-1")["drift"]["severity"] == "medium"
    (crew.repo / "package.json").unlink()
    # The same file as a task: always.
    crew.write({"src/long.txt": "mine\n"})
    assert crew.show("R-1")["drift"]["both"] == ["src/long.txt"]


def test_a_part_that_landed_is_not_the_users(crew: Hermetic) -> None:
    crew.write({"src/long.txt": "".join(f"line {each}\n" for each in range(1, 21))})
    crew.commit("long")
    assert crew.run_tasks(PLAN).code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    first, last = crew.look("diff", "R-1/T01", "--hunks", "--json").json["hunks"]
    done = crew.run("promote", "R-1", "--hunks", first["id"], "--yes", "--unproven")
    assert done.code == 0, done
    rest = crew.run("promote", "R-1", "--dry-run")
    assert rest.code == 0, rest
    assert "drift" not in rest.stderr, rest
    # Where somebody else has changed it since, it is.
    (crew.repo / "src/long.txt").write_text(
        (crew.repo / "src/long.txt").read_text().replace("line 10\n", "theirs\n")
    )
    crew.git("commit", "-q", "-am", "theirs")
    assert (
        "drift (high): you and this run both changed src/long.txt"
        in crew.run("promote", "R-1", "--dry-run").stderr
    )
    assert last["path"] == "src/long.txt"
