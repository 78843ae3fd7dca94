"""A run asks its planner anew by itself: after a failure or so many tasks; less is in force at once, more waits for a person."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, install_planner, plan, task

GOAL = "Add login rate limiting and document it"
ON_FAILURE = "planner: {replan: {on_failure: true}}\n"

pytestmark = pytest.mark.needs_userns

#: Its acceptance can never pass.
LOST = task("1", "Limit the rate", accept=["test -s nowhere.txt"])
SECOND = task("2", "Document it", depends=["1"], scope=["part2/**", "docs/**"])
NARROWER = task("2", "Document it", depends=[], scope=["part2/**"])


def events(crew: Hermetic, kind: str) -> list[dict[str, Any]]:
    lines = crew.look("log", "R-1", "--json").stdout.splitlines()
    return [each for each in map(json.loads, lines) if each["kind"] == kind]


def answer_with(crew: Hermetic, *tasks: dict[str, Any], first: str = "") -> None:
    """Have the planner answer so from now on."""
    (crew.root / "bin" / "claude").unlink(missing_ok=True)
    install_planner(crew, "claude", first=first or plan(*tasks), later=plan(*tasks) if tasks else first)


def states(crew: Hermetic) -> dict[str, str]:
    return {name: each["state"] for name, each in crew.show_tasks("R-1").items()}


def plan_and_replace(
    crew: Hermetic, before: list[dict[str, Any]], after: list[dict[str, Any]], *words: str
) -> None:
    """Plan the goal with one answer, have the planner give another one from then on, and run it to its rest."""
    answer_with(crew, *before)
    ran = crew.run("run", GOAL, *words)
    assert ran.code == 5, ran
    answer_with(crew, *after)
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=90)


def test_after_a_failure_less_is_in_force_at_once_and_told(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    plan_and_replace(crew, [LOST, SECOND], [NARROWER])
    assert states(crew) == {"T01": "failed", "T02": "succeeded"}
    (begun,) = events(crew, "plan.replan_begun")
    said = {name: begun["data"][name] for name in ("why", "round", "of", "agent")}
    assert said == {"why": "T01 failed for good", "round": 1, "of": 3, "agent": "claude"}
    (taken,) = events(crew, "plan.in_force")
    assert (taken["actor"], taken["data"]["version"]) == ("engine", 2)
    assert crew.look("inbox", "--json").json == []
    why = crew.look("why", "R-1").stdout
    assert "claude is asked to plan anew what has not begun: T01 failed for good (round 1 of 3)" in why
    assert "goes on with P2 of its plan: it only narrows" in why
    assert crew.look("audit", "verify").code == 0


def test_the_plan_says_that_it_is_on_and_json_too(crew: Hermetic) -> None:
    configure(crew)
    answer_with(crew, LOST, SECOND)
    ran = crew.run("run", GOAL, "--replan-after", "2", "--replan-on-failure")
    assert ran.code == 5, ran
    shown = " ".join(ran.stderr.replace("…", " ").split())
    assert (
        "re-planning is on: after every 2 finished tasks and after a task that failed for good, claude is asked by itself for what "
        "has not begun, at most 3 times" in shown
    )
    said = crew.look("plan", "R-1", "--json").json["replan"]
    assert (said["agent"], said["after_tasks"], said["on_failure"], said["rounds"]) == ("claude", 2, True, 3)


def test_more_is_offered_while_the_run_comes_to_its_end(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    again = task("4", "Again")
    plan_and_replace(crew, [LOST, SECOND], [{**SECOND, "depends": ["4"]}, again])
    assert states(crew) == {"T01": "failed", "T02": "blocked"}
    assert crew.show("R-1")["plan"]["version"] == 1
    (item,) = crew.look("inbox", "--json").json
    assert item["id"] == "R-1"
    (offer,) = events(crew, "plan.offered")
    assert offer["data"]["more"] == ["T04 is new: Again"]
    assert crew.run("approve", "R-1", "--digest", item["digest"]).code == 0
    crew.wait_until(
        lambda: states(crew) == {"T01": "failed", "T02": "succeeded", "T04": "succeeded"},
        what="the new tasks",
        timeout_s=60,
    )
    assert crew.look("audit", "verify").code == 0


def test_what_is_offered_can_be_denied(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    plan_and_replace(crew, [LOST, SECOND], [{**SECOND, "depends": []}, task("4", "Again")])
    assert crew.run("deny", "R-1", "-m", "no").code == 0
    assert crew.look("inbox", "--json").json == []
    assert states(crew) == {"T01": "failed", "T02": "blocked"}


def test_after_so_many_tasks_and_no_more_rounds_than_allowed(crew: Hermetic) -> None:
    configure(crew, "planner: {replan: {rounds: 2}}\nmax_parallel: 1\n")
    rest = [task(str(number), f"Part {number}", depends=[str(number - 1)]) for number in range(2, 6)]
    plan_and_replace(crew, [task("1", "Part 1"), *rest], rest, "--replan-after", "1")
    assert set(states(crew).values()) == {"succeeded"}
    begun = events(crew, "plan.replan_begun")
    assert [each["data"]["round"] for each in begun] == [1, 2]
    assert begun[0]["data"]["why"] == "1 more task is finished"
    assert events(crew, "plan.in_force") == []


def test_a_planner_that_fails_is_told_of_and_the_run_goes_on_as_planned(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    answer_with(crew, LOST, task("2", "Document it"))
    assert crew.run("run", GOAL).code == 5
    answer_with(crew, first="no plan at all")
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=90)
    assert states(crew) == {"T01": "failed", "T02": "succeeded"}
    (failed,) = events(crew, "plan.replan_failed")
    assert "claude made no plan that can be taken" in failed["data"]["reason"]
    assert "was not planned anew, and goes on as it was planned" in crew.look("why", "R-1").stdout
    assert crew.look("audit", "verify").code == 0


def test_off_in_spite_of_the_settings(crew: Hermetic) -> None:
    configure(crew, ON_FAILURE)
    plan_and_replace(crew, [LOST, SECOND], [NARROWER], "--no-replan")
    assert states(crew) == {"T01": "failed", "T02": "blocked"}
    assert events(crew, "plan.replan_begun") == []
    assert "re-planning" not in crew.look("plan", "R-1").stdout


def test_a_run_from_a_tasks_file_asks_the_configured_agent(crew: Hermetic) -> None:
    configure(crew)
    answer_with(crew, {**NARROWER, "description": "It has a command of its own."})
    crew.repo.joinpath("tasks.md").write_text(
        "# Tidy\n\n- [ ] 1. First\n  - Run: true\n  - Accept: `test -s nowhere.txt`\n  - Scope: part1/**\n\n"
        "- [ ] 2. Document it\n  - Run: mkdir -p part2 && echo 2 > part2/done.txt\n  - Depends: 1\n"
        "  - Scope: part2/**, docs/**\n  - Accept: `test -s part2/done.txt`\n"
    )
    ran = crew.run("run", "-f", "tasks.md", "--replan-on-failure", "--planner", "claude")
    assert ran.code == 5, ran
    assert "re-planning is on: after a task that failed for good, claude is" in " ".join(ran.stderr.split())
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=90)
    (begun,) = events(crew, "plan.replan_begun")
    assert begun["data"]["agent"] == "claude"
    # What its command line does no words change: it only narrows, and goes on by itself.
    assert len(events(crew, "plan.in_force")) == 1, events(crew, "plan.replan_failed")
    assert states(crew) == {"T01": "failed", "T02": "succeeded"}


def test_what_cannot_be_is_refused_before_anything_is_recorded(crew: Hermetic) -> None:
    crew.repo.joinpath("tasks.md").write_text("- [ ] 1. First\n  - Run: true\n")
    ran = crew.run("run", "-f", "tasks.md", "--replan-on-failure")
    assert ran.code == 2, ran
    assert "there is no agent that could make a plan" in ran.stderr
    assert crew.run("run", "-f", "tasks.md", "--replan-after", "2", "--no-replan").code == 2
    assert crew.run("run", "-f", "tasks.md", "--replan-after", "0").code == 2
    assert crew.run("run", "-f", "tasks.md", "--planner", "claude").code == 2
    assert crew.look("ps", "-a", "--json").json == []


def test_configured_but_nobody_to_ask_is_told_and_the_run_is_planned(crew: Hermetic) -> None:
    crew.repo.joinpath("tasks.md").write_text("- [ ] 1. First\n  - Run: true\n")
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    own.joinpath("config.yaml").write_text("version: 1\n" + ON_FAILURE)
    ran = crew.run("run", "-f", "tasks.md")
    assert ran.code == 5, ran
    assert "it will not be planned anew by itself" in ran.stderr


def test_a_comment_on_what_has_not_begun_is_planned_at_once(crew: Hermetic) -> None:
    configure(crew)
    third = task("3", "Tell of it", depends=["1"])
    plan_and_replace(crew, [LOST, SECOND, third], [NARROWER, {**third, "title": "Other"}])
    late = crew.run("plan", "R-1", "comment", "T01", "in another way")
    assert late.code == 7, late
    assert "R-1/T01 has begun (failed)" in late.stderr
    ran = crew.run("plan", "R-1", "comment", "T02", "no docs", "--json")
    assert ran.code == 0, ran
    # Nobody spoke of the third: whatever the planner says of it, it stays.
    assert [each["task"] for each in ran.json["changes"]] == ["T02"]
    assert ran.json["more"] == []
    crew.wait_until(lambda: states(crew)["T02"] == "succeeded", what="the second task", timeout_s=60)
    assert states(crew)["T03"] == "blocked"
