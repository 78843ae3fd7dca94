"""``nightcrew gc``: what is old and needed by nothing goes, what anything refers to stays and works as before."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from nightcrew.host.clock import SystemClock, parse_stamp, stamp
from nightcrew.journal.journal import Journal
from nightcrew.journal.rows import decode_body, encode_body
from nightcrew.model.records import (
    AttemptRecord,
    CheckpointRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

STEPS = 5
PLAN = "".join(
    f"- [ ] {n}. task {n}\n  - Agent: script\n  - Script: s{n}.yaml\n  - Accept: test -e t{n}-0.txt\n"
    for n in (1, 2, 3)
)
STAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def write_steps(number: int) -> str:
    """Every step puts 60 kB that do not shrink into one file, and leaves a checkpoint of its own."""
    lines = [f"- run: head -c 60000 /dev/urandom > t{number}-0.txt" for _ in range(STEPS)]
    return "\n".join(lines) + "\n"


@pytest.fixture
def over(crew: Hermetic) -> Iterator[Hermetic]:
    """A run that is over: T01 promoted, T02 rejected, T03 waits for its review."""
    done = crew.run_tasks(PLAN, scripts={f"s{n}.yaml": write_steps(n) for n in (1, 2, 3)})
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0
    assert crew.run("reject", "R-1/T02", "-m", "no").code == 0
    return crew


def age(crew: Hermetic, days: float) -> None:
    """Make everything that was recorded and written look older."""
    past = timedelta(days=days)

    def shift(found: re.Match[str]) -> str:
        return stamp(parse_stamp(found.group()) - past)

    # As nightcrew writes it: what is changed behind the journal's back, `audit verify` would name.
    journal = Journal.open(f"sqlite:///{crew.state / 'nightcrew.db'}", clock=SystemClock())
    with journal.write() as tx:
        for kind in (RunRecord, TaskRecord, AttemptRecord, CheckpointRecord, PromotionRecord):
            for record in tx.find(kind):
                older = decode_body(kind, STAMP.sub(shift, encode_body(record, str)))
                tx.change(record, "", **{each.name: getattr(older, each.name) for each in fields(record)})
    journal.close()
    with sqlite3.connect(crew.state / "nightcrew.db") as database:
        for column in ("created_at", "updated_at", "completed_at"):
            database.execute(f"update workflow_status set {column} = {column} - {int(days * 86_400_000)}")
    for path in crew.state.rglob("*"):
        if path.is_file() and not path.is_symlink():
            then = path.stat().st_mtime - days * 86400
            os.utime(path, (then, then))


def collect(crew: Hermetic, *options: str) -> dict[str, object]:
    """Run gc and return what it says about the repository."""
    done = crew.run("gc", "--json", *options)
    assert done.code == 0, done
    (tally,) = done.json["repositories"]
    return {**tally, "workflows": done.json["workflows"]}


def find_kept(crew: Hermetic, task: str) -> dict[str, bool]:
    """Return whether each checkpoint of a task is kept, in order; what is kept can be read."""
    listed = crew.look("checkpoint", "list", f"R-1/{task}", "--json").json
    kept = {c["id"]: not c["pruned"] for c in listed}
    last = [name for name, there in kept.items() if there][-1:]
    for name in last:
        assert crew.look("checkpoint", "diff", name, "--stat").code == 0
    return kept


def find_records(crew: Hermetic) -> dict[str, bool]:
    """Return which workflows the engine has recorded, and whether they ended; it has steps of no others."""
    with sqlite3.connect(crew.state / "nightcrew.db") as database:
        states = dict(database.execute("select workflow_uuid, status from workflow_status").fetchall())
        steps = {name for (name,) in database.execute("select workflow_uuid from operation_outputs")}
    assert steps <= states.keys()
    return {name: state != "PENDING" for name, state in states.items()}


def check_store(crew: Hermetic) -> int:
    """Have git look through the store; return what its objects take on disk."""
    (store,) = crew.state.glob("*/objects")
    crew.git("--git-dir", str(store), "fsck", "--strict", "--no-dangling")
    return sum(path.stat().st_blocks * 512 for path in (store / "objects").rglob("*") if path.is_file())


def test_old_checkpoints_go_and_what_is_needed_stays(over: Hermetic) -> None:
    young = collect(over)
    assert (young["checkpoints"], young["transcripts"], young["pins"], young["workflows"]) == (0, 0, 0, 0)

    age(over, 2)
    before = check_store(over)
    told = collect(over, "--dry-run")
    assert check_store(over) == before
    done = collect(over)
    assert (
        done["checkpoints"]
        == told["checkpoints"]
        == sum(not there for task in ("T01", "T02", "T03") for there in find_kept(over, task).values())
    )
    assert 300_000 < before - check_store(over) == done["objects_bytes"]
    for task in ("T01", "T02", "T03"):
        first, *between, _, last = find_kept(over, task).values()
        assert first
        assert last
        assert not any(between)
    gone = next(name for name, there in find_kept(over, "T03").items() if not there)
    for words in (("diff", gone), ("restore", gone, "--yes")):
        refused = over.run("checkpoint", *words)
        assert (refused.code, "was pruned" in refused.stderr) == (3, True), refused
    assert collect(over)["checkpoints"] == 0, "twice is once"

    # What waits for a person works as if nothing had happened.
    assert over.run("accept", "R-1/T03").code == 0
    assert over.run("promote", "R-1", "--yes").code == 0
    for name in ("M-2", "M-1"):
        assert over.run("undo", name, "--yes").code == 0
    assert over.run("audit", "verify").code == 0


def test_rules_that_cannot_be_read_keep_what_is_there(crew: Hermetic) -> None:
    done = crew.run_tasks("- [ ] 1. one\n  - Run: touch one\n  - Accept: test -e one\n")
    assert done.code == 0, done
    crew.write({".nightcrew/policy.yaml": "version: [\n"})
    told = crew.run("gc")
    assert told.code == 0, told
    assert f"{crew.repo}: nothing was given up here, its rules cannot be read: " in told.stderr
    assert "policy.yaml:" in told.stderr


def test_what_a_killed_process_was_removing_goes_and_is_told(over: Hermetic) -> None:
    (shadows,) = over.state.glob("*/shadows")
    left = shadows / ".gone-0123456789"
    (left / "upper").mkdir(parents=True)
    (left / "lock").touch()
    (left / "upper" / "large").write_bytes(b"x" * 3_000_000)
    told = collect(over, "--dry-run")
    assert left.exists()
    assert told["shadows_bytes"] >= 3_000_000
    done = over.run("gc", "--dry-run")
    assert "remains of shadows" in done.stdout + done.stderr, done
    assert collect(over)["shadows_bytes"] == told["shadows_bytes"]
    assert not left.exists()
    assert collect(over)["shadows_bytes"] == 0


def check_undo_outlives_its_pin(over: Hermetic) -> None:
    """Its commit is on the branch: what kept it was needed only had it been rewritten away."""
    assert len(over.git("for-each-ref", "refs/nightcrew/undo").splitlines()) == 1
    age(over, 60)
    assert collect(over, "--dry-run")["undo_pins"] == 1
    assert collect(over)["undo_pins"] == 1
    assert over.git("for-each-ref", "refs/nightcrew/undo") == ""
    assert over.run("undo", "M-1", "--yes").code == 0


def test_what_is_decided_goes_when_there_is_no_room_or_after_a_month(over: Hermetic) -> None:
    (shadows,) = over.state.glob("*/shadows")
    left = shadows / "abandoned" / "upper"
    left.mkdir(parents=True)
    (left / "file").write_bytes(os.urandom(100_000))
    over.write({".nightcrew/config.yaml": "checkpoints:\n  disk: 100kB\n"})
    age(over, 0.5)
    squeezed = over.run("gc")
    assert "1 shadow left over: 1" in squeezed.stdout, squeezed
    assert "all that is left is needed" in squeezed.stderr, squeezed
    assert not left.exists()
    for task in ("T01", "T02", "T03"):
        kept = list(find_kept(over, task).values())
        assert kept[-1], "its run is not closed: T03 waits for a review"
        assert sum(kept) <= 2, "the last one, and the one that a restore of it would be undone with"

    assert over.run("reject", "R-1/T03", "-m", "no").code == 0
    pins = over.git("for-each-ref", "refs/nightcrew/base").splitlines()
    age(over, 31)
    records = find_records(over)
    done = collect(over)
    assert done["transcripts"] == 3
    assert done["pins"] == len(pins) > 0
    assert over.git("for-each-ref", "refs/nightcrew/base") == ""
    assert done["workflows"] == sum(records.values()) > 0
    # One that was cut short when its host ended is ended by the next host, not by gc.
    assert find_records(over) == {name: ended for name, ended in records.items() if not ended}
    assert list(find_kept(over, "T01").values())[-1], "a promotion refers to it"
    assert not any(find_kept(over, "T02").values())
    check_store(over)
    for words in (
        ("show", "R-1"),
        ("log", "R-1"),
        ("why", "R-1/T02"),
        ("review", "R-1"),
        ("diff", "R-1"),
        ("audit", "verify"),
    ):
        shown = over.run(*words)
        assert shown.code == 0, shown
    assert done["undo_pins"] == 0
    check_undo_outlives_its_pin(over)

    # A run that ends does a part of it by itself, also when the clock was ahead the last time.
    (mark,) = over.state.glob("*/collected")
    now = datetime.now(UTC).timestamp()
    os.utime(mark, (now + 86400, now + 86400))
    assert over.run_tasks("- [ ] 1. more\n  - Run: touch more\n  - Accept: test -e more\n").code == 0
    assert abs(mark.stat().st_mtime - now) < 120

    over.repo.rename(over.root / "elsewhere")
    elsewhere = over.run("gc", cwd=over.root)
    assert elsewhere.code == 0, elsewhere
    assert "if it is gone for good, remove" in elsewhere.stderr
