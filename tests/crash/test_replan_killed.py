"""A process killed while a run is planned anew: the plan that was approved stands, and it can be asked again."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, install_planner, plan, task

pytestmark = pytest.mark.needs_userns


@pytest.mark.parametrize(("point", "version"), [("runtime.replan.made", 1), ("runtime.replan.stored", 1)])
def test_a_killed_replan_leaves_the_approved_plan(crew: Hermetic, point: str, version: int) -> None:
    lost = task("1", "Limit the rate", accept=["test -s nowhere.txt"])
    answer = plan(lost, task("2", "Document it", depends=["1"]))
    install_planner(crew, "claude", first=answer)
    configure(crew)
    assert crew.run("run", "Add login rate limiting and document it").code == 5
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=90)
    (crew.root / "bin" / "claude").unlink()
    install_planner(crew, "claude", first=plan(task("2", "Document it"), task("3", "More")))
    assert crew.run("plan", "R-1", "replan", extra={"NIGHTCREW_CRASH_AT": point}).code < 0
    assert crew.show("R-1")["plan"]["version"] == version
    assert crew.run("plan", "R-1", "replan", "--json").json["more"] == ["T03 is new: More"]
    assert len(crew.look("inbox", "--json").json) == 1
    assert crew.look("audit", "verify").code == 0


@pytest.mark.parametrize("point", ["engine.replan.asked", "runtime.replan.made", "runtime.replan.stored"])
def test_a_host_killed_while_a_run_asks_by_itself_asks_the_same_again(crew: Hermetic, point: str) -> None:
    lost = task("1", "Limit the rate", accept=["test -s nowhere.txt"])
    later = task("2", "Document it", depends=["1"], scope=["part2/**", "docs/**"])
    install_planner(crew, "claude", first=plan(lost, later))
    configure(crew, "planner: {replan: {on_failure: true, rounds: 1}}\n")
    assert crew.run("run", "Add login rate limiting and document it").code == 5
    (crew.root / "bin" / "claude").unlink()
    narrower = task("2", "Document it", scope=["part2/**"])
    install_planner(crew, "claude", first=plan(narrower))
    assert crew.run("approve", "R-1", "--no-start").code == 0
    killed = crew.run("resume", "R-1", extra={"NIGHTCREW_CRASH_AT": point}, timeout_s=90)
    assert killed.code < 0, killed
    # Either it stands and is asked again, or it was answered in the same transaction; never both, never a second round.
    assert crew.run("resume", "R-1", timeout_s=90).code == 10
    tasks = crew.show_tasks("R-1")
    assert {name: each["state"] for name, each in tasks.items()} == {"T01": "failed", "T02": "succeeded"}
    assert crew.show("R-1")["plan"]["version"] == 2
    kinds = [json.loads(line)["kind"] for line in crew.run("log", "R-1", "--json").stdout.splitlines()]
    assert kinds.count("plan.replan_begun") == 1
    assert kinds.count("plan.in_force") == 1
    assert crew.run("audit", "verify").code == 0
