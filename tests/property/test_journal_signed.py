"""A signed journal: whatever single cell of events, ends or counter is changed is noticed, and so is a whole that was written anew."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nightcrew.host.signing import need_key
from nightcrew.journal import Journal
from nightcrew.journal.heads import PRUNED
from nightcrew.model.events import GENESIS, Event, compute_hash
from nightcrew.runtime.evidence.sealing import record_head

FEW = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
AT = "2025-01-01T00:00:00.000000Z"


class Stopped:
    """A clock that stands still."""

    def now(self):
        return datetime(2025, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        return None


@cache
def a_key():
    with tempfile.TemporaryDirectory() as place:
        return need_key(Path(place) / "journal.key")


def made(place):
    """Two runs, heads signed in between, one run emptied; thirteen events."""
    journal = Journal.open(f"sqlite:///{place}/n.db", clock=Stopped())
    heads = []
    for number in range(3):
        with journal.write() as tx:
            tx.append("a.b", run="R-1", data={"n": number})
            tx.append("c.d", run="R-2", data={"text": f"caf\u00e9 {number}"})
        with journal.write() as tx:
            heads.append(record_head(tx, a_key(), at=AT, actor="engine"))
    with journal.write() as tx:
        number, digest = tx.empty("R-1")
        tx.append(PRUNED, data={"runs": {"R-1": {"events": number, "digest": digest}}})
        heads.append(record_head(tx, a_key(), at=AT, actor="engine"))
    return journal, heads


def run_sql(journal, statement, **values):
    with journal.engine.connect() as connection:
        result = connection.execute(sa.text(statement), values)
        rows = result.all() if result.returns_rows else []
        connection.commit()
        return rows


def test_it_verifies_as_made():
    with tempfile.TemporaryDirectory() as place:
        journal, heads = made(place)
        found = journal.verify(heads)
        assert (found.ok, found.events, found.emptied, found.signed) == (True, 11, 3, 8), found
        assert found.keys == (a_key().public,)
        journal.close()


@FEW
@given(st.data())
def test_any_cell_that_is_changed_is_noticed(data):
    with tempfile.TemporaryDirectory() as place:
        journal, _ = made(place)
        table, key, columns = data.draw(
            st.sampled_from(
                [
                    (
                        "nc_events",
                        "seq",
                        ["at", "kind", "run", "task", "attempt", "actor", "data", "prev", "hash"],
                    ),
                    ("nc_heads", "chain", ["length", "seq", "hash"]),
                    ("nc_counters", "name", ["value"]),
                ]
            )
        )
        names = [row[0] for row in run_sql(journal, f"select {key} from {table} order by 1")]
        name = "E" if table == "nc_counters" else data.draw(st.sampled_from(names))
        column = data.draw(st.sampled_from(columns))
        new = data.draw(
            st.sampled_from(
                ["", "x", "{}", "0" * 64, "R-1", "R-2", "journal.stub", "journal.signed", '{"a":1}', 0, 3, 7]
            )
        )
        (old,) = run_sql(journal, f"select {column} from {table} where {key} = :k", k=name)[0]
        assume(str(new) != str(old))
        run_sql(journal, f"update {table} set {column} = :v where {key} = :k", v=new, k=name)
        found = journal.verify()
        assert not found.ok
        if table == "nc_events":
            assert found.first_bad <= 11
        journal.close()


@FEW
@given(st.integers(1, 11), st.sampled_from(["delete", "swap"]))
def test_any_event_that_is_taken_out_or_moved_is_named(seq, act):
    with tempfile.TemporaryDirectory() as place:
        journal, _ = made(place)
        if act == "delete":
            run_sql(journal, "delete from nc_events where seq = :s", s=seq)
        else:
            other = seq % 11 + 1
            for new, old in ((-1, seq), (seq, other), (other, -1)):
                run_sql(journal, "update nc_events set seq = :n where seq = :o", n=new, o=old)
            seq = min(seq, other)
        found = journal.verify()
        assert not found.ok
        # A stub has no hash of its own to check: that it stands elsewhere is seen at the next of its chain at the latest.
        assert found.first_bad == seq or run_sql(
            journal, "select kind from nc_events where seq = :s", s=seq
        ) == [("journal.stub",)]
        journal.close()


@FEW
@given(st.data())
def test_a_journal_written_anew_from_any_event_on_is_noticed_by_a_head_kept_elsewhere(data):
    """Somebody who may write the database, has no key, and takes all signed heads and acts out of it."""
    with tempfile.TemporaryDirectory() as place:
        journal, heads = made(place)
        head = data.draw(st.sampled_from(heads[:3]))
        changed = data.draw(st.integers(1, head.statement.seq))
        rows = [dict(row._mapping) for row in run_sql(journal, "select * from nc_events order by seq")]
        last = {}
        for row in rows:
            kind = (
                "forged.event" if row["seq"] == changed or row["kind"].startswith("journal.") else row["kind"]
            )
            event = Event(
                row["seq"], AT, kind, row["run"], "", "", "engine", {}, last.get(row["run"], GENESIS)
            )
            last[row["run"]] = compute_hash(event)
            run_sql(
                journal,
                "update nc_events set at=:a, kind=:k, actor='engine', data='{}', prev=:p, hash=:h where seq=:s",
                a=AT, k=kind, p=event.prev, h=last[row["run"]], s=row["seq"],
            )  # fmt: skip
        for chain, end in last.items():
            run_sql(journal, "update nc_heads set hash = :h where chain = :c", h=end, c=chain)
        assert journal.verify().ok  # without a head from elsewhere nothing can be seen
        found = journal.verify([head])
        assert not found.ok
        assert 0 < found.first_bad <= head.statement.seq
        journal.close()
