"""Records and events: stored, found, changed, resolved. Real SQLite files."""

from __future__ import annotations

import json
import os

import pytest
import sqlalchemy as sa

from journal_samples import ODD, ONE_OF_EACH, Ticking, a_run, a_task
from nightcrew.journal import Journal
from nightcrew.journal.binding import Compared, digest_body
from nightcrew.journal.rows import encode_body
from nightcrew.model import canonical
from nightcrew.model.errors import JournalDamaged, NotFound, StaleError, UsageError
from nightcrew.model.events import GENESIS, compute_hash
from nightcrew.model.lifecycle import IllegalMove
from nightcrew.model.records import (
    ApprovalRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/state/nightcrew.db"


@pytest.fixture
def journal(url):
    opened = Journal.open(url, clock=Ticking())
    yield opened
    opened.close()


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda r: type(r).__name__)
def test_records_come_back_exactly(journal, url, record):
    with journal.write() as tx:
        assert tx.add(record, "thing.added") == record
        assert tx.get(type(record), record.id) == record
    again = Journal.open(url, clock=Ticking())
    with again.read() as tx:
        back = tx.get(type(record), record.id)
        assert back == record
        assert canonical.encode(back) == canonical.encode(record)
        assert tx.need(type(record), record.id) == record
        assert tx.find(type(record)) == [record]
        (event,) = tx.events()
        assert event.data["id"] == record.id
    again.close()


def test_ids_count_up_and_sort_in_counting_order(journal):
    with journal.write() as tx:
        assert [tx.next_id("R") for _ in range(11)] == [f"R-{n}" for n in range(1, 12)]
        assert tx.next_id("A") == "A-1"
        for number in (10, 9, 1):
            tx.add(a_run(f"R-{number}"), "run.created")
        for name in ("T10", "T02", "T02.10", "T02.9", "T100"):
            tx.add(a_task(f"R-1/{name}"), "task.created")
        with pytest.raises(KeyError):
            tx.next_id("E")
    with journal.write() as tx:
        assert tx.next_id("R") == "R-12"
    with journal.read() as tx:
        assert [r.id for r in tx.find(RunRecord)] == ["R-1", "R-9", "R-10"]
        assert [r.id for r in tx.find(RunRecord, newest=True, limit=2)] == ["R-10", "R-9"]
        assert [t.name for t in tx.find(TaskRecord)] == ["T02", "T02.9", "T02.10", "T10", "T100"]


def test_a_rolled_back_id_is_given_again(journal):
    with pytest.raises(KeyError), journal.write() as tx:
        tx.add(a_run(tx.next_id("R")), tx.next_id("no such kind"))
    with journal.write() as tx:
        assert tx.next_id("R") == "R-1"
        assert tx.find(RunRecord) == []
        assert tx.last_seq() == 0


def test_find(journal):
    with journal.write() as tx:
        for number in range(1, 7):
            state = "pending" if number % 2 else "blocked"
            tx.add(a_task(f"R-1/T0{number}", state=state, position=number % 3, agent="x"), "task.created")

    def names(**wanted):
        with journal.read() as tx:
            return [t.name for t in tx.find(TaskRecord, **wanted)]

    assert names(state="pending") == ["T01", "T03", "T05"]
    assert names(state=("pending", "blocked"), run="R-1") == [f"T0{n}" for n in range(1, 7)]
    assert names(state=()) == []
    assert names(state=["running"]) == []
    assert names(position=0) == ["T03", "T06"]
    assert names(position={0, 1}, state="pending") == ["T01", "T03"]
    assert names(position=0, limit=1, newest=True) == ["T06"]
    assert names(limit=2) == ["T01", "T02"]
    assert names(id="R-1/T04") == ["T04"]
    with pytest.raises(TypeError, match="a task has no colour"):
        names(colour="red")


def test_change_moves_by_the_table_and_tells(journal):
    with journal.write() as tx:
        task = tx.add(a_task("R-1/T01"), "task.created", actor="user:u", data={"why": "plan"})
        task = tx.change(task, "task.started", state="running", attempts=1)
        task = tx.change(task, "", title="new title")
        with pytest.raises(ValueError, match="needs an event"):
            tx.change(task, "", state="failed")
        with pytest.raises(IllegalMove):
            tx.change(task, "task.skipped", state="skipped")
        assert tx.get(TaskRecord, "R-1/T01") == task
    with journal.read() as tx:
        first, second = tx.events()
    assert (first.kind, first.actor, first.data) == (
        "task.created",
        "user:u",
        {"id": "R-1/T01", "state": "pending", "why": "plan"},
    )
    with journal.read() as tx:
        bound = digest_body(encode_body(task, str))
        assert tx.compare_rows(tx.verify()) == Compared(bound=1)
    # What the transaction has left of the record, a change without an event of its own included.
    assert second.data == {"id": "R-1/T01", "from": "pending", "to": "running", "bound": {"R-1/T01": bound}}
    assert (second.run, second.task, second.attempt) == ("R-1", "R-1/T01", "")
    assert task.title == "new title"


