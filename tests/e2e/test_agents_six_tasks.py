"""The whole job with each real agent: a goal, its plan, six tasks, a question answered from another terminal, a denial
that is worked around, a runtime that is killed, a review and a promotion.

The model is scripted, everything else is real; see tests/real_agents.py for how the agents come here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, Scenario, Turn
from real_agents import AGENTS, KEY, find_marked, read_transcripts, set_up

pytestmark = [pytest.mark.needs_userns, pytest.mark.timeout(600)]

PLANS = "You make a plan for coding agents"
GOAL = "Build the site and describe it"
POLICY = """version: 1
commands:
  - id: project.no_install
    when: {program: [install]}
    decision: deny
    reason: files are copied with cp here
files:
  - id: project.site
    when: {paths: ["site/**"], do: [write]}
    decision: ask
    reason: the site is public
"""
#: number → what it needs, what it may change, what proves it, what its model does.
TASKS: dict[str, tuple[tuple[str, ...], str, str, tuple[Call, ...]]] = {
    "1": ((), "base.txt", "grep -q base base.txt", (Call("write", path="base.txt", content="base\n"),)),
    "2": (
        ("1",),
        "site/**",
        "grep -q page site/index.txt",
        (Call("write", path="site/index.txt", content="page\n"),),
    ),
    "3": (
        ("1",),
        "copy.txt",
        "test -s copy.txt",
        (
            Call("shell", command="install -m 600 base.txt denied.txt"),
            Call("shell", command="cp base.txt copy.txt"),
        ),
    ),
    "4": (("1",), "slow.txt", "grep -q slow slow.txt", (Call("write", path="slow.txt", content="slow\n"),)),
    "5": (
        ("2", "3"),
        "join.txt",
        "test -e site/index.txt && test -e copy.txt && test -e join.txt",
        (Call("write", path="join.txt", content="join\n"),),
    ),
    "6": (
        ("4", "5"),
        "docs/**",
        "test -s docs/page.md",
        (Call("write", path="docs/page.md", content="# Page\n"),),
    ),
}
SLOW = "4"
#: A program that is denied can be worked around by an agent that asks; one that does not ask just writes the file.
EDITED = {"3": (Call("write", path="copy.txt", content="base\n"),)}


def name_piece(number: str) -> str:
    return f"This is piece {number} of the site."


def make_plan() -> str:
    """Return what the planner answers."""
    tasks = [
        {
            "id": number,
            "title": f"Piece {number}",
            "description": f"{name_piece(number)} Write it.",
            "depends": list(needs),
            "scope": [scope],
            "accept": [accept],
        }
        for number, (needs, scope, accept, _) in TASKS.items()
    ]
    return json.dumps({"summary": "six pieces", "complexity": "MEDIUM", "gaps": [], "tasks": tasks})


def make_scenarios(agent: str) -> list[Scenario]:
    # Claude Code hands its answer in by a tool where the shape of it is given.
    plan = (
        Turn(calls=(Call("StructuredOutput", arguments=json.loads(make_plan())),))
        if agent == "claude"
        else Turn(make_plan())
    )
    found = [Scenario((plan, Turn("Done.")), when=PLANS)]
    for number, (*_, calls) in TASKS.items():
        done = EDITED.get(number, calls) if agent == "aider" else calls
        delay_s = 3.0 if number == SLOW else 0.0
        turns = [Turn(calls=(call,), delay_s=delay_s) for call in done]
        found.append(Scenario((*turns, Turn("Done.")), when=name_piece(number)))
    return found


def start(crew: Hermetic, *args: str) -> subprocess.Popen[bytes]:
    log = (crew.root / "terminal.log").open("ab")
    return subprocess.Popen(
        [*crew.program, *args],
        cwd=crew.repo,
        env=crew.variables,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


@pytest.mark.parametrize("agent", AGENTS)
def test_six_tasks_from_a_goal_to_a_promotion(crew: Hermetic, agent: str) -> None:
    with ScriptedModel(make_scenarios(agent)) as model:
        settings = "retries: {first_wait: 1s}\n" + routing(agent)
        mark = set_up(crew, model, agent, settings, POLICY)
        first = start(crew, "run", GOAL, "--planner", agent, "--yes", "--wait", "--max-parallel", "2")
        crew.wait_until(
            lambda: heard(model, SLOW) or first.poll() is not None, timeout_s=240, what="the slow task"
        )
        assert first.poll() is None, (crew.root / "terminal.log").read_text()
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        crew.wait_until(lambda: not find_marked(mark), what="the end of every agent")
        second = start(crew, "resume", "R-1", "--wait")
        answered = answer_everything(crew, second)
        assert second.wait() == 0, (crew.root / "terminal.log").read_text()
    check(crew, agent, answered)


def routing(agent: str) -> str:
    """A plan of a goal names no agent; this one is to be chosen."""
    return f"routing: {{order: [{agent}]}}\n"


def heard(model: ScriptedModel, number: str) -> bool:
    """Tell whether a model was asked about a piece; a planner's own conversation holds all of them."""
    asked = [json.dumps(each.body) for each in list(model.seen) if each.turn >= 0]
    return any(name_piece(number) in each and PLANS not in each for each in asked)


def answer_everything(crew: Hermetic, terminal: subprocess.Popen[bytes]) -> list[str]:
    """Approve what is asked, from another terminal than the one that follows the run; return what was asked."""
    answered: list[str] = []

    def look() -> bool:
        for item in crew.look("inbox", "--json").json:
            assert crew.run("approve", item["id"]).code == 0
            answered.append(item["action"])
        return terminal.poll() is not None

    crew.wait_until(look, timeout_s=300, what="the end of the run")
    return answered


def check(crew: Hermetic, agent: str, answered: list[str]) -> None:
    view: dict[str, Any] = crew.show("R-1")
    tasks = by_name(view)
    assert {name: (each["state"], each["verified"]) for name, each in tasks.items()} == {
        f"T0{number}": ("succeeded", "verified") for number in TASKS
    }
    assert {each["agent"] for each in tasks.values()} == {agent}
    # The action, and the change that came of it; one that asks for nothing is asked about once.
    assert [each.split()[:2] for each in answered] == [
        [kind, "site/index.txt"] for kind in ("write", "change") if (kind, agent) != ("write", "aider")
    ]
    # The one that was at work when the runtime was killed was done again.
    assert tasks[f"T0{SLOW}"]["attempts"] == 2
    assert KEY not in read_transcripts(crew)
    reviewed = crew.run("review", "R-1", "--plain")
    assert reviewed.code == 0, reviewed
    # By name: what was asked about is flagged, and not accepted with the rest.
    accepted = crew.run("accept", *(f"R-1/{name}" for name in tasks))
    assert accepted.code == 0, accepted
    promoted = crew.run("promote", "R-1", "--yes")
    assert promoted.code == 0, promoted
    names = set(crew.git("show", "--name-only", "--format=", "HEAD").split())
    assert names == {"base.txt", "site/index.txt", "copy.txt", "slow.txt", "join.txt", "docs/page.md"}
    denied = "deny: install -m 600 base.txt denied.txt" in read_transcripts(crew)
    assert denied == (agent != "aider")
    assert crew.look("audit", "verify").code == 0
