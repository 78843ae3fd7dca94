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
WORK = of_calls(
    Call("AskUserQuestion", arguments={"questions": [QUESTION]}),
    Call("write", path="done.txt", content="done\n"),
)
TASKS = """# Night

- [ ] 1. Ask and do
  - Agent: claude
  - Accept: `test -s done.txt`
  - Prompt: Ask which way, then write done.txt.
"""


@pytest.mark.needs_userns
@pytest.mark.timeout(400)
def test_claude_asks_is_answered_and_goes_on(crew: Hermetic) -> None:
    with ScriptedModel(WORK) as model:
        set_up(crew, model, "claude")
        parked = crew.run_tasks(TASKS, timeout_s=180)
        assert parked.code == 5, parked
        (asked,) = crew.run("inbox", "--json").json
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
