"""Conformance 27, through the installed command: what was edited, cut off or reordered is named; two writers leave one chain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

import pytest

from conftest import sweep
from journal_night import make_night, put_back, refused, tamper
from nightcrew.testing.hermetic import Hermetic


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hermetic]:
    place = Hermetic(tmp_path_factory.mktemp("night"))
    make_night(place)
    yield place
    sweep(place)


@pytest.fixture
def crew(night: Hermetic) -> Hermetic:
    return put_back(night)


def test_a_sound_journal_verifies_and_matches_the_head_kept_elsewhere(crew: Hermetic) -> None:
    found = crew.look("audit", "verify", "--against", str(crew.root / "head.json"), "--json")
    assert found.code == 0, found
    # Of the end of the run, of the promotion, by hand, and of the bundle; and once more from the file.
    assert found.json["signed"] >= 4
    assert len(found.json["keys"]) == 1
    assert crew.look("audit", "verify").stdout.rstrip().endswith("0 gaps")


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("update nc_events set data = replace(data, 'Greet', 'Greed') where seq = 3", "E-3"),
        ("update nc_events set actor = 'user:mallory' where seq = 6", "E-6"),
        ("delete from nc_events where seq = 8", "E-8"),
        ("delete from nc_events where seq > 20", "E-21"),
        ("update nc_events set kind = 'journal.stub', data = '{}', at = '', actor = '', task = '', attempt = '' where seq = 7", "E-7"),
        ("update nc_events set data = 'x' where seq = 5", "E-5"),
    ],
)  # fmt: skip
def test_the_first_bad_record_is_named(crew: Hermetic, statement: str, first: str) -> None:
    tamper(crew, statement)
    done = refused(crew)
    assert f"first bad record: {first}\n" in done.stderr, done


def test_two_records_that_changed_places(crew: Hermetic) -> None:
    swap = "update nc_events set seq = {} where seq = {}"
    tamper(crew, swap.format(-1, 10), swap.format(10, 12), swap.format(12, -1))
    assert "first bad record: E-10\n" in refused(crew).stderr


def test_an_answer_that_was_edited_in_its_own_row_is_noticed(crew: Hermetic) -> None:
    tamper(
        crew,
        "update nc_tasks set state = 'failed', body = replace(body, '\"state\":\"succeeded\"', '\"state\":\"failed\"') where id = 'R-1/T02'",
    )
    assert "R-1/T02 is 'failed', but E-" in refused(crew).stderr


EDITS = {
    "run": ("nc_runs", "R-1", "'$.settings.budget', json_object('usd', 999)"),
    "plan": ("nc_plans", "R-1/P1", "'$.digest', 'another'"),
    "task": ("nc_tasks", "R-1/T01", "'$.title', 'another'"),
    "attempt": ("nc_attempts", "R-1/T01/1", "'$.progress', json_object()"),
    "approval": ("nc_approvals", "A-1", "'$.digest', 'another'"),
    "grant": ("nc_approvals", "A-1", "'$.uses', 99"),
    "checkpoint": ("nc_checkpoints", "C-1", "'$.tree', 'another'"),
    "promotion": ("nc_promotions", "M-1", "'$.new_commit', 'another'"),
    "budget": ("nc_ledgers", "2026-01-01/R-1/claude", "'$.usage', json_object('usd', 0)"),
}


def ask_and_spend(crew: Hermetic) -> None:
    """Add a question and an account, as the engine does."""
    from nightcrew.host.clock import SystemClock
    from nightcrew.journal import Journal
    from nightcrew.model.records import ApprovalRecord, LedgerRecord

    journal = Journal.open(f"sqlite:///{crew.state}/nightcrew.db", clock=SystemClock())
    with journal.write() as tx:
        words = (
            "d" * 64,
            {"kind": "exec"},
            "make",
            "r",
            "policy.yaml:1",
            "asks",
            "low",
            "agent",
            "2026-01-01",
        )
        question = ApprovalRecord(tx.next_id("A"), "action", "pending", "R-1", "R-1/T01", *words)
        asked = tx.add(question, "approval.requested")
        assert asked.id == "A-1"
        account = LedgerRecord("2026-01-01/R-1/claude", "2026-01-01", "2026-01", "R-1", "claude")
        account = tx.add(account, "ledger.opened")
    with journal.write() as tx:  # without an event of its own
        tx.change(account, "", usage={"usd": 3})
    journal.close()


@pytest.mark.parametrize("kind", EDITS)
def test_a_body_that_was_edited_beside_the_events_is_named_with_its_last_event(
    crew: Hermetic, kind: str
) -> None:
    ask_and_spend(crew)
    assert crew.run("audit", "verify", "--json").json["unbound"] == 0
    table, name, change = EDITS[kind]
    tamper(crew, f"update {table} set body = json_set(body, {change}) where id = '{name}'")
    done = refused(crew)
    assert f"{name} was changed after E-" in done.stderr, done
    assert "first bad record: E-" in done.stderr


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("delete from nc_tasks where id = 'R-1/T02'", "R-1/T02 is missing: E-"),
        ("delete from nc_stretches where run = 'R-1'", "E-1 is not in the list that finds events by run"),
        ("delete from nc_promotions", "M-1 is missing: E-"),
        ("update nc_tasks set name = 'T09' where id = 'R-1/T02'", "'name' of R-1/T02 is not what its body says"),
        ("insert into nc_plans select 'R-1/P9', sort, run, body from nc_plans", "no event tells of R-1/P9"),
        ("update nc_checkpoints set body = (select body from nc_checkpoints o where o.id != nc_checkpoints.id)", "was changed after E-"),
    ],
)  # fmt: skip
def test_rows_that_were_deleted_added_or_changed_places(crew: Hermetic, statement: str, said: str) -> None:
    tamper(crew, statement)
    assert said in refused(crew).stderr


def test_records_from_before_they_were_bound_are_told_as_older_and_bound_when_they_change(
    crew: Hermetic,
) -> None:
    """Take the digests out of the events, with right hashes, as an older nightcrew wrote them."""
    strip_bound(crew)
    found = crew.run("audit", "verify")
    assert (found.code, "not bound (older)" in found.stdout) == (0, True), found
    before = crew.run("audit", "verify", "--json").json
    assert (before["bound"], before["unbound"] > 5) == (0, True)
    assert crew.run("undo", "M-1", "--yes").code == 0
    after = crew.run("audit", "verify", "--json").json
    assert after["bound"] > 0
    assert after["unbound"] < before["unbound"]


def strip_bound(crew: Hermetic) -> None:
    from nightcrew.model import canonical
    from nightcrew.model.events import Event, compute_hash

    connection = sqlite3.connect(crew.state / "nightcrew.db")
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute("select * from nc_events where kind != 'journal.signed' order by seq")]  # fmt: skip
    connection.execute("delete from nc_events")
    connection.execute("delete from nc_heads")
    last: dict[str, tuple[int, str]] = {}
    for seq, row in enumerate(rows, 1):
        data = json.loads(row["data"])
        data.pop("bound", None)
        number, prev = last.get(row["run"], (0, "0" * 64))
        event = Event(**{**row, "seq": seq, "data": data, "prev": prev, "hash": ""})
        last[event.run] = (number + 1, compute_hash(event))
        values = (seq, event.at, event.kind, event.run, event.task, event.attempt, event.actor, canonical.encode(data), prev, last[event.run][1])  # fmt: skip
        connection.execute("insert into nc_events values (?,?,?,?,?,?,?,?,?,?)", values)
        connection.execute("insert or replace into nc_heads values (?,?,?,?)", (event.run, number + 1, seq, last[event.run][1]))  # fmt: skip
    connection.execute("update nc_counters set value = ? where name = 'E'", (len(rows),))
    connection.commit()
    connection.close()
    (crew.state / "signing" / "last.head").unlink()


def test_a_database_whose_file_was_cut_off_is_damage(crew: Hermetic) -> None:
    database = crew.state / "nightcrew.db"
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 3)
    done = refused(crew)
    assert "the database cannot be read" in done.stderr or "does not verify" in done.stderr, done


def test_two_writers_at_once_leave_one_chain(crew: Hermetic) -> None:
    logs = [crew.root / f"writer{number}.log" for number in range(4)]
    for number, log in enumerate(logs):
        crew.start("audit", "head", "--sign", "-o", str(crew.root / f"w{number}.json"), log=log)
    crew.wait_until(lambda: all((crew.root / f"w{n}.json").exists() for n in range(4)), what="four heads")
    assert crew.look("audit", "verify").code == 0


def test_what_is_old_is_emptied_under_a_signature_and_still_verifies(crew: Hermetic) -> None:
    ask = ("audit", "prune", "--before", "1s", "--dry-run", "--json")
    crew.wait_until(lambda: bool(crew.run(*ask).json["runs"]), what="a run that was over a second ago")
    assert crew.run("audit", "prune", "--before", "1s").code == 2  # nobody is there to be asked
    dry = crew.run("audit", "prune", "--before", "1s", "--dry-run", "--json").json
    assert dry["runs"] == ["R-1"]
    head = str(crew.root / "head.json")
    done = crew.run("audit", "prune", "--before", "1s", "--yes")
    assert done.code == 0, done
    found = crew.look("audit", "verify", "--against", head, "--json").json
    assert found["emptied"] == dry["events"]
    # What bound the records of the run stands in the act that emptied its events.
    assert found["bound"] > 5
    assert "Greet" not in crew.run("audit", "export", "--run", "R-1").stdout
    assert crew.look("show", "R-1").code == 0
    assert crew.look("why", "R-1/T01").code == 0
    made = crew.run("audit", "bundle", "R-1", "-o", str(crew.root / "late.tar.gz"), "--force")
    assert made.code == 0, made
    assert crew.look("audit", "verify", "--bundle", str(crew.root / "late.tar.gz")).code == 0
    tamper(crew, "update nc_events set hash = prev where seq = 4")
    assert "first bad record: E-" in refused(crew).stderr
