"""An agent asks a person: the question outlives its host, holds no slot, and its answer reaches the agent that goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fake_agents import install, set_up_providers
from nightcrew.testing.hermetic import Hermetic

SCRIPT = """- question: Which port?
  choices: ["8080", "9090"]
  into: port.txt
- run: cat port.txt
"""
SCRIPTED = """# Night

- [ ] 1. Ask
  - Script: ask.yaml
  - Accept: `grep -qx {answer} port.txt`
- [ ] 2. Another
  - Run: touch other
"""
ASKING = """# Night

- [ ] 1. Ask
  - Agent: claude
  - Accept: `grep -qx 'own words' answers.txt`
  - Prompt:
    ```
    RUN: touch one
    {mark} Which way? | left | right
    RUN: touch two
    ```
"""


def wait_for_question(crew: Hermetic) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = [each for each in crew.look("inbox", "--json").json if each["kind"] == "question"]
        return found[0] if found else None

    asked: dict[str, Any] = crew.wait_until(look, timeout_s=60, what="the question")
    return asked


@pytest.mark.needs_userns
def test_a_question_parks_its_task_and_an_answer_lets_it_go_on(crew: Hermetic) -> None:
    ran = crew.run_tasks(SCRIPTED.format(answer="9090"), "--max-parallel", "1", scripts={"ask.yaml": SCRIPT})
    assert ran.code == 5, ran
    tasks = crew.show_tasks("R-1")
    assert {name: task["state"] for name, task in tasks.items()} == {
        "T01": "awaiting_answer",
        "T02": "succeeded",
    }
    (asked,) = crew.look("inbox", "--json").json
    assert (asked["kind"], asked["question"]["choices"]) == ("question", ["8080", "9090"])
    shown = crew.look("inbox").stdout
    assert "  2. 9090" in shown
    assert f"nightcrew answer {asked['id']} --choice N" in shown
    refused = {
        ("approve", asked["id"]): ("gate.question", 2),
        ("answer", asked["id"], "--choice", "3"): ("answer.choice", 2),
        ("answer", asked["id"], "--choice", "1", "--choice", "2"): ("answer.choice", 2),
        ("answer", asked["id"], "--digest", "0000", "x"): ("gate.digest", 7),
        ("answer", asked["id"]): ("answer.choice", 2),
        ("answer", "A-99", "x"): ("", 3),
        ("answer",): ("", 2),
    }
    for words, (code, ends) in refused.items():
        bad = crew.run(*words, "--json")
        assert bad.code == ends, bad
        assert not code or bad.json["error"]["code"] == code, bad
    assert crew.show("R-1/T01")["state"] == "awaiting_answer"
    done = crew.run("answer", asked["id"], "--choice", "2", "--json")
    assert (done.code, done.json["state"], done.json["answer"]) == (0, "answered", "9090"), done
    crew.wait_until(lambda: crew.show("R-1/T01")["state"] == "succeeded", what="the task's end")
    assert crew.show("R-1/T01")["verified"] == "verified"
    twice = crew.run("answer", asked["id"], "8080")
    assert (twice.code, "answered already by" in twice.stderr) == (7, True), twice
    why = crew.look("why", asked["id"]).stdout
    assert "Which port?" in why
    assert "answered by" in why
    assert crew.look("audit", "verify").code == 0


@pytest.mark.needs_userns
@pytest.mark.parametrize("mark", ["ASK:", "ASK!:"])
def test_a_question_outlives_a_killed_host(crew: Hermetic, mark: str) -> None:
    install(crew, "claude")
    set_up_providers(crew)
    plan = crew.write_plan(ASKING.format(mark=mark))
    host = crew.start("run", "-f", str(plan), "--yes", "--wait", log=crew.root / "run.log")
    asked = wait_for_question(crew)
    assert asked["requester"] == "agent:claude"
    os.kill(host, signal.SIGKILL)
    crew.wait_until(lambda: not Path(f"/proc/{host}").exists() or _is_dead(host), what="the end of the host")
    (still,) = [each for each in crew.look("inbox", "--json").json if each["kind"] == "question"]
    assert still["digest"] == asked["digest"]
    assert crew.run("answer", asked["id"], "own", "words").code == 0
    crew.wait_until(
        lambda: crew.show("R-1/T01")["state"] in ("succeeded", "failed"), timeout_s=60, what="the end"
    )
    task = crew.show("R-1/T01")
    assert (task["state"], task["verified"]) == ("succeeded", "verified"), task
    events = [
        each for each in crew.look("log", "R-1", "--json").stdout.splitlines() if "question.delivered" in each
    ]
    assert len(events) == (2 if mark == "ASK!:" else 1), events


@pytest.mark.needs_userns
def test_no_answer_at_all_ends_the_task_with_the_reason(crew: Hermetic) -> None:
    assert crew.run_tasks(SCRIPTED.format(answer="x"), scripts={"ask.yaml": SCRIPT}).code == 5
    (asked,) = crew.look("inbox", "--json").json
    assert crew.run("deny", asked["id"], "-m", "decide it yourself").code == 0
    crew.wait_until(lambda: crew.show("R-1/T01")["state"] == "failed", what="the end of the task")
    assert "decide it yourself" in crew.show("R-1/T01")["reason"]
    assert crew.run("answer", asked["id"], "--choice", "1").code == 7


def test_scripts_with_odd_questions_are_refused_with_their_places(crew: Hermetic) -> None:
    script = "- question: ''\n- question: x\n  choices: [1]\n- question: x\n  choices: []\n- question: x\n  chices: [a]\n- question: x\n  choices: [a, a]\n- question: x\n  into: ''\n"
    refused = crew.run_tasks(SCRIPTED.format(answer="x"), scripts={"ask.yaml": script})
    assert refused.code == 2, refused
    places = [each["line"] for each in refused.json["error"]["problems"]]
    assert len(places) == 6, refused
    assert crew.look("ps", "--json", "--all").json == []


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1] in "ZX"
    except OSError:
        return True
