"""When a run asks its planner anew by itself."""

from __future__ import annotations

import pytest

from nightcrew.engine.course.replans import KEY, Replan, find_due, settled


@pytest.mark.parametrize(
    ("replan", "finished", "failed", "left", "why"),
    [
        (Replan(after_tasks=2), 1, set(), True, ""),
        (Replan(after_tasks=2), 2, set(), True, "2 more tasks are finished"),
        (Replan(after_tasks=1), 1, set(), True, "1 more task is finished"),
        (Replan(after_tasks=2), 2, set(), False, ""),
        (Replan(after_tasks=2, counted=2), 3, set(), True, ""),
        (Replan(after_tasks=2, counted=2), 4, set(), True, "2 more tasks are finished"),
        (Replan(after_tasks=2, counted=4), 1, set(), True, ""),
        (Replan(on_failure=True), 1, {"T01/g1"}, True, "T01 failed for good"),
        (Replan(on_failure=True), 2, {"T02/g1", "T01/g1"}, False, "T01 T02 failed for good"),
        (Replan(on_failure=True, failures=("T01/g1",)), 1, {"T01/g1"}, True, ""),
        (Replan(on_failure=True, failures=("T01/g1",)), 1, {"T01/g2"}, True, "T01 failed for good"),
        (Replan(on_failure=True, asked=3), 1, {"T01/g1"}, True, ""),
        (Replan(after_tasks=1, rounds=0), 5, set(), True, ""),
        (Replan(), 5, {"T01/g1"}, True, ""),
    ],
)
def test_when_it_is_time(replan: Replan, finished: int, failed: set[str], left: bool, why: str) -> None:
    assert find_due(replan, finished, failed, left=left) == why


def test_it_is_read_back_from_the_record_and_unknown_words_are_left_out() -> None:
    made = Replan("claude", 2, True, 4, 1, 2, ("T01/g1",), "why")
    assert Replan.of({KEY: made.to_plain()}) == made
    assert Replan.of({KEY: {"after_tasks": 2, "later": 1}}) == Replan(after_tasks=2)
    assert Replan.of({}) == Replan()


def test_an_answered_question_leaves_the_rest_of_the_record_alone() -> None:
    settings = {"budget": {"run": "1usd"}, KEY: Replan("claude", asked=2, asking="why").to_plain()}
    after = settled(settings)
    assert Replan.of(after) == Replan("claude", asked=2)
    assert after["budget"] == {"run": "1usd"}
    assert settled({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("replan", "said"),
    [
        (Replan(), ""),
        (Replan(after_tasks=1), "after every finished task"),
        (
            Replan(after_tasks=3, on_failure=True),
            "after every 3 finished tasks and after a task that failed for good",
        ),
        (Replan(on_failure=True, rounds=0), ""),
    ],
)
def test_it_is_said_in_words(replan: Replan, said: str) -> None:
    assert replan.describe() == said
