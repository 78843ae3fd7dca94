"""Working hours of roles on a real engine with a clock that can be moved; and how sure an agent says it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import Rig, task
from nightcrew.engine.course.schedule import Frontier
from nightcrew.engine.course.shifts import OUTSIDE, Shifts
from nightcrew.engine.work.certainty import parse_certainty
from nightcrew.host.clock import SystemClock, stamp
from nightcrew.model.plans import Plan
from nightcrew.model.records import RunRecord
from nightcrew.policy.load import default_policy
from nightcrew.policy.roles.putting import put_on
from nightcrew.policy.roles.reading import parse_role

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOURS = {"since": 13 * 60, "until": 15 * 60, "days": list(range(7)), "zone": "UTC", "source": "qa.yaml:9"}
ROLES = {"qa": {"source": "qa.yaml", "hours": [HOURS]}}
OPEN = "authority: {autonomous: [run *, change **], requires_approval: [run x], forbidden: [run y]}\n"


class MovedClock(SystemClock):
    """The machine's clock, moved by hand."""

    def __init__(self) -> None:
        self.offset = NOON - datetime.now(UTC)

    def now(self) -> datetime:
        return super().now() + self.offset

    def move_to(self, moment: datetime) -> None:
        self.offset = moment - datetime.now(UTC)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.clock = MovedClock()
    under = put_on(default_policy(), [parse_role(OPEN, "qa", "qa.yaml")])
    plain = rig.open_workspace
    rig.open_workspace = lambda run: replace(plain(run), roles={"qa": under})  # type: ignore[method-assign]
    yield rig
    rig.close()


def begin(rig: Rig, *tasks: Any) -> str:
    """An approved run whose role has hours, and tasks whose records say their role."""
    run = rig.add_run(*tasks)
    with rig.journal.write() as tx:
        record = tx.need(RunRecord, run)
        tx.change(record, "", settings={**record.settings, "roles": ROLES})
        for each, planned in zip(rig.tasks(run), tasks, strict=True):
            tx.change(each, "", role=planned.role)
    return run


def look(rig: Rig, run: str) -> None:
    """Ring the bell of the run's board, as any change does."""
    with rig.journal.write() as tx:
        tx.append("run.looked", run=run)


