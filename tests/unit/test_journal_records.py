"""Records and events: stored, found, changed, resolved. Real SQLite files."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from nightcrew.journal import Journal
from nightcrew.model import canonical
from nightcrew.model.errors import EngineUnavailable, JournalDamaged, NotFound, StaleError, UsageError
from nightcrew.model.events import GENESIS, compute_hash
from nightcrew.model.lifecycle import IllegalMove
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)


class Ticking:
    """A clock that goes on by one second with every look at it; sleeping moves it too."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        self.seconds += 1
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/state/nightcrew.db"


@pytest.fixture
def journal(url):
    opened = Journal.open(url, clock=Ticking())
    yield opened
    opened.close()


def a_run(run_id="R-1", **fields):
    start = RunRecord(run_id, "draft", "t", "/r", "key", "c", "t", 1, "d", "p", "user:u", "2025")
    return replace(start, **fields)


def a_task(task_id, **fields):
    run, name = task_id.split("/")
    return replace(TaskRecord(task_id, run, name, 0, "pending", "t", "command"), **fields)


ODD = os.fsdecode(b"caf\xe9\n")

ONE_OF_EACH = [
    a_run(settings={"a": [1, None, {"b": 1.5}], "π": "✓"}, title=ODD),
    PlanRecord("R-1/P1", "R-1", 1, "d", {"tasks": [{"id": "T01"}]}, flags=({"task": "T01"},), policies=()),
    a_task("R-1/T01", findings=({"path": ODD}, {"n": None}), evidence=({"passed": True, "exit_code": None},)),
    AttemptRecord("R-1/T01/1", "R-1", "R-1/T01", 1, "starting", "a", "n", "2025", progress={"steps": [1, 2]}),
    ApprovalRecord(
        "A-1",
        "action",
        "pending",
        "R-1",
        "R-1/T01",
        "d",
        {"kind": "exec"},
        "s",
        "r",
        "f:1",
        "why",
        "low",
        "q",
        "2025",
    ),
    CheckpointRecord(
        "C-1", "R-1", "R-1/T01", "R-1/T01/1", "", "b", "t", "c", "end", "2025", refused=("fifo: FIFO", ODD)
    ),
    PromotionRecord(
        "M-1", "R-1", "prepared", ("R-1/T01",), "refs/heads/main", "o", "n", "t", (ODD, "b"), "user:u", "2025"
    ),
]


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


def test_nothing_is_created_by_reading(journal, tmp_path):
    with journal.read() as tx:
        assert tx.get(RunRecord, "R-1") is None
        assert tx.find(TaskRecord, run="R-1") == []
        assert tx.events() == []
        assert tx.last_seq() == 0
        with pytest.raises(NotFound):
            tx.resolve("R-1")
        with pytest.raises(NotFound):
            tx.need(RunRecord, "R-1")
        with pytest.raises(TypeError, match="no colour"):
            tx.find(RunRecord, colour="red")
    assert journal.verify().ok
    assert journal.wait(0, 0.5) == 0
    assert os.listdir(tmp_path) == []


def test_reading_a_journal_that_does_not_exist_loads_no_database_code(url):
    import subprocess
    import sys

    script = (
        "import sys; from nightcrew.journal import Journal; from nightcrew.host.clock import SystemClock\n"
        "with Journal.open(sys.argv[1], clock=SystemClock()).read() as tx: tx.events()\n"
        "print([name for name in ('sqlalchemy', 'sqlite3') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_files_are_private(journal, tmp_path):
    old = os.umask(0)
    try:
        with journal.write() as tx:
            tx.append("x.happened")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    for name in os.listdir(tmp_path / "state"):
        assert stat.S_IMODE((tmp_path / "state" / name).stat().st_mode) == 0o600, name


def test_an_existing_directory_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o755)
    with Journal.open(f"sqlite:///{tmp_path}/n.db", clock=Ticking()).write() as tx:
        tx.append("x.happened")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["with space", "q?uery=1", "per%20cent", "ha#sh", "né"])
