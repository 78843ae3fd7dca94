"""Limits on checkpoints: what a task may not keep is named, and what it needs at its end is kept all the same."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from nightcrew.host.clock import stamp
from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

SCRIPT = "".join(f"- run: head -c 150000 /dev/urandom > f{n}.bin\n" for n in range(4))
PLAN = "- [ ] 1. one\n  - Agent: script\n  - Script: s.yaml\n  - Accept: test -e f3.bin\n"


def test_without_room_only_what_is_needed_is_taken(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "checkpoints:\n  disk: 200kB\n"})
    crew.commit("settings")
    done = crew.run_tasks(PLAN, scripts={"s.yaml": SCRIPT})
    assert by_name(done.json)["T01"]["state"] == "succeeded", done
    assert '"kind":"checkpoint.refused"' in crew.look("log", "R-1/T01", "--json").stdout
    taken = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    assert 1 < len(taken) < 5
    assert taken[-1]["current"]
    assert taken[-1]["paths"] == 4
    told = crew.run("gc").stderr
    assert "all that is left is needed" in told
    assert crew.run("accept", "R-1/T01").code == 0


def test_a_file_above_the_limit_is_named_and_denied(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "checkpoints:\n  max_file: 100kB\n"})
    crew.commit("settings")
    plan = PLAN.replace("  - Accept: test -e f3.bin\n", "")
    done = crew.run_tasks(plan, scripts={"s.yaml": "- run: head -c 150000 /dev/urandom > big.bin\n"})
    task = by_name(done.json)["T01"]
    assert task["state"] == "failed", done
    assert "big.bin" in task["reason"]
    assert "larger than 100kB" in task["reason"]


def test_a_collection_that_is_killed_is_finished_by_the_next(crew: Hermetic) -> None:
    done = crew.run_tasks(PLAN, scripts={"s.yaml": SCRIPT})
    assert done.code == 0, done
    crew.write({".nightcrew/config.yaml": "checkpoints:\n  disk: 1kB\n"})
    assert crew.run("gc").code == 0
    young = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    assert len(young) > 2
    assert not any(each["pruned"] for each in young), "nothing would become free"
    with sqlite3.connect(crew.state / "nightcrew.db") as database:
        then = stamp(datetime.now(UTC) - timedelta(hours=2))
        database.execute("update nc_checkpoints set body = json_set(body, '$.created_at', ?)", (then,))
    for point in ("collect.recorded", "checkpoint.collect_forgotten"):
        killed = crew.run("gc", extra={"NIGHTCREW_CRASH_AT": f"{point}:2"})
        assert killed.code == -9, killed
        with sqlite3.connect(crew.state / "nightcrew.db") as database:
            (pruned,) = database.execute(
                "select count(*) from nc_checkpoints where body like '%\"pruned\":true%'"
            ).fetchone()
        assert pruned > 0
    assert crew.run("gc").code == 0
    (store,) = crew.state.glob("*/objects")
    crew.git("--git-dir", str(store), "fsck", "--strict", "--no-dangling")
    taken = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    kept = [each["id"] for each in taken if not each["pruned"]]
    refs = crew.git("--git-dir", str(store), "for-each-ref", "--format=%(refname:lstrip=3)").split()
    assert sorted(refs) == sorted(kept)
    assert crew.look("checkpoint", "diff", kept[-1]).code == 0