def test_events_of_records_name_their_place(journal):
    with journal.write() as tx:
        for record in ONE_OF_EACH:
            tx.add(record, "thing.added")
        places = [(e.run, e.task, e.attempt) for e in tx.events()]
    task, attempt = "R-1/T01", "R-1/T01/1"
    assert places == [
        ("R-1", "", ""), ("R-1", "", ""), ("R-1", task, ""), ("R-1", task, attempt),
        ("R-1", task, ""), ("R-1", task, attempt), ("R-1", "", ""),
    ]  # fmt: skip


def test_a_field_called_kind_or_actor_can_be_changed_too(journal):
    approval = next(r for r in ONE_OF_EACH if isinstance(r, ApprovalRecord))
    with journal.write() as tx:
        stored = tx.add(approval, "approval.opened")
        assert tx.change(stored, "approval.noted", kind="change").kind == "change"


def test_change_of_what_somebody_else_changed_is_stale(journal):
    with journal.write() as tx:
        read = tx.add(a_task("R-1/T01"), "task.created")
        tx.change(read, "task.started", state="running")
    with pytest.raises(StaleError, match="changed since") as caught, journal.write() as tx:
        tx.change(read, "task.cancelled", state="cancelled")
    assert caught.value.where == ("state: 'pending' → 'running'",)
    with journal.read() as tx:
        assert [e.kind for e in tx.events()] == ["task.created", "task.started"]
    with pytest.raises(NotFound), journal.write() as tx:
        tx.change(a_task("R-1/T99"), "task.started", state="running")


def test_the_same_id_twice_is_refused(journal):
    with journal.write() as tx:
        tx.add(a_run(), "run.created")
    with pytest.raises(StaleError, match="exists already"), journal.write() as tx:
        tx.add(a_run(), "run.created")


def test_redaction_happens_before_hash_and_disk(url, tmp_path):
    journal = Journal.open(url, clock=Ticking(), redact=lambda s: s.replace("hunter2", "hu…2"))
    with journal.write() as tx:
        tx.append("x.happened", data={"a": ["hunter2", {"b": "x hunter2 y"}], "n": 1})
        given = a_task("R-1/T01", title="hunter2", findings=({"message": "hunter2"},), tree="a" * 40)
        stored = tx.add(given, "task.created", data={"said": "hunter2"})
        assert stored.title == "hu…2"
        assert stored.findings == ({"message": "hu…2"},)
        # Whoever kept the record as it was given can go on with it, too.
        tx.change(given, "task.started", state="running", reason="because hunter2")
    assert journal.verify().ok
    journal.close()
    for name in os.listdir(tmp_path / "state"):
        assert b"hunter2" not in (tmp_path / "state" / name).read_bytes()


def test_digests_and_ids_are_never_redacted(url):
    journal = Journal.open(url, clock=Ticking(), redact=lambda s: "X")
    with journal.write() as tx:
        stored = tx.add(
            a_task("R-1/T01", tree="a" * 40, checkpoint="C-1"), "task.created", data={"digest": "b" * 64}
        )
        (event,) = tx.events()
    assert (stored.id, stored.run, stored.name, stored.state) == ("R-1/T01", "R-1", "T01", "pending")
    assert stored.tree == "a" * 40
    assert stored.title == "X"
    promotion = next(r for r in ONE_OF_EACH if isinstance(r, PromotionRecord))
    with journal.write() as tx:
        assert tx.add(promotion, "promotion.prepared").paths == promotion.paths
    assert event.data["digest"] == "b" * 64


def test_events(journal):
    with journal.write() as tx:
        number = tx.append("run.created", run="R-1", data={"b": (1, None), "a": ODD})
        tx.append("task.started", run="R-1", task="R-1/T01", actor=f"user:{ODD}")
        tx.append("task_x.odd", run="R-2")
        tx.append("engine.started")
        assert tx.last_seq() == 4
        assert len(tx.events()) == 4
        with pytest.raises(ValueError, match="needs a kind"):
            tx.append("")
        with pytest.raises(TypeError):
            tx.append("x.happened", data={"bad": object()})
    with journal.read() as tx:
        events = tx.events()
        assert [e.seq for e in events] == [1, 2, 3, 4]
        first = events[0]
        assert (number, first.seq) == (1, 1)
        assert first.prev == GENESIS
        assert first.id == "E-1"
        assert first.at == "2025-01-01T00:00:02.000000Z"
        assert first.data == {"a": ODD, "b": [1, None]}
        assert events[1].prev == first.hash
        assert events[2].prev == events[3].prev == GENESIS
        assert all(compute_hash(e) == e.hash for e in events)
        assert [e.seq for e in tx.events(after=2)] == [3, 4]
        assert [e.seq for e in tx.events(run="R-1")] == [1, 2]
        assert [e.seq for e in tx.events(task="R-1/T01")] == [2]
        assert [e.seq for e in tx.events(kinds=("task.*", "engine.started"))] == [2, 4]
        assert [e.seq for e in tx.events(limit=2, newest=True)] == [4, 3]
        assert [e.seq for e in tx.events(limit=2)] == [1, 2]


