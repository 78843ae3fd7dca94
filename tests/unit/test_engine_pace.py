"""When checkpoints of a running task are due, and how they are spaced out when they take long; time is brought along."""

from __future__ import annotations

from nightcrew.engine.work.pace import ALARM, LONGEST_S, Pace
from nightcrew.model.settings import Checkpoints

SETTINGS = Checkpoints(every_s=30, after_paths=50, debounce_s=5, target_s=0.5, slow_s=2)


def test_by_time_from_the_change_and_not_from_the_last_one() -> None:
    pace = Pace(SETTINGS)
    assert pace.find_reason(1000.0, 3) == ""
    assert pace.find_reason(1029.0, 3) == ""
    assert pace.find_reason(1030.0, 3) == "30 s after a change"
    pace.note_taken(1031.0, 0.1)
    assert pace.find_reason(1040.0, 1) == "", "a new change waits anew"


def test_by_number_but_not_one_after_the_other() -> None:
    pace = Pace(SETTINGS)
    pace.note_taken(100.0, 0.1)
    assert pace.find_reason(104.0, 50) == ""
    assert pace.find_reason(105.0, 50) == "50 paths changed"
    assert Pace(Checkpoints(every_s=0, after_paths=0)).find_reason(10**6, 10**6) == ""


def test_slow_ones_are_spaced_out_and_nothing_of_it_is_silent() -> None:
    pace = Pace(SETTINGS)
    now = 0.0
    for _ in range(ALARM):
        now += 1000
        assert pace.allows(now)
        pace.note_taken(now, 3.0)
    kinds = [kind for kind, _ in pace.take_news()]
    assert kinds == ["checkpoint.spaced_out"] * 3 + ["checkpoint.slow"]
    assert pace.spacing_s == 48
    assert not pace.allows(now + 10)
    assert not pace.allows(now + 20)
    assert pace.describe_skipped().startswith("2 before it were left out")
    assert not pace.is_time_to_look(now + 47)
    assert pace.find_reason(now + 48, 1) == "2 left out since the last one"


def test_quick_ones_bring_them_together_again() -> None:
    pace = Pace(SETTINGS)
    pace.note_taken(0.0, 500.0)
    assert pace.spacing_s == LONGEST_S
    for number in range(12):
        pace.note_taken(1000.0 * number, 0.1)
    assert pace.spacing_s == 0
    assert pace.allows(11_000.1)


def test_after_a_failure_it_is_not_tried_at_once() -> None:
    pace = Pace(SETTINGS)
    pace.note_failed(10.0)
    assert not pace.is_time_to_look(14.0)
    assert pace.is_time_to_look(15.0)
    assert pace.describe_skipped(), "the next one says that one is missing"
