"""What happens while a run asks its planner anew by itself: it pays from the same budgets as tasks, and is paused and cancelled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Scenario, Turn
from planning_peers import plan, task

sys.path.insert(0, str(Path(__file__).parent))

from test_money import AGENT, EACH_USD, ENV, USAGE, read_events

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

TASKS = (
    "# Night\n\n- [ ] 1. First\n  - Run: exit 1\n  - Scope: part1/**\n\n- [ ] 2. Second\n  - Agent: {agent}\n"
    "  - Prompt: Write it.\n  - Accept: `true`\n\n- [ ] 3. Third\n  - Run: mkdir -p part3 && echo 3 > part3/done.txt\n"
    "  - Depends: 1, 2\n  - Scope: part3/**, docs/**\n  - Accept: `test -s part3/done.txt`\n"
)
LONG = f"4711.{os.getpid()}"
"""Seconds that a planner sleeps; no other process of this machine has the same."""
NARROWER = plan(task("3", "Third", depends=["2"]))
#: As an agent of those tests asks, with a plan as its last words.
PLANNER = AGENT.split("pathlib.Path(", maxsplit=1)[0] + "print(open('plan.json').read())\n"


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel((Scenario((Turn("yes", usage=USAGE, delay_s=0.3),) * 60),)) as made:
        yield made


def configure(crew: Hermetic, url: str, more: str = "") -> None:
    crew.write({"agent.py": AGENT, "planner.py": PLANNER, "plan.json": NARROWER})
    crew.commit("agents")
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    program = crew.root / "bin" / "thinker"
    own.joinpath("config.yaml").write_text(
        f"""version: 1
providers:
  anthropic: {{url: "{url}"}}
agents:
  greedy: {{argv: [python3, agent.py, "8"], providers: [anthropic]}}
  once: {{argv: [python3, agent.py, "1"], providers: [anthropic]}}
  asker: {{argv: [python3, planner.py, "8"], providers: [anthropic]}}
  quick: {{argv: [python3, planner.py, "1"], providers: [anthropic]}}
  thinker: {{argv: ["{program}"]}}
  still: {{argv: [sh, -c, "true"]}}
retries: {{attempts: 1}}
{more}"""
    )


def think(crew: Hermetic, script: str) -> None:
    """Have the planner ``thinker`` do this from now on."""
    program = crew.root / "bin" / "thinker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    if str(program.parent) not in crew.variables["PATH"]:
        crew.variables["PATH"] = f"{program.parent}:{crew.variables['PATH']}"


def run(crew: Hermetic, agent: str, planner: str, *words: str, **extra: Any) -> Any:
    plan_file = crew.write_plan(TASKS.format(agent=agent))
    options = ("--planner", planner, "--replan-on-failure", "--yes", *words)
    return crew.run("run", "-f", str(plan_file), *options, timeout_s=120, **extra)


@pytest.mark.parametrize("of", ["run", "day"])
def test_a_planner_and_a_task_at_once_do_not_both_spend_the_last_dollar(
    crew: Hermetic, model: ScriptedModel, of: str
) -> None:
    configure(crew, model.url, "budget: {day: 1usd}\n" if of == "day" else "")
    words = ("--budget", "1usd") if of == "run" else ()
    done = run(crew, "greedy", "asker", *words, "--json", extra=ENV)
    assert done.code == 8, done
    assert [each["state"] for each in done.json["tasks"]] == ["failed", "paused", "blocked"]
    # Four cost 0.83: one more goes out alone, whoever asks it, and nothing beside it.
    assert len(model.seen) == 5, read_events(crew, "usage.recorded", "budget.reached")
    view = crew.look("show", "R-1", "--json").json
    assert view["usage"]["requests"] == 5
    assert view["usage"]["usd"] == pytest.approx(5 * EACH_USD)
    assert any(each["data"].get("for") == "planning" for each in read_events(crew, "usage.recorded"))
    assert crew.look("budget", "history", "--json").json["total"]["requests"] == 5
    assert crew.look("audit", "verify").code == 0


def test_a_spent_budget_leaves_the_plan_as_it_is_and_says_so(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    done = run(crew, "still", "asker", "--budget", "2calls", "--json", extra=ENV)
    assert len(model.seen) == 2, done
    (failed,) = read_events(crew, "plan.replan_failed")
    assert "the budget of R-1 is spent by planning: 2calls" in failed["data"]["reason"]
    assert [each["state"] for each in done.json["tasks"]] == ["failed", "succeeded", "blocked"]
    assert read_events(crew, "plan.in_force") == []


def test_a_killed_host_counts_what_its_planner_had_asked(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    died = run(crew, "still", "quick", extra={**ENV, "NIGHTCREW_CRASH_AT": "engine.planning.held"})
    assert died.code not in (0, 10), died
    done = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=120)
    usage = done.json["usage"]
    # Nobody can know whether it has gone out: it is counted, and said to be estimated.
    assert (usage["requests"], usage["estimated"]) == (len(model.seen) + 1, 1), done
    assert crew.look("budget", "history", "--json").json["total"]["usd"] == pytest.approx(usage["usd"])
    assert len(read_events(crew, "plan.replan_begun")) == 1
    assert crew.look("audit", "verify").code == 0


def begin_thinking(crew: Hermetic, tmp_path: Path) -> None:
    configure(crew, "http://127.0.0.1:9")
    think(crew, f"exec sleep {LONG}")
    plan_file = crew.write_plan(TASKS.format(agent="still"))
    options = ("--planner", "thinker", "--replan-on-failure", "--yes")
    crew.start("run", "-f", str(plan_file), *options, log=tmp_path / "log")
    crew.wait_until(lambda: crew.find_commands(LONG), timeout_s=60, what="the question")


def test_a_pause_ends_the_question_and_it_is_asked_again(crew: Hermetic, tmp_path: Path) -> None:
    begin_thinking(crew, tmp_path)
    assert crew.run("pause", "R-1").code == 0
    crew.wait_until(lambda: not crew.find_commands(LONG), timeout_s=60, what="the end of the planner")
    assert crew.show("R-1")["state"] == "paused"
    assert read_events(crew, "plan.replan_failed", "plan.in_force") == []
    think(crew, "cat plan.json")
    done = crew.run("resume", "R-1", "--json", timeout_s=120)
    assert [each["state"] for each in done.json["tasks"]] == ["failed", "succeeded", "succeeded"], done
    # The same question: it counts once.
    assert len(read_events(crew, "plan.replan_begun")) == 1
    assert len(read_events(crew, "plan.in_force")) == 1
    assert crew.look("audit", "verify").code == 0


def test_a_cancelled_run_asks_nobody_and_is_over_at_once(crew: Hermetic, tmp_path: Path) -> None:
    begin_thinking(crew, tmp_path)
    assert crew.run("cancel", "R-1", "-m", "enough").code == 0
    crew.wait_until(lambda: not crew.find_commands(LONG), timeout_s=60, what="the end of the planner")
    crew.wait_until(lambda: crew.show("R-1")["state"] == "cancelled", timeout_s=60, what="the end")
    think(crew, "cat plan.json")
    assert crew.run("resume", "R-1").code != 0
    assert read_events(crew, "plan.replan_failed", "plan.in_force", "plan.offered") == []
    assert crew.show_tasks("R-1")["T03"]["state"] in ("cancelled", "blocked")
    assert crew.look("audit", "verify").code == 0
