"""The circuit breaker of an agent, as rows: opens, lets one try, closes, and forgets nothing over a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from nightcrew.engine.course import breaker
from nightcrew.host.clock import SystemClock, parse_stamp, stamp
from nightcrew.journal.journal import Journal
from nightcrew.model.records import BreakerRecord
from nightcrew.model.settings import Breaking

NOW = parse_stamp("2026-11-21T22:00:00.000000Z")
SETTINGS = Breaking()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path / 'j.db'}", clock=SystemClock())
    yield made
    made.close()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def fail(
    journal: Journal,
    when: float,
    kind: str = "agent",
    *,
    task: str = "R-1/T01",
    took: float = 60,
    agent: str = "claude",
) -> bool:
    with journal.write() as tx:
        return breaker.note_failure(
            tx,
            agent,
            kind,
            "it said no",
            task=task,
            began=stamp(at(when - took)),
            now=stamp(at(when)),
            settings=SETTINGS,
        )


def state(journal: Journal) -> str:
    with journal.read() as tx:
        record = tx.get(BreakerRecord, "claude")
    return record.state if record else "none"


def may_try(journal: Journal, when: float, task: str = "R-1/T01") -> bool:
    with journal.write() as tx:
        return breaker.let_try(tx, "claude", task, at(when))


def test_two_failures_within_the_window_open_it_and_old_ones_do_not_count(journal: Journal) -> None:
    assert not fail(journal, 0)
    assert not fail(journal, 301)
    assert state(journal) == "closed"
    assert fail(journal, 400)
    assert state(journal) == "open"
    with journal.read() as tx:
        until, why = breaker.find_hold(tx, "claude", at(401))
        assert until == stamp(at(520))
        assert "agent: it said no" in why
        assert breaker.read_breakers(tx)["claude"].state == "open"
        # Its time has come: it is held no more, until somebody takes the try.
        assert breaker.find_hold(tx, "claude", at(520)) == ("", "")


@pytest.mark.parametrize("kind", sorted(breaker.LASTING))
def test_one_that_will_not_pass_opens_it_at_once(journal: Journal, kind: str) -> None:
    assert fail(journal, 0, kind)


@pytest.mark.parametrize(
    "kind", ["denied", "cancelled", "disk", "memory", "conflict", "lost", "network", "internal"]
)
def test_what_is_not_the_agents_own_does_not_count(journal: Journal, kind: str) -> None:
    assert not any(fail(journal, when, kind) for when in range(5))
    assert state(journal) in ("none", "closed")


def test_one_attempt_tries_and_what_becomes_of_it_decides(journal: Journal) -> None:
    fail(journal, 0)
    fail(journal, 10)
    assert not may_try(journal, 100)
    assert may_try(journal, 131, "R-1/T01")
    assert state(journal) == "half_open"
    assert not may_try(journal, 132, "R-2/T09")
    assert may_try(journal, 132, "R-1/T01"), "asked again by a host that was restarted"
    assert fail(journal, 140)
    with journal.read() as tx:
        assert breaker.find_hold(tx, "claude", at(141))[0] == stamp(at(380)), "twice as long as before"
    assert may_try(journal, 381)
    with journal.write() as tx:
        breaker.note_success(tx, "claude", "R-1/T01")
    assert state(journal) == "closed"
    assert not fail(journal, 390), "what failed before is forgotten"


def test_a_trial_that_dies_with_its_host_counts_for_nothing(journal: Journal) -> None:
    fail(journal, 0)
    fail(journal, 10)
    assert may_try(journal, 131)
    assert not fail(journal, 150, "lost")
    assert may_try(journal, 150, "R-1/T02")


def test_what_it_made_being_refused_means_that_it_works(journal: Journal) -> None:
    fail(journal, 0)
    assert not fail(journal, 5, "acceptance")
    assert not fail(journal, 10)


def test_built_in_agents_have_none_and_a_person_can_close_one(journal: Journal) -> None:
    assert not any(fail(journal, when, agent="command") for when in range(5))
    fail(journal, 0)
    fail(journal, 1)
    with journal.write() as tx:
        assert breaker.reset(tx, "claude", actor="user:me")
        assert not breaker.reset(tx, "claude", actor="user:me")
        assert breaker.let_try(tx, "claude", "R-1/T01", at(2))
    with journal.read() as tx:
        kinds = [event.kind for event in tx.events()]
    assert kinds == ["breaker.made", breaker.OPENED, breaker.CLOSED]
