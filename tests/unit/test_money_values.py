"""What money, time and repetition amount to, as values: budgets, reservations, slope, circles, streaks, times of day, prices."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from nightcrew.engine.books.budgets import Calendar, Limits, Scope, read_limits
from nightcrew.engine.books.reserving import Reservations
from nightcrew.engine.books.slope import Slope
from nightcrew.engine.course.rerouting import goes_on_by_itself, next_fallback
from nightcrew.engine.course.stops import Conditions, Streaks
from nightcrew.engine.work.looping import Loops
from nightcrew.host.calendar import describe_moment, local_day, next_moment
from nightcrew.model.actions import Action
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.settings import Looping
from nightcrew.model.usage import Budget, Price, Spent, Tokens, parse_budget
from nightcrew.policy.pricelibrary import find_library
from nightcrew.policy.prices import Prices, shipped_prices

ONE = Spent(Tokens(output=10), requests=1, usd=1.0)
TASK = TaskRecord("R-1/T01", "R-1", "T01", 0, "failed", "t", "claude")


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("25usd 2M 8h", Budget(25.0, 2_000_000, 0, 28800.0)),
        ("300 calls", Budget(calls=300)),
        ("30min", Budget(time_s=1800.0)),
        ("30m", Budget(tokens=30_000_000)),
        ("90s", Budget(time_s=90.0)),
    ],
)
def test_a_budget_is_read_and_written(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget == parse_budget(budget.describe())


def test_the_nearest_limit_counts_and_more_is_more_of_what_is_limited() -> None:
    budget = Budget(10.0, calls=4)
    assert budget.share(replace(ONE, requests=3)) == 0.75
    assert budget + Budget(5.0, tokens=9, calls=1) == Budget(15.0, calls=5)
    assert Budget(time_s=60).share(Spent(seconds=30)) == 0.5


def test_limits_are_kept_as_they_are_and_old_runs_have_those_they_had() -> None:
    limits = Limits(
        Budget(5.0), {"T01": Budget(1.0)}, 0.7, {"claude": Budget(calls=3)}, {"qa": Budget(2.0)},
        Calendar(Budget(9.0), Budget(time_s=60), "p.yaml:3"), "ask", {"claude": "local"}, 2.0,
    )  # fmt: skip
    run = RunRecord(*["x"] * 7, 1, *["x"] * 4, settings={"budget": limits.to_plain()})
    assert read_limits(run) == limits
    old = replace(run, settings={"budget": {"run": {"usd": 5.0, "tokens": 0}, "tasks": {}, "warn_at": 0.8}})
    assert read_limits(old) == Limits(Budget(5.0))


def test_of_all_that_is_asked_at_once_at_most_one_goes_beyond_a_budget() -> None:
    """Any number of agents, any order, any cost up to what was held: never two answers beyond the end."""
    for seed in range(300):
        chance = random.Random(seed)
        held, budget, spent, worst = Reservations(), Budget(chance.uniform(1, 20)), 0.0, 0.0
        under_way: dict[str, float] = {}
        for step in range(200):
            ticket, most = f"t{step}", chance.uniform(0.1, 6)
            scope = Scope("run", "R-1", "R-1", budget, Spent(requests=1, usd=spent))
            if scope.share < 1 and held.hold(ticket, [scope], Spent(requests=1, usd=most)):
                under_way[ticket] = most
                worst = max(worst, most)
            if under_way and chance.random() < 0.5:
                done = chance.choice(sorted(under_way))
                spent += under_way.pop(done) * chance.random()
                held.let_go(done)
        for done, most in under_way.items():
            spent += most
            held.let_go(done)
        assert spent <= budget.usd + worst


def test_a_question_waits_for_others_and_never_for_nobody() -> None:
    held = Reservations()
    scope = Scope("day", "2026-11-21", "", Budget(5.0), Spent(requests=1, usd=4.9))
    large = Spent(requests=1, usd=3.0)
    assert held.hold("a", [scope], large)
    assert not held.hold("b", [scope], large)
    other = replace(scope, of="run", name="R-2")
    assert held.hold("c", [other], large), "of another budget"
    held.let_go("a")
    assert held.hold("b", [scope], large)
    assert held.knows("b")
    assert not held.knows("a")


def test_nothing_is_held_against_what_was_spent_since_it_was_admitted() -> None:
    held = Reservations()
    spent = Scope("run", "R-1", "R-1", Budget(5.0), Spent(requests=1, usd=5.0))
    free = Scope("day", "2026-11-21", "", Budget(), Spent(requests=1, usd=5.0))
    assert not held.hold("a", [free, spent], Spent(requests=1, usd=0.1))
    assert not held.knows("a")
    assert held.hold("a", [free], Spent(requests=1, usd=0.1))


class Time:
    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 21, 22, tzinfo=UTC) + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def test_money_that_goes_much_faster_than_before_is_told_once() -> None:
    clock = Time()
    slope = Slope(clock)
    spent, told = 0.0, []
    for minute in range(120):
        clock.at_s = minute * 60
        usd = 0.05 if minute < 60 else 1.0
        spent += usd
        slope.note(Spent(requests=1, usd=usd))
        found = slope.look([Scope("run", "R-1", "R-1", Budget(60.0), Spent(requests=1, usd=spent))], 3.0)
        told += [(minute, found)] if found else []
    assert told
    first, data = told[0]
    assert 60 <= first < 75
    assert "times as much as before" in data["said"]
    assert all(later - sooner >= 30 for (sooner, _), (later, _) in pairwise(told))
    assert slope.look([], 0) is None


def test_the_same_in_an_unbroken_row_is_a_circle_and_progress_is_not() -> None:
    tree = ["a"]
    loops, ended = Loops(Looping(3, 3), lambda: tree[0]), list[str]()
    loops.end = ended.append
    same = Action(kind="exec", command="make", purpose="step")
    for _ in range(2):
        loops.note_action(same)
    loops.note_action(Action(kind="exec", command="ls", purpose="step"))
    for _ in range(2):
        loops.note_action(same)
    tree[0] = "b"
    for _ in range(2):
        loops.note_action(same)
    assert not ended
    loops.note_action(same)
    assert len(ended) == 1
    assert "the same 3 times in a row, and nothing changed" in ended[0]
    quiet = Loops(Looping(0, 0), lambda: "")
    for _ in range(50):
        quiet.note_answer("x")
        quiet.note_action(same)
    assert not quiet.found


def test_streaks_end_with_a_task_that_goes_well() -> None:
    conditions, streaks = Conditions(failures=3, low_confidence=2, no_progress=2), Streaks()
    for state in ("failed", "failed", "succeeded", "cancelled", "failed", "blocked", "failed"):
        streaks.note(replace(TASK, state=state, tree="t", base_tree="b"), conditions)
        assert streaks.find(conditions, TASK) == ("", "")
    streaks.note(TASK, replace(conditions, no_progress=0))
    condition, words = streaks.find(replace(conditions, no_progress=0), TASK)
    assert (condition, "3 tasks failed one after the other" in words) == ("failures", True)
    unsure = Streaks()
    for sure in (0.9, 0.2, 0.4):
        unsure.note(replace(TASK, state="succeeded", tree="t", confidence=sure), conditions)
    assert unsure.find(conditions, TASK)[0] == "low_confidence"


def test_who_takes_over_is_the_next_one_and_never_the_first_again() -> None:
    task = replace(TASK, fallback=("codex", "claude", "local"))
    assert next_fallback(task) == "local"
    task = replace(TASK, agent="codex", planned="claude", fallback=("codex", "claude", "local"))
    assert next_fallback(task) == "local"
    assert next_fallback(replace(task, agent="local")) == ""
    paused = replace(task, state="paused", reason="the budget of agent claude in R-1 is spent: $1 of 1usd")
    assert goes_on_by_itself(paused)
    assert not goes_on_by_itself(replace(paused, agent="claude"))
    assert not goes_on_by_itself(replace(paused, reason="paused by me"))


def test_a_time_of_day_is_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        evening = datetime(2026, 10, 24, 21, 0, tzinfo=UTC)
        assert local_day(evening) == "2026-10-24"
        assert local_day(evening + timedelta(hours=1)) == "2026-10-25"
        # The clocks go back that night: half past seven is half past seven all the same.
        morning = next_moment("07:30", evening)
        assert morning.astimezone(UTC) == datetime(2026, 10, 25, 6, 30, tzinfo=UTC)
        assert describe_moment(morning, evening) == "2026-10-25 07:30"
        assert next_moment("2026-10-25 07:30", evening) == morning
        assert next_moment("23:30", evening).astimezone(UTC) == datetime(2026, 10, 24, 21, 30, tzinfo=UTC)
        for wrong in ("7", "25:00", "soon", "2026-10-01 07:30"):
            with pytest.raises(ValueError, match=r"is not a time|is over already"):
                next_moment(wrong, evening)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "now", "coming"),
    [
        # The clocks go back at three: half past two comes twice, and what is over is not meant.
        ("02:30", "2026-10-25T02:10+02:00", "2026-10-25T02:30+02:00"),
        ("02:30", "2026-10-25T02:40+02:00", "2026-10-25T02:30+01:00"),
        ("02:30", "2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00"),
        ("2026-10-25 02:30", "2026-10-25T02:10+01:00", "2026-10-25T02:30+01:00"),
        ("02:30", "2026-10-25T02:40+01:00", "2026-10-26T02:30+01:00"),
        # They are put forward at two: there is no half past two, and a run must not end before it began.
        ("02:30", "2026-03-29T00:10+01:00", "2026-03-29T03:30+02:00"),
        ("02:30", "2026-03-29T01:45+01:00", "2026-03-29T03:30+02:00"),
        ("02:30", "2026-03-29T03:40+02:00", "2026-03-30T02:30+02:00"),
    ],
)
def test_a_time_of_day_in_the_nights_when_clocks_change_is_never_over(
    monkeypatch: pytest.MonkeyPatch, text: str, now: str, coming: str
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert next_moment(text, datetime.fromisoformat(now)) == datetime.fromisoformat(coming)
        with pytest.raises(ValueError, match="is over already"):
            next_moment("2026-03-29 02:30", datetime.fromisoformat("2026-03-29T03:40+02:00"))
        with pytest.raises(ValueError, match="is not a time"):
            next_moment("0001-01-01", datetime.fromisoformat(now))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_price_says_where_it_is_from() -> None:
    own = Price(1, 2, 1, 1, 1)
    library = {("openai", "new-model"): Price(3, 4, 3, 3, 3), ("anthropic", "claude-sonnet-4-5"): own}
    prices = Prices(
        shipped_prices(), {"mine": own}, lambda wire, model: library.get((wire, model)), "a library 1.0"
    )
    assert prices.look_up("openai", "mine") == (own, "your own `prices:`")
    assert prices.look_up("openai", "new-model")[1] == "a library 1.0"
    assert prices.look_up("anthropic", "claude-sonnet-4-5")[1] == "a library 1.0"
    without = Prices(shipped_prices(), {})
    assert "the shipped table of" in without.look_up("anthropic", "claude-sonnet-4-5")[1]
    assert prices.look_up("openai", "nobody-knows-9") == (None, "")


def test_the_library_and_our_table_agree_on_what_both_know() -> None:
    look_up, name = find_library(datetime(2026, 11, 21, tzinfo=UTC))
    if look_up is None:
        pytest.skip("genai-prices is not installed: pip install 'nightcrew[prices]'")
    assert name.startswith("genai-prices ")
    found = look_up("anthropic", "claude-sonnet-4-5")
    assert found is not None
    tokens = Tokens(input=1000, cached=1000, written=1000, output=1000)
    ours = Prices(shipped_prices(), {}).find("anthropic", "claude-sonnet-4-5")
    assert ours is not None
    assert found.cost(tokens) == pytest.approx(ours.cost(tokens))
    assert look_up("openai", "nobody-knows-9") is None
