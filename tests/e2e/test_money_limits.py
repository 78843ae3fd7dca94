"""Limits that few nights meet: of roles and months, of runs side by side, of agents that get nowhere. Driven as a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Scenario, Turn

sys.path.insert(0, str(Path(__file__).parent))

from test_agents_with_a_protocol import install, set_up_providers
from test_money import ENV, USAGE, configure, read_events, run_to_its_end, tell
from test_roles import TESTER

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel((Scenario((Turn("yes", usage=USAGE, delay_s=0.3),) * 60),)) as made:
        yield made


def add_role(crew: Hermetic, more: str = "") -> None:
    crew.write({".nightcrew/roles/tester.yaml": TESTER.replace("change tests/**", "change **") + more})
    crew.commit("role")


@pytest.mark.parametrize("where", ["role", "settings"])
def test_all_tasks_of_a_role_have_one_budget_together(
    crew: Hermetic, model: ScriptedModel, where: str
) -> None:
    configure(crew, model.url, "budget: {roles: {tester: 3calls}}\n" if where == "settings" else "")
    add_role(crew, "caps: {run: 3calls}\n" if where == "role" else "")
    tasks = tell("twice", "twice", more="  - Role: tester\n") + "- [ ] 3. Free\n  - Agent: once\n"
    done = crew.run_tasks(tasks, "--max-parallel", "1", extra=ENV, timeout_s=120)
    assert done.code == 8, done
    assert [each["state"] for each in done.json["tasks"]] == ["succeeded", "paused", "succeeded"], done
    assert len(model.seen) == 4
    assert "the budget of role tester in R-1 is spent" in done.json["tasks"][1]["reason"]
    assert crew.run("resume", "R-1/T02", extra=ENV).code == 8
    more = crew.run("extend", "R-1", "--role", "tester", "--budget", "9calls", "--json", extra=ENV)
    assert more.json["resumed"] == ["R-1/T02"], more
    assert {each["state"] for each in run_to_its_end(crew).json["tasks"]} == {"succeeded"}


def test_a_month_holds_as_a_day_does(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {month: 2calls}\n")
    assert crew.run_tasks(tell("twice"), extra=ENV, timeout_s=120).json["usage"]["requests"] == 2
    second = crew.run_tasks(tell("once"), extra=ENV, timeout_s=120)
    assert (second.code, len(model.seen)) == (8, 2), second
    assert "the budget of the month" in second.json["reason"]
    assert "nightcrew extend month --budget AMOUNT" in crew.look("budget", "show").stdout
    assert "R-2" in crew.run("extend", "month", "--budget", "9calls", "--json", extra=ENV).json["resumed"]
    assert run_to_its_end(crew, "R-2").json["tasks"][0]["state"] == "succeeded"


def test_two_runs_at_once_have_one_day(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {day: 1usd}\n")
    plan = crew.write_plan(tell("greedy", "greedy"))
    for _ in range(2):
        assert crew.run("run", "-f", str(plan), "--yes", "--detach", extra=ENV).code == 0
    for run in ("R-1", "R-2"):
        crew.wait_until(lambda run=run: crew.show(run)["state"] == "paused", timeout_s=90, what="the pause")
    # Four cost 0.83: one more goes out alone, whichever run asks it.
    assert len(model.seen) == 5
    day = crew.look("budget", "show", "--json").json["day"]
    assert day["requests"] == 5
    for run in ("R-1", "R-2"):
        assert "the budget of the day" in crew.show(run)["reason"]


def test_a_day_that_planning_has_spent_is_spent(crew: Hermetic, model: ScriptedModel) -> None:
    """Planning asks in a process of its own; what it takes is in the same book."""
    configure(crew, model.url, "budget: {day: 1calls}\nplanner: {agent: once}\n")
    crew.run("run", "Add a readme that says hello", "--json", extra=ENV, timeout_s=120)
    assert len(model.seen) == 1
    again = crew.run("run", "Add a readme that says hello", extra=ENV, timeout_s=120)
    assert (len(model.seen), "the budget of the day" in again.stderr) == (1, True), again
    done = crew.run_tasks(tell("once"), extra=ENV, timeout_s=120)
    assert (done.code, len(model.seen)) == (8, 1), done


def test_tasks_that_change_nothing_stop_a_run(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "stop: {no_progress: 2}\n")
    tasks = "".join(f"- [ ] {n}. Look\n  - Run: `true`\n  - Accept: `true`\n" for n in range(1, 4))
    done = crew.run_tasks(tasks, "--max-parallel", "1", extra=ENV)
    assert (done.code, done.json["stopped"]["condition"]) == (8, "no_progress"), done
    assert [each["state"] for each in done.json["tasks"]] == ["succeeded", "succeeded", "pending"]
    assert "2 tasks in a row changed nothing" in crew.look("why", "R-1").stdout


def test_tasks_that_their_agents_doubt_stop_a_run(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "stop: {low_confidence: 2, confidence: 0.5}\n")
    sure = [0.9, 0.4, 0.8, 0.3, 0.2, 0.9]
    tasks = "".join(
        f"- [ ] {n}. Do {n}\n  - Run: `echo {n} > f{n} && echo 'confidence: {said}'`\n  - Accept: `true`\n"
        for n, said in enumerate(sure, 1)
    )
    done = crew.run_tasks(tasks, "--max-parallel", "1", extra=ENV)
    assert (done.code, done.json["stopped"]["condition"]) == (8, "low_confidence"), done
    assert [each["state"] for each in done.json["tasks"]] == [*["succeeded"] * 5, "pending"]
    assert "less than 50% confidence" in crew.look("why", "R-1").stdout


def test_an_agent_that_wants_the_same_for_ever_is_ended(crew: Hermetic) -> None:
    install(crew, "claude")
    set_up_providers(crew)
    config = crew.root / "config" / "nightcrew" / "config.yaml"
    config.write_text(config.read_text() + "loops: {same_action: 3}\n")
    again = "    RUN: false || true\n" * 9
    done = crew.run_tasks(
        f"- [ ] 1. Round\n  - Agent: claude\n  - Accept: `true`\n  - Prompt:\n    ```\n{again}    ```\n"
    )
    assert done.code == 10, done
    task = done.json["tasks"][0]
    assert "it wanted the same 3 times in a row, and nothing changed: false || true" in task["reason"], task
    assert task["attempts"] == 1


def test_what_was_refused_on_the_network_is_not_tried_again(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "retries: {attempts: 3, first_wait: 100ms}\n")
    crew.write(
        {
            ".nightcrew/policy.yaml": "version: 1\nnetwork:\n  presets: {mine: ['files.test:8080']}\n  rules:\n"
            "    - {id: net.evil, when: {host: evil.test}, decision: deny, reason: known to be evil}\n"
        }
    )
    crew.commit("policy")
    fetch = (
        "python3 -c \"import urllib.request as u; u.urlopen('http://evil.test:8080/x', timeout=9)\" || exit 7"
    )
    done = crew.run_tasks(f"- [ ] 1. Get\n  - Network: mine\n  - Run: `{fetch}`\n", extra=ENV)
    assert done.code == 10, done
    task = done.json["tasks"][0]
    assert (task["state"], task["attempts"]) == ("failed", 1), task
    assert "it was refused" in task["reason"], task
    assert "evil.test" in task["reason"], task


def test_an_agent_that_says_nothing_is_shown_as_unhealthy(
    crew: Hermetic, model: ScriptedModel, tmp_path: Path
) -> None:
    configure(crew, model.url, "timeouts: {idle: 40s}\n")
    plan = crew.write_plan(tell("slow"))
    crew.start("run", "-f", str(plan), "--yes", log=tmp_path / "log", extra=ENV)
    crew.wait_until(lambda: read_events(crew, "agent.silent"), timeout_s=90, what="the silence")
    assert "unhealthy" in crew.look("ps").stdout, crew.look("ps")
    assert crew.look("ps", "--json").json[0]["unhealthy"] == 1
    assert "unhealthy: it has said nothing for" in crew.look("show", "R-1").stdout
    assert crew.run("cancel", "R-1", "-m", "enough").code == 0
