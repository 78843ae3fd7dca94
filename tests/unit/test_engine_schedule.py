"""Which task may start, which never can, and when a run is at rest."""

from __future__ import annotations

import pytest

from nightcrew.engine.course.schedule import Frontier, order_dependencies, ready
from nightcrew.model.errors import Place
from nightcrew.model.plans import Plan, Task


def make_plan(**depends: str) -> Plan:
    """Return a plan of the tasks T01=..., each with the names of its dependencies in one string."""
    tasks = tuple(
        Task(id=name, number=name[1:], title=name, place=Place("tasks.md", 1), depends=tuple(needs.split()))
        for name, needs in depends.items()
    )
    return Plan("t", "tasks.md", "c" * 40, "d", tasks)


DIAMOND = make_plan(T01="", T02="T01", T03="T01", T04="T02 T03", T05="")


def test_starts_in_the_order_written_up_to_the_free_slots() -> None:
    assert ready({}, DIAMOND, 4).start == ("T01", "T05")
    assert ready({}, DIAMOND, 1).start == ("T01",)
    assert ready({"T01": "running"}, DIAMOND, 2).start == ("T05",)
    assert ready({"T01": "running"}, DIAMOND, 1).start == ()


def test_a_dependent_waits_for_all_it_needs() -> None:
    assert ready({"T01": "succeeded", "T05": "succeeded"}, DIAMOND, 4).start == ("T02", "T03")
    half = {"T01": "succeeded", "T02": "succeeded", "T03": "running", "T05": "succeeded"}
    assert ready(half, DIAMOND, 4).start == ()
    assert ready({**half, "T03": "succeeded"}, DIAMOND, 4).start == ("T04",)


def test_a_task_that_was_done_already_satisfies_its_dependents() -> None:
    assert ready({"T01": "skipped"}, DIAMOND, 4).start == ("T02", "T03", "T05")


@pytest.mark.parametrize("state", ["failed", "cancelled", "blocked"])
def test_a_failed_dependency_blocks_its_dependents_and_nothing_else(state: str) -> None:
    frontier = Frontier(DIAMOND, {"T01": state}, 4)
    assert frontier.moves().block == (("T02", "T01"), ("T03", "T01"))
    frontier.note("T02", "blocked")
    frontier.note("T03", "blocked")
    assert frontier.moves().block == (("T04", "T02"),)
    frontier.note("T04", "blocked")
    assert frontier.moves().start == ("T05",)


@pytest.mark.parametrize("waiting", ["paused", "awaiting_approval"])
def test_what_goes_on_after_its_dependency_was_lost_is_blocked(waiting: str) -> None:
    frontier = Frontier(DIAMOND, {"T02": waiting, "T05": "succeeded"}, 4)
    frontier.note("T01", "failed")
    assert frontier.moves().block == (("T03", "T01"),)
    frontier.note("T02", "pending")
    assert frontier.moves().block == (("T03", "T01"), ("T02", "T01"))


def test_a_dependency_that_is_tried_again_blocks_nobody_whatever_is_heard_first() -> None:
    frontier = Frontier(DIAMOND, {"T02": "failed", "T03": "cancelled", "T01": "succeeded"}, 4)
    assert frontier.moves().block == (("T04", "T02"),)
    frontier.note("T02", "pending")
    assert frontier.moves().block == (("T04", "T03"),), "the other one still does"
    frontier.note("T04", "blocked")
    frontier.note("T04", "pending")
    assert frontier.moves().block == (("T04", "T03"),)
    frontier.note("T03", "pending")
    assert frontier.moves().block == ()
    for name in ("T02", "T03"):
        frontier.note(name, "succeeded")
    assert "T04" in frontier.moves().start


def test_a_waiting_task_holds_no_slot_and_leaves_the_run_quiet() -> None:
    states = {"T01": "awaiting_approval"}
    assert ready(states, DIAMOND, 1).start == ("T05",)
    moves = ready({**states, "T05": "succeeded"}, DIAMOND, 1)
    assert moves.quiet
    assert not moves.final


def test_final_when_every_task_is_settled() -> None:
    moves = ready(dict.fromkeys(("T01", "T02", "T03", "T04", "T05"), "succeeded"), DIAMOND, 4)
    assert moves.final
    assert moves.quiet


def test_asking_twice_gives_the_same_answer() -> None:
    frontier = Frontier(DIAMOND, {}, 4)
    assert frontier.moves() == frontier.moves()


def test_a_task_that_comes_back_may_start_again() -> None:
    frontier = Frontier(DIAMOND, {}, 4)
    frontier.note("T05", "running")
    frontier.note("T05", "awaiting_approval")
    frontier.note("T05", "pending")
    assert frontier.moves().start == ("T01", "T05")


def test_dependencies_come_after_their_own_dependencies() -> None:
    assert order_dependencies(DIAMOND, "T04") == ("T01", "T02", "T03")
    assert order_dependencies(DIAMOND, "T01") == ()


def test_ten_thousand_tasks_cost_their_edges() -> None:
    names = [f"T{number:02d}" for number in range(1, 10_001)]
    plan = make_plan(**{name: names[at - 1] if at else "" for at, name in enumerate(names)})
    frontier = Frontier(plan, {}, 4)
    started = 0
    while start := frontier.moves().start:
        for name in start:
            frontier.note(name, "running")
            frontier.note(name, "succeeded")
            started += 1
    assert started == 10_000
    assert len(order_dependencies(plan, names[-1])) == 9_999
