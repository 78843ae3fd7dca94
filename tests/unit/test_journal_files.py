"""The journal as a file: made, opened, refused, shared, flushed. Real SQLite files."""

from __future__ import annotations

import os
import stat
import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from journal_samples import Ticking
from nightcrew.journal import Journal
from nightcrew.model.errors import EngineUnavailable, JournalDamaged, NotFound, UsageError
from nightcrew.model.records import (
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
