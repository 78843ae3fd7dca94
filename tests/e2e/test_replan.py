"""A run that goes on is planned anew for what has not begun: less is in force at once, more waits, what is done stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import FILES, sweep
from kept_place import KeptPlace
from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, install_planner, plan, task

GOAL = "Add login rate limiting and document it"

pytestmark = pytest.mark.needs_userns

FIRST = task("1", "Limit the rate")
SECOND = task("2", "Document it", depends=["1"], scope=["part2/**", "docs/**"])
THIRD = task("3", "Tell of it", depends=["2"])
#: Its acceptance can never pass.
LOST = task("1", "Limit the rate", accept=["test -s nowhere.txt"])


def events(crew: Hermetic, run: str, kind: str) -> list[dict[str, Any]]:
    lines = crew.look("log", run, "--json").stdout.splitlines()
    return [each for each in map(json.loads, lines) if each["kind"] == kind]


def answer_with(crew: Hermetic, *tasks: dict[str, Any]) -> None:
    """Have the planner answer so from now on."""
    link = crew.root / "bin" / "claude"
    link.unlink(missing_ok=True)
    install_planner(crew, "claude", first=plan(*tasks), later=plan(*tasks))


def states(crew: Hermetic) -> dict[str, str]:
    return {name: each["state"] for name, each in crew.show_tasks("R-1").items()}


def run_to_review(crew: Hermetic, *tasks: dict[str, Any]) -> None:
    answer_with(crew, *tasks)
    configure(crew)
    assert crew.run("run", GOAL).code == 5
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=60)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptPlace:
    return KeptPlace(tmp_path_factory.mktemp("lost"), FILES, lambda crew: run_to_review(crew, LOST, SECOND))


@pytest.fixture
def lost(kept: KeptPlace) -> Iterator[Hermetic]:
    """A run whose first task has failed, and whose second one waits for it."""
    crew = kept.put_back()
    yield crew
    sweep(crew)


def test_after_a_failure_more_waits_and_goes_on_with_a_yes(crew: Hermetic) -> None:
    run_to_review(crew, LOST, SECOND, THIRD)
    assert states(crew) == {"T01": "failed", "T02": "blocked", "T03": "blocked"}
    before = crew.show("R-1/T01")
    # What the planner says of a task that is over does not count.
    other = task("1", "Something else", scope=["**"])
    answer_with(
        crew,
        other,
        task("2", "Document it", depends=["4"], scope=["part2/**", "docs/**"]),
        THIRD,
        task("4", "Again"),
    )
    ran = crew.run("plan", "R-1", "replan", "-m", "do the first in another way", "--json")
    assert ran.code == 0, ran
    assert ran.json["more"] == ["T04 is new: Again"], ran
    assert states(crew) == {"T01": "failed", "T02": "blocked", "T03": "blocked"}
    assert crew.show("R-1")["plan"]["version"] == 1
    offered = crew.look("plan", "R-1", "--json").json["offered"]
    assert [(each["task"], each["change"]) for each in offered["changes"]] == [
        ("T02", "changed"),
        ("T04", "added"),
    ]
    (item,) = crew.look("inbox", "--json").json
    assert (item["id"], item["digest"]) == ("R-1", offered["digest"])
    shown = crew.look("plan", "R-1").stdout
    assert "may do more than what was approved: T04 is new: Again" in shown
    # Wherever a yes is spoken of it is the one that works, and every list tells that somebody is waited for.
    yes = f"nightcrew approve R-1 --digest {offered['digest'][:12]}"
    assert shown.count("nightcrew approve") == shown.count(yes) == 2
    assert yes in crew.look("inbox").stdout
    assert crew.look("ps", "--json").json[0]["waiting"] == 1
    assert "waits for you: P2 of its plan   nightcrew plan R-1" in crew.look("show", "R-1").stdout
    assert "P2 of its plan waits for you: nightcrew plan R-1" in crew.look("review", "R-1").stdout
    assert crew.look("review", "R-1", "--json").json["offered"]["version"] == 2
    stale = crew.run("approve", "R-1", "--digest", crew.show("R-1")["plan"]["digest"])
    assert stale.code == 7, stale
    assert crew.run("approve", "R-1").code == 2
    assert crew.show("R-1")["plan"]["version"] == 1
    assert crew.run("approve", "R-1", "--digest", offered["digest"]).code == 0
    crew.wait_until(
        lambda: states(crew) == {"T01": "failed", "T02": "succeeded", "T03": "succeeded", "T04": "succeeded"},
        what="the new tasks",
        timeout_s=60,
    )
    assert crew.show("R-1/T01")["tries"] == before["tries"]
    assert crew.run("approve", "R-1", "--digest", offered["digest"]).code == 7
    assert crew.look("audit", "verify").code == 0


def test_less_is_in_force_at_once_and_recorded(crew: Hermetic) -> None:
    run_to_review(crew, LOST, SECOND, THIRD)
    answer_with(crew, task("2", "Document it", depends=[], scope=["part2/**"]))
    ran = crew.run("plan", "R-1", "replan", "--json")
    assert ran.code == 0, ran
    assert ran.json["more"] == []
    assert ran.json["plan"]["version"] == 2
    (event,) = events(crew, "R-1", "plan.in_force")
    assert event["data"]["why"].startswith("it only narrows")
    assert crew.look("inbox", "--json").json == []
    crew.wait_until(
        lambda: states(crew) == {"T01": "failed", "T02": "succeeded"}, what="the rest", timeout_s=60
    )
    assert crew.look("audit", "verify").code == 0


@pytest.mark.parametrize(
    "more",
    [
        {"scope": ["part2/**", "docs/**", "src/**"]},
        {"accept": ["test -s part2/done.txt", "true"]},
        {"accept": ["true"]},
        {"description": "RUN: touch part2/other"},
        {"network": ["example.org:443"]},
        {"install": ["true"]},
    ],
    ids="-".join,
)
def test_anything_larger_waits_and_a_no_keeps_what_there_is(lost: Hermetic, more: dict[str, Any]) -> None:
    crew = lost
    answer_with(crew, {**SECOND, "depends": [], **more})
    ran = crew.run("plan", "R-1", "replan", "--json")
    assert ran.code == 0, ran
    assert ran.json["more"]
    assert crew.run("deny", "R-1", "-m", "no").code == 0
    assert "P2 of its plan was denied: no" in crew.look("why", "R-1").stdout
    assert crew.look("inbox", "--json").json == []
    assert crew.show("R-1")["plan"]["version"] == 1
    assert states(crew) == {"T01": "failed", "T02": "blocked"}


def test_while_it_runs_what_has_begun_since_is_not_changed(crew: Hermetic) -> None:
    slow = task("1", "Slowly", description="RUN: sleep 15; mkdir -p part1 && echo 1 > part1/done.txt")
    answer_with(crew, slow, SECOND, THIRD)
    configure(crew)
    assert crew.run("run", GOAL).code == 5
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: states(crew)["T01"] == "running", what="the first task")
    answer_with(crew, SECOND, {**THIRD, "title": "Tell more"})
    ran = crew.run("plan", "R-1", "replan", "--json")
    assert ran.code == 0, ran
    assert ran.json["more"] == ["T03: another title", "T03: another prompt"]
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=60)
    assert set(states(crew).values()) == {"succeeded"}
    offered = crew.look("plan", "R-1", "--json").json["offered"]
    late = crew.run("approve", "R-1", "--digest", offered["digest"])
    assert late.code == 7, late
    assert "T03 has begun meanwhile" in late.stderr
    assert crew.run("plan", "R-1", "replan").code == 2
    assert json.loads(crew.look("show", "R-1", "--json").stdout)["plan"]["version"] == 1
