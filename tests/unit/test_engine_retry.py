"""Which failure may be tried again."""

from __future__ import annotations

import pytest

from nightcrew.engine.course.retry import ENDINGS, LOST_LIMIT, back_off, decide_retry
from nightcrew.model.settings import Retries

RETRIES = Retries(attempts=3, base_s=2.0, factor=2.0, cap_s=60.0, jitter=0.1)


def decide(*failures: str, deterministic: bool = True, spread: float = 0.5) -> tuple[bool, float]:
    retry = decide_retry(failures, RETRIES, deterministic=deterministic, spread=spread)
    return retry.again, retry.delay_s


def test_agent_and_spawn_failures_are_tried_as_often_as_configured() -> None:
    assert decide("agent") == (True, 2.0)
    assert decide("agent", "spawn") == (True, 4.0)
    assert decide("agent", "agent", "agent") == (False, 0.0)


@pytest.mark.parametrize(
    "failure",
    [
        "idle",
        "hard",
        "memory",
        "disk",
        "denied",
        "conflict",
        "isolation",
        "cancelled",
        "unusable",
        "internal",
    ],
)
def test_what_cannot_pass_is_not_tried_again(failure: str) -> None:
    assert decide(failure, deterministic=False) == (False, 0.0)


def test_a_failed_acceptance_only_where_the_agent_may_do_better() -> None:
    assert decide("acceptance") == (False, 0.0)
    assert decide("acceptance", deterministic=False) == (True, 2.0)


def test_lost_attempts_go_on_at_once_and_do_not_use_up_the_others() -> None:
    assert decide("lost") == (True, 0.0)
    assert decide("lost", "lost", "agent") == (True, 2.0)
    assert decide(*["lost"] * LOST_LIMIT) == (False, 0.0)
    assert decide(*["lost"] * (LOST_LIMIT - 1), "agent", "lost") == (True, 0.0)


def test_back_off_grows_stays_below_its_cap_and_within_its_jitter() -> None:
    assert [back_off(tried, RETRIES, 0.5) for tried in (1, 2, 3, 9)] == [2.0, 4.0, 8.0, 60.0]
    assert back_off(1, RETRIES, 0.0) == pytest.approx(1.8)
    assert back_off(1, RETRIES, 1.0) == pytest.approx(2.2)


def test_every_ending_of_the_sandbox_but_two_is_a_failure_class() -> None:
    assert set(ENDINGS) == {
        "spawn_timeout", "idle_timeout", "hard_timeout", "memory", "disk", "cancelled", "lost"
    }  # fmt: skip