def test_odd_directories(tmp_path, name):
    opened = Journal.open(f"sqlite:///{tmp_path}/{name}/n.db", clock=Ticking())
    with opened.write() as tx:
        tx.append("x.happened")
    assert (tmp_path / name / "n.db").exists()
    opened.close()


def test_relative_path_is_refused():
    with pytest.raises(UsageError, match="absolute"):
        Journal.open("sqlite:///nightcrew.db", clock=Ticking())


def test_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(EngineUnavailable, match="cannot create"),
        Journal.open(f"sqlite:///{tmp_path}/file/n.db", clock=Ticking()).write(),
    ):
        pass


def test_file_that_is_no_database(tmp_path):
    (tmp_path / "n.db").write_bytes(b"this is not a database at all" * 100)
    with (
        pytest.raises(JournalDamaged),
        Journal.open(f"sqlite:///{tmp_path}/n.db", clock=Ticking()).read() as tx,
    ):
        tx.events()


def test_newer_layout_is_refused_and_left_alone(journal, url):
    with journal.write() as tx:
        tx.connection.execute(sa.text("update nc_schema set version = 99"))
    again = Journal.open(url, clock=Ticking())
    with pytest.raises(EngineUnavailable, match="newer nightcrew"), again.read():
        pass
    with pytest.raises(EngineUnavailable, match="newer nightcrew"), again.write():
        pass


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
    assert second.data == {"id": "R-1/T01", "from": "pending", "to": "running"}
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
        first = tx.append("run.created", run="R-1", data={"b": (1, None), "a": ODD})
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
        assert events[0] == first
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


def test_readers_see_one_moment(journal):
    with journal.write() as tx:
        tx.append("x.happened")
    with journal.read() as reader:
        assert reader.last_seq() == 1
        with journal.write() as tx:
            tx.append("x.happened")
        assert reader.last_seq() == 1
        assert len(reader.events()) == 1
    with journal.read() as reader:
        assert reader.last_seq() == 2


def test_writing_inside_writing_is_a_defect_and_said_at_once(journal):
    with pytest.raises(RuntimeError, match="inside another one"), journal.write(), journal.write():
        pass
    with journal.write() as tx:
        tx.append("x.happened")


def test_wait_sees_what_another_thread_wrote(url):
    from nightcrew.host.clock import SystemClock

    journal = Journal.open(url, clock=SystemClock())

    def write():
        with journal.write() as tx:
            tx.append("x.happened")

    threading.Timer(0.1, write).start()
    assert journal.wait(0, 10) == 1
    assert journal.wait(1, 0.05) == 1
    journal.close()


def test_durable_writing_is_flushed_and_the_next_one_is_not(journal):
    def level(tx):
        return tx.connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    with journal.write(durable=True) as tx:
        assert level(tx) == 2
        tx.append("promotion.published")
    with journal.write() as tx:
        assert level(tx) == 1


def test_connections_are_as_the_durable_engine_needs_them(journal):
    with journal.engine.connect() as connection:
        ask = lambda what: connection.exec_driver_sql(what).scalar_one()  # noqa: E731
        assert ask("PRAGMA journal_mode") == "wal"
        assert ask("PRAGMA busy_timeout") == 30_000
        assert ask("PRAGMA foreign_keys") == 1
        now = ask("SELECT unixepoch('subsec') * 1000")
        assert abs(now - datetime.now(UTC).timestamp() * 1000) < 5000
        assert ask("SELECT unixepoch('now')") == now // 1000
        assert connection.connection.dbapi_connection.isolation_level == "IMMEDIATE"


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


def test_database_that_is_kept_busy_is_said_so(journal, url):
    with journal.write() as tx:
        tx.append("x.happened")
    again = Journal.open(url, clock=Ticking())
    sa.event.listen(again.engine, "connect", lambda c, _: c.execute("PRAGMA busy_timeout=50"))
    again.close()
    with (
        journal.write(),
        pytest.raises(EngineUnavailable, match="another process kept the database"),
        again.write(),
    ):
        pass
    with again.write() as tx:
        tx.append("x.happened")
    again.close()


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
