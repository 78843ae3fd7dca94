"""The real command-line agents are asked for a plan, against a scripted model: bad first, then good; nothing written counts."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, Scenario, Turn
from planning_peers import plan, task
from real_agents import set_up

pytestmark = [pytest.mark.needs_userns, pytest.mark.timeout(400)]

GOOD = plan(task("1", "Limit the rate"))
BAD = plan(task("1", "Limit the rate", depends=["9"]))


@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode"])
def test_it_makes_a_plan_and_mends_a_bad_one(crew: Hermetic, agent: str) -> None:
    def say(answer: str) -> Turn:
        if agent == "claude":
            # It hands over a shaped answer by a tool of its own.
            return Turn(calls=(Call("StructuredOutput", arguments=json.loads(answer)),))
        return Turn(f"Here it is:\n```json\n{answer}\n```")

    closing = (Turn("Done."),) if agent == "claude" else ()
    scenarios = [
        Scenario((say(GOOD), *closing), when="cannot be taken"),
        Scenario((Turn(calls=(Call("write", path="by-planner.txt", content="x"),)), say(BAD), *closing)),
    ]
    with ScriptedModel(scenarios) as model:
        set_up(crew, model, agent)
        ran = crew.run(
            "run", "Add login rate limiting and document it", "--planner", agent, "--json", timeout_s=300
        )
        assert ran.code == 5, ran
    view = ran.json
    assert [each["title"] for each in view["tasks"]] == ["Limit the rate"]
    assert view["plan"]["origin"]["rounds"] == 2
    assert view["usage"]["requests"] >= 2
    lines = [json.loads(line) for line in crew.look("log", "R-1", "--json").stdout.splitlines()]
    decided = [
        e["data"] for e in lines if e["kind"] == "policy.decided" and "by-planner" in e["data"]["action"]
    ]
    assert [each["verdict"] for each in decided] == ["deny"], decided
    assert not (crew.repo / "by-planner.txt").exists()