def test_resolve(journal):
    with journal.write() as tx:
        for number in (1, 12):
            tx.add(a_run(f"R-{number}"), "run.created")
        for task in ("R-1/T01", "R-1/T02.1", "R-12/T01", "R-12/T30"):
            tx.add(a_task(task), "task.created")
        tx.add(next(r for r in ONE_OF_EACH if isinstance(r, ApprovalRecord)), "approval.opened")
        seen = {
            text: tx.resolve(text)
            for text in (
                "R-1",
                "r-12",
                "R-1/t01",
                "r-1/1",
                "R-1/2.1",
                "R-1/T2.1",
                "2.1",
                "t30",
                "30",
                "a-1",
                "A",
                "R-12/T3",
                "c" * 0 + "R-12/30",
            )
        }
        assert seen == {
            "R-1": "R-1", "r-12": "R-12", "R-1/t01": "R-1/T01", "r-1/1": "R-1/T01", "R-1/2.1": "R-1/T02.1",
            "R-1/T2.1": "R-1/T02.1", "2.1": "R-1/T02.1", "t30": "R-12/T30", "30": "R-12/T30", "a-1": "A-1",
            "A": "A-1", "R-12/T3": "R-12/T30", "R-12/30": "R-12/T30",
        }  # fmt: skip
        assert tx.resolve("1", run="R-12") == "R-12/T01"
        assert tx.resolve("T3", run="R-12") == "R-12/T30"
        assert tx.resolve("1", kinds="A") == "A-1"
        assert tx.resolve("12", kinds="R") == "R-12"
        assert tx.resolve("e-3", kinds="E") == "E-3"
        for text, kinds in (("E-99", "E"), ("R-2", "R"), ("T99", "T"), ("M-1", "RTCAM")):
            with pytest.raises(NotFound, match=text):
                tx.resolve(text, kinds=kinds)
        for text in ("T01", "R", "R-1%", "", "a b"):
            with pytest.raises(UsageError):
                tx.resolve(text)
        with pytest.raises(UsageError, match="R-1/T01, R-12/T01"):
            tx.resolve("1")


def test_body_holds_unknown_and_misses_new_fields(journal):
    with journal.write() as tx:
        tx.add(a_task("R-1/T01"), "task.created")
        body = json.loads(tx.connection.execute(sa.text("select body from nc_tasks")).scalar_one())
        del body["generation"]
        body["from_the_future"] = 1
        tx.connection.execute(sa.text("update nc_tasks set body = :b"), {"b": json.dumps(body)})
        assert tx.get(TaskRecord, "R-1/T01") == a_task("R-1/T01")
        del body["agent"]
        tx.connection.execute(sa.text("update nc_tasks set body = :b"), {"b": json.dumps(body)})
        with pytest.raises(JournalDamaged, match="a task row"):
            tx.get(TaskRecord, "R-1/T01")


def test_a_record_of_an_older_version_can_be_changed(journal):
    with journal.write() as tx:
        run = tx.add(a_run(), "run.created")
        body = json.loads(tx.connection.execute(sa.text("select body from nc_runs")).scalar_one())
        del body["generation"], body["reason"]
        tx.connection.execute(sa.text("update nc_runs set body = :body"), {"body": canonical.encode(body)})
    with journal.write() as tx:
        read = tx.need(RunRecord, run.id)
        assert read == run
        assert tx.change(read, "run.renamed", title="new").title == "new"
    with journal.write() as tx, pytest.raises(StaleError):
        tx.change(read, "run.renamed", title="newer")


def test_records_are_counted_without_reading_them(journal):
    with journal.write() as tx:
        for number, state in enumerate(("pending", "running", "running"), 1):
            name = f"T0{number}"
            tx.add(TaskRecord(f"R-1/{name}", "R-1", name, number, state, "x", "command"), "task.created")
        assert tx.count(TaskRecord, "state", run="R-1") == {"pending": 1, "running": 2}
    with journal.read() as tx:
        assert tx.count(TaskRecord, "state", run="R-1") == {"pending": 1, "running": 2}
        assert tx.count(TaskRecord, "state", run="R-2") == {}
        assert tx.count(TaskRecord, "run") == {"R-1": 3}
        with pytest.raises(TypeError, match="no column title"):
            tx.count(TaskRecord, "title")
