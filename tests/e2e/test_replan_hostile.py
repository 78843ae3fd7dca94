"""A planner that is asked anew by itself wants more than was approved, in ways that look like less: all of it waits for a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, task

sys.path.insert(0, str(Path(__file__).parent))

from test_replan_by_itself import LOST, ON_FAILURE, answer_with, events, plan_and_replace, states

pytestmark = pytest.mark.needs_userns

LISTED = task(
    "2",
    "Document it",
    depends=["1"],
    scope=["part2/a*/**", "part2/done.txt"],
    files={"create": ["part2/done.txt"]},
)
FREE = {**LISTED, "depends": []}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"scope": ["part2/*/**", "part2/done.txt"]}, "T02: another scope: part2/*/** part2/done.txt"),
        ({"accept": ["true"]}, "T02: other acceptance commands"),
        ({"files": {}}, "T02: no list of files any more"),
        ({"files": {"create": ["part2/done.txt", "part2/ab/x"]}}, "T02: may do to more files: part2/ab/x"),
        ({"network": ["example.org:443"]}, "T02: network example.org:443"),
        ({"id": "7"}, "T07 is new: Document it"),
    ],
    ids=["scope", "accept", "no-list", "more-files", "network", "renamed"],
)
def test_what_looks_like_less_waits(crew: Hermetic, after: dict[str, Any], said: str) -> None:
    configure(crew, ON_FAILURE)
    plan_and_replace(crew, [LOST, LISTED], [{**FREE, **after}])
    (offer,) = events(crew, "plan.offered")
    assert said in offer["data"]["more"]
    assert events(crew, "plan.in_force") == []
    assert states(crew) == {"T01": "failed", "T02": "blocked"}


def test_what_a_planner_has_no_words_for_is_sent_back(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    more = {"role": "root", "budget": "900usd", "run": "rm -rf ."}
    plan_and_replace(crew, [LOST, LISTED], [{**FREE, **more}])
    (failed,) = events(crew, "plan.replan_failed")
    assert "made no plan that can be taken" in failed["data"]["reason"]
    assert events(crew, "plan.offered") == events(crew, "plan.in_force") == []


@pytest.mark.parametrize("on", [True, False], ids=["switched-on", "switched-off"])
def test_what_was_shown_holds_whatever_is_configured_by_then(crew: Hermetic, on: bool) -> None:
    configure(crew, "" if on else ON_FAILURE)
    answer_with(crew, LOST, LISTED)
    ran = crew.run("run", "Add login rate limiting and document it")
    assert ("re-planning is on" in " ".join(ran.stderr.split())) is not on, ran
    configure(crew, ON_FAILURE if on else "")
    answer_with(crew, FREE)
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=90)
    assert len(events(crew, "plan.replan_begun")) == (0 if on else 1)