def until(rig: Rig, run: str, what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end, [(each.name, each.state, each.reason) for each in rig.tasks(run)]
        look(rig, run)
        time.sleep(0.05)


def states(rig: Rig, run: str) -> list[str]:
    return [each.state for each in rig.tasks(run)]


def test_a_task_waits_for_the_hours_of_its_role_and_others_go_on(rig: Rig) -> None:
    tasks = (
        task("1", "echo 1 > one.txt", role="qa"),
        task("2", "echo 2 > two.txt"),
        task("3", "echo 3 > c", role="qa", depends=["T01"]),
    )
    run = begin(rig, *tasks)
    with rig.hosting() as engine:
        engine.submit(run)
        until(rig, run, lambda: states(rig, run)[1] == "succeeded" and bool(rig.tasks(run)[0].opens_at))
        first, _, third = rig.tasks(run)
        assert (first.state, first.opens_at) == ("pending", stamp(NOON + timedelta(hours=1)))
        assert first.reason.startswith(f"{OUTSIDE} qa (13:00-15:00 (UTC), qa.yaml:9)")
        # What waits for another task does not say that it waits for its hours.
        assert third.opens_at == ""
        # Waiting for a time is not waiting for a person: a host stays for it.
        assert not engine.is_idle()
        rig.clock.move_to(NOON + timedelta(hours=1, minutes=1))
        until(rig, run, lambda: states(rig, run) == ["succeeded"] * 3)
    with rig.journal.read() as tx:
        kinds = [event.kind for event in tx.events(task=f"{run}/T01") if event.kind.startswith("task.")]
    assert kinds.index("task.waiting") < kinds.index("task.hours_began") < kinds.index("task.started")
    assert kinds.count("task.waiting") == 1
    assert rig.tasks(run)[0].reason == ""


def test_what_runs_when_the_hours_end_is_paused_and_goes_on_by_itself(rig: Rig) -> None:
    rig.clock.move_to(NOON + timedelta(hours=2))
    run = begin(rig, task("1", "echo 1 >> one.txt; sleep 6; echo 2 >> one.txt", role="qa"))
    with rig.hosting() as engine:
        engine.submit(run)
        until(rig, run, lambda: any(each.state == "running" for each in rig.attempts(f"{run}/T01")))
        rig.clock.move_to(NOON + timedelta(hours=4))
        until(rig, run, lambda: states(rig, run) == ["paused"] and bool(rig.tasks(run)[0].opens_at))
        held = rig.tasks(run)[0]
        assert held.reason.startswith(OUTSIDE)
        assert held.opens_at == "2026-11-22T13:00:00.000000Z"
        assert not engine.is_idle()
        rig.clock.move_to(NOON + timedelta(days=1, hours=2))
        until(rig, run, lambda: states(rig, run) == ["succeeded"])
    assert rig.read(f"{run}/T01", "one.txt").endswith("2\n")


def test_a_host_that_comes_back_finds_what_waits_for_its_hours(rig: Rig) -> None:
    run = begin(rig, task("1", "echo 1 > one.txt", role="qa"))
    with rig.hosting() as engine:
        engine.submit(run)
        until(rig, run, lambda: bool(rig.tasks(run)[0].opens_at))
    rig.clock.move_to(NOON + timedelta(hours=2))
    with rig.hosting() as engine:
        engine.submit(run)
        until(rig, run, lambda: states(rig, run) == ["succeeded"])


def test_hours_that_never_meet_are_told_without_end() -> None:
    other = {**HOURS, "since": 16 * 60, "until": 17 * 60}
    run = RunRecord(
        "R-1",
        "running",
        "",
        "",
        "",
        "",
        "",
        1,
        "",
        "",
        "",
        "",
        settings={"roles": {"qa": {"hours": [HOURS, other]}}},
    )
    shifts = Shifts(run)
    assert shifts.find_closed(NOON + timedelta(hours=2)) == {"qa"}
    assert shifts.opens_at("qa", NOON) > NOON + timedelta(days=7)
    assert Shifts(replace(run, settings={})).next_change(NOON) is None


def test_held_tasks_leave_their_slot_to_others() -> None:
    plan = Plan("t", "t.md", "c", "p", tuple(task(str(each)) for each in range(1, 5)))
    frontier = Frontier(plan, {}, 2)
    frontier.hold(["T01", "T02"])
    assert frontier.moves().start == ("T03", "T04")
    assert frontier.take_ready_held() == {"T01", "T02"}
    assert frontier.take_ready_held() == set()
    frontier.release(["T01"])
    assert frontier.moves().start == ("T01", "T03")


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (["confidence: 0.8"], 0.8),
        (["**Confidence:** 85%"], 0.85),
        (["confidence: 1"], 1.0),
        (["confidence = .5"], None),
        (["confidence: 0.9", "more talk", "- confidence: 0.4"], 0.4),
        (["confidence: 85"], None),
        (["my confidence: is low"], None),
        (["confidence: 0.9 or so"], None),
        (["done"], None),
        ([], None),
        (["confidence: -1"], None),
    ],
)
def test_how_sure_an_agent_is_is_the_last_line_that_says_it(said: list[str], number: float | None) -> None:
    assert parse_certainty(said) == number


def test_a_task_that_a_person_paused_stays_paused_when_its_hours_begin(rig: Rig) -> None:
    from nightcrew.engine.course import pausing
    from nightcrew.runtime.resting import find_rest

    run = begin(rig, task("1", "echo 1 > one.txt", role="qa"))
    with rig.hosting() as engine:
        engine.submit(run)
        until(rig, run, lambda: bool(rig.tasks(run)[0].opens_at))
        with rig.journal.write() as tx:
            pausing.request(tx, f"{run}/T01", actor="user:tester", reason="not tonight")
        until(rig, run, lambda: states(rig, run) == ["paused"])
        with rig.journal.read() as tx:
            assert find_rest(tx, tx.need(RunRecord, run)) == "waiting"
        rig.clock.move_to(NOON + timedelta(hours=2))
        for _ in range(10):
            look(rig, run)
            time.sleep(0.05)
        assert states(rig, run) == ["paused"]
        rig.clock.move_to(NOON)
        with rig.journal.write() as tx:
            pausing.release(tx, f"{run}/T01", actor="user:tester")
        # Outside of its hours a resumed task waits for them, and says so again.
        until(rig, run, lambda: rig.tasks(run)[0].reason.startswith(OUTSIDE))
        rig.clock.move_to(NOON + timedelta(hours=2))
        until(rig, run, lambda: states(rig, run) == ["succeeded"])
