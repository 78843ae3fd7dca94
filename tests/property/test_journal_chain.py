"""The chain against anything one can do to one record; the state tables against anything one can ask for."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nightcrew.journal import Journal
from nightcrew.model.errors import StaleError
from nightcrew.model.events import Event, compute_hash
from nightcrew.model.lifecycle import TABLES, IllegalMove
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    BreakerRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)


class Stopped:
    """A clock that stands still."""

    def now(self):
        return datetime(2025, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return 0.0

    def sleep(self, seconds):
        return None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EVENT = st.tuples(
    st.sampled_from(["", "R-1", "R-2"]),
    st.sampled_from(["a.b", "c.d"]),
    st.dictionaries(st.text(max_size=4), JSON, max_size=3),
)
BATCHES = st.lists(st.lists(EVENT, min_size=1, max_size=5), min_size=1, max_size=5)

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(place, batches):
    journal = Journal.open(f"sqlite:///{place}/n.db", clock=Stopped())
    for batch in batches:
        with journal.write() as tx:
            for run, kind, data in batch:
                tx.append(kind, run=run, data=data)
    return journal


def tamper(journal, *statements):
    with journal.engine.connect() as connection:
        for statement, values in statements:
            connection.execute(sa.text(statement), values)
        connection.commit()


def row(journal, seq):
    with journal.engine.connect() as connection:
        return dict(
            connection.execute(sa.text("select * from nc_events where seq = :s"), {"s": seq}).one()._mapping
        )


@FEW
@given(BATCHES)
def test_whatever_is_appended_verifies_and_comes_back(batches):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        flat = [event for batch in batches for event in batch]
        found = journal.verify()
        assert (found.ok, found.events, found.first_bad) == (True, len(flat), 0)
        assert found.chains == len({run for run, _, _ in flat})
        with journal.read() as tx:
            events = tx.events()
        assert [e.seq for e in events] == list(range(1, len(flat) + 1))
        assert [(e.run, e.kind, e.data) for e in events] == flat
        journal.close()


@FEW
@given(BATCHES, st.data())
def test_an_edit_of_any_field_is_named(batches, data):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        seq = data.draw(st.integers(1, sum(map(len, batches))))
        column = data.draw(
            st.sampled_from(["at", "kind", "run", "task", "attempt", "actor", "data", "prev", "hash"])
        )
        new = data.draw(st.sampled_from(["", "x", "{}", "0" * 64, "R-1", '{"a":1}', "null", "[", "{} "]))
        assume(new != row(journal, seq)[column])
        tamper(journal, (f"update nc_events set {column} = :v where seq = :s", {"v": new, "s": seq}))
        found = journal.verify()
        assert (found.ok, found.first_bad, found.head) == (False, seq, "")
        assert f"E-{seq}" in found.problem
        journal.close()


@FEW
@given(BATCHES, st.data())
def test_an_edit_with_a_right_hash_of_its_own_is_named(batches, data):
    """Rewritten by somebody who knows the format: the next of its chain, or the recorded end, gives it away."""
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        seq = data.draw(st.integers(1, sum(map(len, batches))))
        old = row(journal, seq)
        fields = {**old, "data": json.loads(old["data"]), "kind": "forged.event"}
        forged = compute_hash(Event(**fields))
        tamper(
            journal,
            ("update nc_events set kind = 'forged.event', hash = :h where seq = :s", {"h": forged, "s": seq}),
        )
        with journal.read() as tx:
            followers = [e.seq for e in tx.events(after=seq) if e.run == old["run"]]
        found = journal.verify()
        assert not found.ok
        assert found.first_bad == (followers[0] if followers else seq)
        journal.close()


@FEW
@given(BATCHES, st.data())
def test_a_deletion_is_named(batches, data):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        seq = data.draw(st.integers(1, sum(map(len, batches))))
        tamper(journal, ("delete from nc_events where seq = :s", {"s": seq}))
        found = journal.verify()
        assert (found.ok, found.first_bad) == (False, seq)
        assert "missing" in found.problem
        journal.close()


@FEW
@given(BATCHES, st.data())
def test_a_cut_tail_is_named(batches, data):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        keep = data.draw(st.integers(0, sum(map(len, batches)) - 1))
        tamper(journal, ("delete from nc_events where seq > :s", {"s": keep}))
        if data.draw(st.booleans()):
            # The counter was set back too; the recorded ends of the chains still know.
            tamper(journal, ("update nc_counters set value = :s where name = 'E'", {"s": keep}))
            assert not journal.verify().ok
        else:
            found = journal.verify()
            assert (found.ok, found.first_bad) == (False, keep + 1)
        journal.close()


@FEW
@given(BATCHES, st.data())
def test_two_that_changed_places_are_named(batches, data):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        total = sum(map(len, batches))
        assume(total > 1)
        one = data.draw(st.integers(1, total - 1))
        two = data.draw(st.integers(one + 1, total))
        swap = "update nc_events set seq = :new where seq = :old"
        tamper(
            journal,
            (swap, {"new": -1, "old": one}),
            (swap, {"new": one, "old": two}),
            (swap, {"new": two, "old": -1}),
        )
        found = journal.verify()
        assert (found.ok, found.first_bad) == (False, one)
        journal.close()


@FEW
@given(BATCHES)
def test_an_event_added_past_the_counter_is_named(batches):
    with tempfile.TemporaryDirectory() as place:
        journal = written(place, batches)
        total = sum(map(len, batches))
        last = row(journal, total)
        event = Event(total + 1, last["at"], "forged.event", last["run"], "", "", "engine", {}, last["hash"])
        values = {
            **last,
            "seq": total + 1,
            "kind": event.kind,
            "task": "",
            "attempt": "",
            "actor": "engine",
            "data": "{}",
        }
        values |= {"prev": last["hash"], "hash": compute_hash(event)}
        names = ", ".join(values)
        tamper(journal, (f"insert into nc_events ({names}) values (:{', :'.join(values)})", values))
        found = journal.verify()
        assert (found.ok, found.first_bad) == (False, total + 1)
        journal.close()


RECORDS = {
    "run": RunRecord("R-1", "", "t", "/r", "k", "c", "t", 1, "d", "p", "u", "2025"),
    "task": TaskRecord("R-1/T01", "R-1", "T01", 0, "", "t", "command"),
    "attempt": AttemptRecord("R-1/T01/1", "R-1", "R-1/T01", 1, "", "a", "n", "2025"),
    "approval": ApprovalRecord(
        "A-1", "action", "", "R-1", "R-1/T01", "d", {}, "s", "r", "f", "w", "low", "q", "2025"
    ),
    "promotion": PromotionRecord("M-1", "R-1", "", (), "b", "o", "n", "t", (), "u", "2025"),
    "breaker": BreakerRecord("claude", ""),
}


@pytest.mark.parametrize("machine", sorted(TABLES))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_records_move_exactly_as_their_table_says(machine, data):
    from dataclasses import replace

    table = TABLES[machine]
    states = st.sampled_from(sorted(table))
    with tempfile.TemporaryDirectory() as place:
        journal = Journal.open(f"sqlite:///{place}/n.db", clock=Stopped())
        with journal.write() as tx:
            record = tx.add(replace(RECORDS[machine], state=data.draw(states)), "thing.added")
        told = 1
        for wanted in data.draw(st.lists(states, max_size=8)):
            allowed = wanted in table[record.state] or wanted == record.state
            try:
                with journal.write() as tx:
                    record = tx.change(record, "thing.moved", state=wanted)
                assert allowed
                told += 1
            except IllegalMove:
                assert not allowed
            with journal.read() as tx:
                assert tx.get(type(record), record.id) == record
                assert tx.last_seq() == told
        assert journal.verify().ok
        journal.close()


@FEW
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["title", "reason", "tree"]), st.text(max_size=5)),
        max_size=10,
    )
)
def test_compare_and_swap_never_loses_a_change(steps):
    """Three hands with memories of different age: a change goes through exactly when its hand knows the present."""
    with tempfile.TemporaryDirectory() as place:
        journal = Journal.open(f"sqlite:///{place}/n.db", clock=Stopped())
        with journal.write() as tx:
            present = tx.add(
                TaskRecord("R-1/T01", "R-1", "T01", 0, "pending", "t", "command"), "task.created"
            )
        hands = [present] * 3
        for hand, field, value in steps:
            try:
                with journal.write() as tx:
                    changed = tx.change(hands[hand], "", **{field: value})
                assert hands[hand] == present
                present = changed
            except StaleError:
                assert hands[hand] != present
                with journal.read() as tx:
                    changed = tx.need(TaskRecord, "R-1/T01")
                assert changed == present
            hands[hand] = changed
        journal.close()


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=4) | st.integers(), JSON | st.sets(st.text(max_size=3)), max_size=4))
def test_what_is_written_in_one_pass_is_canonical(data):
    from nightcrew.journal.rows import clean, encode_clean
    from nightcrew.model import canonical

    def redact(text):
        return text.replace("0", "[gone]")

    try:
        wanted = canonical.encode(clean(data, redact))
    except TypeError:
        with pytest.raises(TypeError):
            encode_clean(data, redact)
    else:
        assert encode_clean(data, redact) == wanted


@settings(max_examples=200, deadline=None)
@given(
    st.tuples(*[st.text(max_size=6)] * 5),
    st.dictionaries(st.text(max_size=4), JSON, max_size=3),
    st.integers(1),
)
def test_an_event_is_hashed_by_the_text_of_its_canonical_json(names, data, seq):
    from nightcrew.journal.appending import chain
    from nightcrew.journal.chain import Head
    from nightcrew.model import canonical

    kind, run, task, attempt, actor = names
    at = "2025-11-21T13:40:02.000123Z"
    body = canonical.encode(data)
    (row,), ends = chain([(seq, at, kind, run, task, attempt, actor, body)], lambda name: Head())
    event = Event(seq, at, kind, run, task, attempt, row[6], data, row[8])
    assert row[9] == compute_hash(event)
    assert ends == {run: Head(1, seq, row[9])}
