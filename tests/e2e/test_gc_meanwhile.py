"""``nightcrew gc``, rehearsed, and while others go on: what begins or goes on again meanwhile keeps all that it needs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.host.locks import FileLock
from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

PLAN = "- [ ] 1. one\n  - Agent: script\n  - Script: s.yaml\n  - Accept: test -e kept\n"
SCRIPT = "- run: touch kept\n- run: touch more\n- run: rm kept\n"
PAST = timedelta(hours=12)


@pytest.fixture
def over(crew: Hermetic) -> Hermetic:
    """A run that failed half a day ago: nobody has anything to decide in it."""
    done = crew.run_tasks(PLAN, scripts={"s.yaml": SCRIPT})
    assert by_name(done.json)["T01"]["state"] == "failed", done
    with sqlite3.connect(crew.state / "nightcrew.db") as database:
        for name, made in database.execute(
            "select id, json_extract(body, '$.created_at') from nc_checkpoints"
        ).fetchall():
            then = stamp(parse_stamp(made) - PAST)
            database.execute(
                "update nc_checkpoints set body = json_set(body, '$.created_at', ?) where id = ?",
                (then, name),
            )
    for path in crew.state.glob("*/objects/objects/*/*"):
        then_s = path.stat().st_mtime - PAST.total_seconds()
        os.utime(path, (then_s, then_s))
    return crew


@contextmanager
def collecting(crew: Hermetic) -> Iterator[Callable[[], None]]:
    """Have a collection under way that has read what there is, and waits; what is yielded lets it come to its end."""
    (store,) = crew.state.glob("*/objects")
    names = sorted(path for path in (store / "refs/nightcrew/checkpoints").iterdir())
    names[0].unlink()
    lock = FileLock(store / "compact.lock")
    assert lock.acquire()
    log = crew.root / "gc.log"
    process = crew.start("gc", log=log)
    try:
        crew.wait_until(names[0].exists, what="the first look")

        def finish() -> None:
            lock.release()
            crew.wait_until(lambda: "Collected" in log.read_text(), what="the collection")

        yield finish
    finally:
        lock.release()
        crew.wait_until(lambda: not Path(f"/proc/{process}/exe").exists(), what="its end")


def test_a_run_that_begins_meanwhile_keeps_its_base(over: Hermetic) -> None:
    with collecting(over) as finish:
        over.commit("another base")
        assert over.run_tasks("- [ ] 1. later\n  - Run: touch later\n").code == 0
        pins = over.git("for-each-ref", "refs/nightcrew/base").splitlines()
        assert len(pins) == 2
        finish()
    assert over.git("for-each-ref", "refs/nightcrew/base").splitlines() == pins


def test_a_run_that_goes_on_again_meanwhile_keeps_its_result(over: Hermetic) -> None:
    over.write({".nightcrew/config.yaml": "checkpoints:\n  disk: 1kB\n"})
    first = over.run("checkpoint", "list", "R-1/T01", "--json").json[0]
    with collecting(over) as finish:
        restored = over.run("checkpoint", "restore", first["id"], "--yes", "--json")
        assert restored.code == 0, restored
        over.wait_until(lambda: over.show("R-1")["state"] == "in_review", what="its acceptance")
        finish()
    listed = {each["id"]: each for each in over.run("checkpoint", "list", "R-1/T01", "--json").json}
    assert not listed[restored.json["checkpoint"]]["pruned"]
    assert over.run("accept", "R-1/T01").code == 0
    assert over.run("promote", "R-1", "--yes").code == 0
    assert (over.repo / "kept").exists()


def test_a_rehearsal_tells_what_goes_because_there_is_no_room(over: Hermetic) -> None:
    assert over.run("gc", "--dry-run", "--json").json["repositories"][0]["checkpoints"] == 1
    over.write({".nightcrew/config.yaml": "checkpoints:\n  disk: 1kB\n"})
    told = over.run("gc", "--dry-run", "--json").json["repositories"][0]
    done = over.run("gc", "--json").json["repositories"][0]
    assert told["checkpoints"] == done["checkpoints"] > 1
    assert told["objects_bytes"] > 0
    assert done["objects_bytes"] > 0


def test_a_checkpoint_that_a_kill_left_without_a_row_leaves_no_broken_name(crew: Hermetic) -> None:
    killed = crew.run_tasks(
        PLAN.replace("kept", "more"),
        scripts={"s.yaml": SCRIPT},
        extra={"NIGHTCREW_CRASH_AT": "engine.checkpoint.written:2"},
    )
    assert killed.code == -9, killed
    assert crew.run("resume", "R-1").code == 0
    (store,) = crew.state.glob("*/objects")
    for path in (store / "objects").glob("*/*"):
        then_s = path.stat().st_mtime - PAST.total_seconds()
        os.utime(path, (then_s, then_s))
    assert crew.run("gc").code == 0
    crew.git("--git-dir", str(store), "fsck", "--strict", "--no-dangling")
    recorded = {each["id"] for each in crew.look("checkpoint", "list", "R-1", "--json").json}
    names = crew.git("--git-dir", str(store), "for-each-ref", "--format=%(refname:lstrip=3)").split()
    assert set(names) == recorded
