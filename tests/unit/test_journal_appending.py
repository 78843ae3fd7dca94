"""The two ways to the end of the journal write the same; older layouts are taken over."""

from __future__ import annotations

from contextlib import suppress

import pytest
import sqlalchemy as sa

from journal_samples import Ticking, a_run
from nightcrew.journal import Journal, transaction
from nightcrew.journal.appending import Direct, Portable
from nightcrew.journal.tables import SCHEMA
from nightcrew.model.errors import EngineUnavailable, JournalDamaged
from nightcrew.model.records import RunRecord


@pytest.fixture(params=[Direct, Portable])
def journal(request, tmp_path, monkeypatch):
    monkeypatch.setattr(transaction, "open_end", request.param)
    opened = Journal.open(f"sqlite:///{tmp_path}/n.db", clock=Ticking())
    yield opened
    opened.close()


def test_events_of_several_chains_in_several_transactions(journal):
    for number in range(3):
        with journal.write() as tx:
            assert tx.append("a.b", run="R-1", data={"n": number}) == 3 * number + 1
            tx.append("a.b")
            assert tx.last_seq() == 3 * number + 2
            assert len(tx.events(run="R-1")) == number + 1
            tx.append("a.b", run="R-2", actor="user:caf\udce9")
    found = journal.verify()
    assert (found.ok, found.events, found.chains) == (True, 9, 3)
    with journal.read() as tx:
        assert {name: head.count for name, head in tx.heads().items()} == {"": 3, "R-1": 3, "R-2": 3}
        assert len({event.at for event in tx.events()}) == 3  # one time for one transaction


def test_what_failed_leaves_nothing_and_the_next_one_goes_on(journal):
    with suppress(RuntimeError), journal.write() as tx:
        tx.append("a.b")
        tx.add(a_run(), "run.created")
        raise RuntimeError
    with journal.write(durable=True) as tx:
        assert tx.append("a.b") == 1
    with journal.read() as tx:
        assert tx.get(RunRecord, "R-1") is None
    assert journal.verify().events == 1


def interrupt_statement(tx) -> None:
    tx.connection.invalidate()  # what SQLAlchemy does with a connection whose statement was interrupted
    raise KeyboardInterrupt


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("way", ["write", "read"])
def test_an_interrupt_in_the_middle_of_a_statement_is_told_as_that(journal, way, durable):
    with journal.write() as tx:
        tx.append("a.b")
    opened = journal.write(durable=durable) if way == "write" else journal.read()
    with pytest.raises(KeyboardInterrupt), opened as tx:
        interrupt_statement(tx)
    with journal.write(durable=durable) as tx:
        assert tx.append("a.b") == 2
    assert journal.verify().ok


def test_a_counter_that_is_gone_stops_writing(journal):
    with journal.write() as tx:
        tx.append("a.b")
        tx.flush()
        tx.connection.execute(sa.text("delete from nc_counters where name = 'E'"))
    with pytest.raises(JournalDamaged, match="counter"), journal.write() as tx:
        tx.append("a.b")
    assert not journal.verify().ok


def test_a_number_that_is_taken_is_an_error_in_words(journal):
    with journal.write() as tx:
        tx.append("a.b")
        tx.append("a.b")
    with journal.write() as tx:
        tx.connection.execute(sa.text("update nc_counters set value = 1 where name = 'E'"))
    with pytest.raises((EngineUnavailable, sa.exc.IntegrityError)), journal.write() as tx:
        tx.append("a.b")


def test_a_database_of_the_first_layout_is_taken_over_by_reading_it(tmp_path):
    url = f"sqlite:///{tmp_path}/n.db"
    old = Journal.open(url, clock=Ticking())
    with old.write() as tx:
        tx.add(a_run(), "run.created")
    with old.engine.connect() as connection:
        for table in ("nc_ledgers", "nc_breakers"):
            connection.execute(sa.text(f"drop table if exists {table}"))
        connection.execute(sa.text("delete from nc_counters where name not in ('E', 'R', 'C', 'A', 'M')"))
        connection.execute(sa.text("update nc_schema set version = 1"))
        connection.commit()
    old.close()
    new = Journal.open(url, clock=Ticking())
    with new.read() as tx:
        assert tx.get(RunRecord, "R-1") == a_run()
        for cls in transaction.RECORDS:
            tx.find(cls)
    with new.engine.connect() as connection:
        versions = connection.execute(sa.text("select version from nc_schema order by 1")).scalars().all()
    assert versions == [1, SCHEMA]
    with new.write() as tx:
        tx.append("a.b")
    assert new.verify().ok
    new.close()


def test_many_texts_are_redacted_once_and_a_key_read_later_is_taken_out_all_the_same():
    from pathlib import Path

    from nightcrew.runtime.settings import keys

    searched = []

    def search(text):
        searched.append(text)
        return text.replace("secret", "[gone]")

    ring = keys.Keyring({}, Path("/"), search)
    assert [ring.redact("src/app.py") for _ in range(3)] == ["src/app.py"] * 3
    assert searched == ["src/app.py"]
    assert [ring.redact("a secret") for _ in range(2)] == ["a [gone]"] * 2
    assert ring.redact("the-key-of-somebody") == "the-key-of-somebody"
    keys._KNOWN["the-key-of-somebody"] = "[key]"
    try:
        assert ring.redact("the-key-of-somebody") == "[key]"
    finally:
        del keys._KNOWN["the-key-of-somebody"]
