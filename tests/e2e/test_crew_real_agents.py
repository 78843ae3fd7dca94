"""The real command-line agents ask the person: over their own protocol, with an answer that reaches their model."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, of_calls
from real_agents import set_up, state_of

OPTIONS = [{"label": "left", "description": "the old way"}, {"label": "right", "description": "the new way"}]
QUESTION = {"question": "Which way?", "header": "Way", "options": OPTIONS, "multiSelect": False}
ASKS = {
    "claude": Call("AskUserQuestion", arguments={"questions": [QUESTION]}),
    "codex": Call(
        "request_user_input",
        arguments={
            "questions": [{"id": "way", "header": "Way", "question": "Which way?", "options": OPTIONS}]
        },
    ),
}
TASKS = """# Night

- [ ] 1. Ask and do
  - Agent: {agent}
  - Accept: `test -s done.txt`
  - Prompt: Ask which way, then write done.txt.
"""


@pytest.mark.needs_userns
@pytest.mark.timeout(400)
@pytest.mark.parametrize("agent", ASKS)
def test_it_asks_is_answered_and_goes_on(crew: Hermetic, agent: str) -> None:
    work = of_calls(ASKS[agent], Call("write", path="done.txt", content="done\n"))
    with ScriptedModel(work) as model:
        set_up(crew, model, agent)
        parked = crew.run_tasks(TASKS.format(agent=agent), timeout_s=180)
        assert parked.code == 5, parked
        (asked,) = crew.look("inbox", "--json").json
        assert (asked["kind"], asked["question"]["choices"]) == ("question", ["left", "right"])
        assert crew.show("R-1/T01")["state"] == "awaiting_answer"
        assert crew.run("answer", asked["id"], "--choice", "2").code == 0
        crew.wait_until(
            lambda: state_of(crew) in ("succeeded", "failed"), timeout_s=180, what="the end of the task"
        )
        task = crew.show("R-1/T01")
        told = "\n".join(json.dumps(each.body) for each in model.seen)
    assert (task["state"], task["verified"]) == ("succeeded", "verified"), task
    assert "Answer of the person: right" in told, "the model was told what the person said"
