"""A process killed while a run is planned anew: the plan that was approved stands, and it can be asked again."""

from __future__ import annotations

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
    assert len(crew.run("inbox", "--json").json) == 1
    assert crew.run("audit", "verify").code == 0
