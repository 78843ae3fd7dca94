"""Budgets, stops, breakers, fallback agents and loops: driven as a process, against a scripted model behind the gateway."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic, Ran
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Fault, Scenario, Turn, Usage

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

ENV = {"ANTHROPIC_API_KEY": "sk-ant-real-0123456789abcdefghij"}
#: 60,000 anew, 40,000 cached, 1,000 made by claude-sonnet-4-5.
USAGE = Usage(input=100_000, output=1000, cached=40_000)
EACH_USD = 0.207

AGENT = '''
"""agent.py TIMES [WORDS]: asks its model so often with a long question, then writes a file of its task's name."""
import json, os, pathlib, sys, urllib.error, urllib.request

times, words = int(sys.argv[1]), (sys.argv[2] if len(sys.argv) > 2 else "go on")
for _ in range(times):
    # As long as what the answer says it has read.
    body = {"model": "claude-sonnet-4-5", "max_tokens": 1000, "messages": [{"role": "user", "content": words + " " * 400_000}]}
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"]},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        print("refused", error.code, error.read().decode())
        sys.exit(1)
pathlib.Path(os.environ["NIGHTCREW_TASK"].rpartition("/")[2] + ".txt").write_text("done\\n")
'''


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel((Scenario((Turn("yes", usage=USAGE, delay_s=0.3),) * 60),)) as made:
        yield made


def configure(crew: Hermetic, url: str, more: str = "") -> None:
    place = crew.root / "config" / "nightcrew"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yaml").write_text(
        f"""providers:
  anthropic: {{url: "{url}"}}
agents:
  greedy: {{argv: [python3, agent.py, "8"], providers: [anthropic]}}
  twice: {{argv: [python3, agent.py, "2"], providers: [anthropic]}}
  once: {{argv: [python3, agent.py, "1"], providers: [anthropic]}}
  broken: {{argv: [python3, -c, "print('no'); raise SystemExit(1)"]}}
  slow: {{argv: [python3, -c, "import time; time.sleep(120)"]}}
{more}"""
    )
    crew.write({"agent.py": AGENT})
    crew.commit("agents")


def tell(*agents: str, more: str = "", depends: bool = False) -> str:
    tasks = []
    for number, agent in enumerate(agents, 1):
        needs = f"  - Depends: {number - 1}\n" if depends and number > 1 else ""
        tasks.append(f"- [ ] {number}. Task {number}\n  - Agent: {agent}\n  - Accept: `true`\n{needs}{more}")
    return "# Night\n\n" + "".join(tasks)


def read_events(crew: Hermetic, *kinds: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in crew.look("events", "--json").stdout.splitlines()]
    return [each for each in lines if not kinds or each["kind"] in kinds]


def run_to_its_end(crew: Hermetic, run: str = "R-1") -> Ran:
    """Follow a run until it is over, also when the host that a decision has started was faster."""
    done = crew.run("resume", run, "--json", extra=ENV, timeout_s=120)
    return done if done.code != 7 else crew.look("show", run, "--json")


def test_four_agents_at_once_do_not_all_spend_the_last_dollar(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    done = crew.run_tasks(
        tell(*["greedy"] * 4), "--budget", "1usd", "--max-parallel", "4", extra=ENV, timeout_s=120
    )
    assert done.code == 8, done
    # Four cost 0.83: one more goes out alone, whoever asks it, and nothing beside it.
    assert len(model.seen) == done.json["usage"]["requests"] == 5
    assert done.json["usage"]["usd"] == pytest.approx(5 * EACH_USD)
    kinds = [event["kind"] for event in read_events(crew, "budget.warned", "budget.reached")]
    assert kinds == ["budget.warned", "budget.reached"]
    shown = crew.look("show", "R-1").stdout
    assert "nightcrew extend R-1 --budget AMOUNT" in shown
    budgets = crew.look("budget", "show", "R-1", "--json").json["runs"][0]["budgets"]
    assert [(each["of"], each["budget"], each["share"] >= 1) for each in budgets] == [("run", "1usd", True)]


@pytest.mark.parametrize("point", ["engine.usage.held:2", "engine.usage.recorded:2"])
def test_a_killed_host_counts_what_it_had_asked(crew: Hermetic, model: ScriptedModel, point: str) -> None:
    configure(crew, model.url)
    plan = crew.write_plan(tell("twice"))
    died = crew.run("run", "-f", str(plan), "--yes", extra={**ENV, "NIGHTCREW_CRASH_AT": point})
    assert died.code not in (0, 10), died
    done = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=120)
    assert done.code == 0, done
    usage = done.json["usage"]
    # Nobody can know whether a question that was held has gone out: it is counted, and said to be estimated.
    lost = 1 if "held" in point else 0
    assert (usage["requests"], usage["estimated"]) == (len(model.seen) + lost, lost)
    assert usage["usd"] > len(model.seen) * EACH_USD if lost else usage["usd"] == pytest.approx(4 * EACH_USD)
    spent = crew.look("budget", "history", "--json").json
    assert spent["total"]["usd"] == pytest.approx(usage["usd"])
    assert crew.look("audit", "verify").code == 0


def test_a_day_holds_over_all_runs_and_can_be_given_more(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {day: 0.4usd, month: 10usd}\n")
    first = crew.run_tasks(tell("twice"), extra=ENV, timeout_s=120)
    assert first.json["usage"]["requests"] == 2, first
    # The second answer has reached it: what comes after that is refused, in this run or another.
    second = crew.run_tasks(tell("once"), extra=ENV, timeout_s=120)
    assert second.code == 8, second
    assert len(model.seen) == 2
    assert "the budget of the day" in second.json["reason"]
    assert "nightcrew extend day --budget AMOUNT" in crew.look("show", "R-2").stdout
    refused = crew.run("resume", "R-2", extra=ENV)
    assert (refused.code, "nightcrew extend day" in refused.stderr) == (8, True), refused
    less = crew.run("extend", "day", "--budget", "0.3usd")
    assert less.code == 8, less
    more = crew.run("extend", "day", "--budget", "5usd", "--json", extra=ENV)
    assert "R-2" in more.json["resumed"], more
    assert run_to_its_end(crew, "R-2").json["tasks"][0]["state"] == "succeeded"
    by_agent = crew.look("budget", "history", "--by", "agent", "--json").json["lines"]
    assert [each["agent"] for each in by_agent] == ["once", "twice"]
    assert sum(each["requests"] for each in by_agent) == len(model.seen)
    by_model = crew.look("budget", "history", "--by", "model").stdout
    assert "anthropic/claude-sonnet-4-5" in by_model


def test_a_repository_does_not_say_what_a_day_may_cost(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    crew.write({".nightcrew/config.yaml": "budget: {day: 99usd}\n"})
    refused = crew.run("plan", "-f", str(crew.write_plan(tell("once"))), extra=ENV)
    assert (refused.code, ".nightcrew/config.yaml:1:" in refused.stderr) == (2, True), refused


def test_the_budget_of_an_agent_leaves_the_others_alone(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {agents: {twice: 0.4usd}}\n")
    done = crew.run_tasks(tell("twice", "once"), extra=ENV, timeout_s=120)
    tasks = {task["name"]: task for task in done.json["tasks"]}
    assert tasks["T02"]["state"] == "succeeded"
    again = crew.run_tasks(tell("greedy", "once"), "--budget", "20usd", extra=ENV, timeout_s=120)
    assert again.code == 0, again
    configure_more = crew.root / "config" / "nightcrew" / "config.yaml"
    configure_more.write_text(configure_more.read_text().replace("twice: 0.4usd", "greedy: 3calls"))
    third = crew.run_tasks(tell("greedy", "once"), extra=ENV, timeout_s=120)
    tasks = {task["name"]: task for task in third.json["tasks"]}
    assert (tasks["T01"]["state"], tasks["T02"]["state"]) == ("paused", "succeeded"), third
    assert "the budget of agent greedy in R-3 is spent" in tasks["T01"]["reason"]
    assert third.code == 8
    assert "nightcrew extend R-3 --agent greedy --budget AMOUNT" in third.stderr + third.stdout
    more = crew.run("extend", "R-3", "--agent", "greedy", "--budget", "30calls", "--json", extra=ENV)
    assert more.json["resumed"] == ["R-3/T01"], more
    assert {task["state"] for task in run_to_its_end(crew, "R-3").json["tasks"]} == {"succeeded"}


def test_more_is_asked_for_and_a_yes_gives_it(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {on_spent: ask}\n")
    done = crew.run_tasks(tell("greedy"), "--budget", "3calls", extra=ENV, timeout_s=120)
    assert done.code in (5, 8), done
    asked = [each for each in crew.look("inbox", "--json").json if each["kind"] == "budget"]
    assert len(asked) == 1
    assert "give as much again" in asked[0]["action"]
    crew.run("approve", asked[0]["id"], "-m", "it is worth it", extra=ENV)
    crew.wait_until(
        lambda: crew.show("R-1")["usage"]["requests"] >= 6, timeout_s=60, what="the next three calls"
    )
    crew.wait_until(lambda: crew.show("R-1")["state"] == "paused", timeout_s=60, what="the second pause")
    budgets = crew.look("budget", "show", "R-1", "--json").json["runs"][0]["budgets"]
    assert budgets[0]["budget"] == "6calls"


def test_a_cheaper_agent_goes_on_when_its_own_is_too_expensive(crew: Hermetic, model: ScriptedModel) -> None:
    configure(
        crew, model.url, "budget: {on_spent: degrade, agents: {greedy: 3calls}, cheaper: {greedy: once}}\n"
    )
    done = crew.run_tasks(tell("greedy"), extra=ENV, timeout_s=120)
    assert done.code == 0, done
    task = done.json["tasks"][0]
    assert (task["state"], task["agent"], task["planned_agent"]) == ("succeeded", "once", "greedy")
    assert len(model.seen) == 4
    assert "in place of greedy" in crew.run("review", "R-1").stdout


def test_stop_ends_a_run_and_what_is_done_goes_to_review(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "budget: {on_spent: stop}\n")
    done = crew.run_tasks(
        tell("once", "greedy", depends=True), "--budget", "3calls", extra=ENV, timeout_s=120
    )
    assert done.code == 8, done
    assert (done.json["state"], done.json["stopped"]["condition"]) == ("in_review", "budget")
    assert [task["state"] for task in done.json["tasks"]] == ["succeeded", "cancelled"]
    assert crew.run("accept", "R-1/T01").code == 0


def test_a_night_ends_when_it_was_to_and_can_be_reviewed_and_gone_on_with(
    crew: Hermetic, model: ScriptedModel, tmp_path: Path
) -> None:
    configure(crew, model.url)
    plan = crew.write_plan(tell("once", "slow", depends=True))
    wrong = crew.run("run", "-f", str(plan), "--yes", "--until", "soon", extra=ENV)
    assert (wrong.code, "is not a time" in wrong.stderr) == (2, True), wrong
    assert crew.look("ps", "--all", "--json").json == []
    crew.start("run", "-f", str(plan), "--yes", "--until", "+8h", log=tmp_path / "log", extra=ENV)
    crew.wait_until(lambda: crew.find_commands("time.sleep(120)"), timeout_s=90, what="the second task")
    assert "works until" in crew.look("show", "R-1").stdout
    done = crew.run("resume", "R-1", "--until", "+1s", "--json", extra=ENV, timeout_s=120)
    assert done.code == 8, done
    view = done.json
    assert (view["state"], view["error"]["code"], view["stopped"]["condition"]) == (
        "paused",
        "stop.until",
        "until",
    )
    assert [task["state"] for task in view["tasks"]] == ["succeeded", "paused"]
    assert "until when it was to work" in crew.look("why", "R-1").stdout
    assert crew.find_commands("time.sleep(120)") == []
    # What was finished can be looked at and taken before the rest goes on.
    assert "T01" in crew.run("review", "R-1").stdout
    assert crew.run("accept", "R-1/T01").code == 0
    promoted = crew.run("promote", "R-1", "--yes")
    assert promoted.code == 0, promoted
    assert (crew.repo / "T01.txt").read_text() == "done\n"
    again = crew.run("resume", "R-1", "--until", "+6s", "--json", extra=ENV, timeout_s=120)
    assert (again.code, again.json["stopped"]["condition"]) == (8, "until"), again


def test_a_breaker_opens_lets_one_try_and_closes(crew: Hermetic) -> None:
    busy = Turn("no", fault=Fault("status", status=529, times=2))
    with ScriptedModel((Scenario((busy, *(Turn("yes", usage=USAGE),) * 9)),)) as model:
        configure(
            crew,
            model.url,
            "retries: {provider_waits: [100ms, 100ms, 100ms]}\nbreaker: {failures: 2, reset: 3s}\n",
        )
        done = crew.run_tasks(tell("once"), extra=ENV, timeout_s=120)
    assert done.code == 0, done
    assert done.json["tasks"][0]["attempts"] == 3
    told = [
        event["kind"]
        for event in read_events(crew, "breaker.opened", "breaker.half_opened", "breaker.closed")
    ]
    assert told == ["breaker.opened", "breaker.half_opened", "breaker.closed"]
    assert "once works again" in crew.look("why", "R-1/T01").stdout


def test_an_open_breaker_outlives_its_host_and_a_person_can_close_it(crew: Hermetic, tmp_path: Path) -> None:
    busy = Turn("no", fault=Fault("status", status=529, times=2))
    with ScriptedModel((Scenario((busy, *(Turn("yes", usage=USAGE),) * 9)),)) as model:
        configure(
            crew,
            model.url,
            "retries: {provider_waits: [100ms, 100ms, 100ms]}\nbreaker: {failures: 2, reset: 1h}\n",
        )
        plan = crew.write_plan(tell("once"))
        pid = crew.start("run", "-f", str(plan), "--yes", log=tmp_path / "log", extra=ENV)
        crew.wait_until(lambda: read_events(crew, "task.held"), timeout_s=60, what="the task to be held")
        os.kill(pid, signal.SIGKILL)
        listed = {each["name"]: each["breaker"] for each in crew.look("agent", "list", "--json").json}
        assert listed["once"], listed
        assert "is left alone until" in crew.look("why", "R-1/T01").stdout
        assert "529" in crew.look("why", "R-1/T01").stdout
        asked = len(model.seen)
        closed = crew.run("agent", "reset", "once")
        assert closed.code == 0, closed
        done = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=120)
        assert (done.code, len(model.seen)) == (0, asked + 1), done


def test_a_fallback_agent_takes_over_and_the_review_says_so(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "retries: {attempts: 1}\n")
    plan = tell("broken", more="  - Fallback: once\n")
    assert "fallback once" in crew.run("plan", "-f", str(crew.write_plan(plan)), extra=ENV).stdout
    done = crew.run_tasks(plan, extra=ENV, timeout_s=120)
    assert done.code == 0, done
    task = done.json["tasks"][0]
    assert (task["agent"], task["planned_agent"], task["attempts"]) == ("once", "broken", 2)
    assert "done by once in place of broken, which had 1 failed attempts" in crew.run("review", "R-1").stdout
    assert "fallback: once in place of broken" in crew.look("why", "R-1/T01").stdout
    wrong = crew.run(
        "plan", "-f", str(crew.write_plan(tell("broken", more="  - Fallback: nobody\n"))), extra=ENV
    )
    assert (wrong.code, "nobody" in wrong.stderr) == (2, True), wrong


def test_a_model_that_says_the_same_for_ever_is_stopped_with_words(
    crew: Hermetic, model: ScriptedModel
) -> None:
    configure(crew, model.url, "loops: {same_answer: 4}\n")
    done = crew.run_tasks(tell("greedy"), extra=ENV, timeout_s=120)
    assert done.code == 10, done
    task = done.json["tasks"][0]
    assert (task["state"], task["attempts"]) == ("failed", 1)
    assert "it went round in circles: its model gave the very same answer 4 times in a row" in task["reason"]
    assert len(model.seen) <= 5


def test_failures_in_a_row_stop_a_run(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url, "retries: {attempts: 1}\nstop: {failures: 2}\nbreaker: {failures: 0}\n")
    done = crew.run_tasks(tell(*["broken"] * 3, "once"), "--max-parallel", "1", extra=ENV, timeout_s=120)
    assert done.code == 8, done
    view = done.json
    assert (view["state"], view["stopped"]["condition"]) == ("paused", "failures")
    assert [task["state"] for task in view["tasks"]] == ["failed", "failed", "pending", "pending"]
    after = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=120)
    assert [task["state"] for task in after.json["tasks"]] == ["failed", "failed", "failed", "succeeded"], (
        after
    )


def test_time_at_work_is_a_budget_too(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    done = crew.run_tasks(tell("slow", more="  - Budget: 3s\n"), extra=ENV, timeout_s=120)
    assert done.code == 8, done
    task = done.json["tasks"][0]
    assert task["state"] == "paused"
    assert "of work of 3s" in task["reason"]
    assert task["usage"]["seconds"] >= 3
