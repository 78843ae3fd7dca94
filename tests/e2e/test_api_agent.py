"""The agent ``api``: a model's API and no other program, for tasks and for plans; and what is said without its extra."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, Scenario, Turn, Usage
from planning_peers import configure, plan, task

pytestmark = pytest.mark.needs_userns
needs_library = pytest.mark.skipif(find_spec("pydantic_ai") is None, reason="needs the extra `api`")
WIRES = ("anthropic", "openai", "gemini")
TASKS = """- [ ] 1. Write a file
  - Agent: api
  - Accept: `test "$(cat out.txt)" = hello`
  - Prompt: `write hello into out.txt`
"""


def serve(crew: Hermetic, model: ScriptedModel, wire: str, more: str = "") -> None:
    crew.variables["EXAMPLE_KEY"] = "sk-real-key-of-the-user"
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    key = "{env: EXAMPLE_KEY}"
    own.joinpath("config.yaml").write_text(
        f"version: 1\nproviders:\n  {wire}: {{url: '{model.url}', key: {key}, model: scripted-1}}\n{more}"
    )


def use(tool: str, **arguments: str) -> Turn:
    return Turn(calls=(Call(tool, arguments=arguments),), usage=Usage(input=1000, output=50))


@pytest.mark.skipif(find_spec("pydantic_ai") is not None, reason="the extra `api` is installed")
def test_without_the_extra_it_says_how_to_get_it(crew: Hermetic) -> None:
    configure(crew)
    (listed,) = [each for each in crew.look("agent", "list", "--json").json if each["name"] == "api"]
    assert not listed["usable"]
    assert "pip install 'nightcrew[api]'" in listed["text"]
    ran = crew.run("run", "Add login rate limiting and document it", "--planner", "api")
    assert ran.code == 2, ran
    assert "pip install 'nightcrew[api]'" in ran.stderr
    crew.run_tasks(TASKS)
    assert (
        "needs the extra `api`"
        in crew.show_tasks("R-1" if crew.show("R-1")["tasks"] else "R-2")["T01"]["reason"]
    )


@needs_library
@pytest.mark.parametrize("wire", WIRES)
def test_each_call_is_a_question_and_a_denial_is_gone_around(crew: Hermetic, wire: str) -> None:
    turns = (
        use("list_files", folder="."),
        use("run_command", command="git push --force origin main"),
        use("write_file", path="out.txt", content="hello\n"),
        use("run_command", command="cat out.txt"),
        Turn("Done."),
    )
    with ScriptedModel([Scenario(turns)]) as model:
        serve(crew, model, wire)
        ran = crew.run_tasks(TASKS)
        assert ran.code == 0, ran
        view = crew.show("R-1")
        assert view["tasks"][0]["verified"] == "verified"
        assert view["usage"]["requests"] == 5
        assert {each.key for each in model.seen} == {"sk-real-key-of-the-user"}
    lines = [json.loads(line) for line in crew.look("log", "R-1", "--json").stdout.splitlines()]
    decided = {e["data"]["action"]: e["data"]["verdict"] for e in lines if e["kind"] == "policy.decided"}
    assert decided["git push --force origin main"] == "deny"
    assert decided["cat out.txt"] == "allow"
    assert any(action.startswith("write out.txt") for action in decided), decided
    assert not (crew.repo / "out.txt").exists()


@needs_library
def test_a_call_that_waits_is_taken_up_after_the_answer(crew: Hermetic) -> None:
    turns = (
        use("write_file", path="one.txt", content="1\n"),
        use("run_command", command="wget -q http://127.0.0.1:9/x || echo hello > out.txt"),
        Turn("Done."),
    )
    with ScriptedModel([Scenario(turns)]) as model:
        serve(crew, model, "anthropic")
        ran = crew.run_tasks(TASKS)
        assert ran.code == 5, ran
        (waiting,) = crew.look("inbox", "--json").json
        assert crew.run("approve", waiting["id"]).code == 0
        crew.wait_until(
            lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=60
        )
        assert crew.show("R-1")["tasks"][0]["state"] == "succeeded", crew.show("R-1")
        # It was not begun anew: the answer to the call that waited was the next thing that the model saw.
        assert [each.turn for each in model.seen] == [0, 1, 2]


@needs_library
@pytest.mark.parametrize("wire", WIRES)
def test_it_makes_plans(crew: Hermetic, wire: str) -> None:
    bad = json.loads(plan(task("1", "a", depends=["9"])))
    good = json.loads(plan(task("1", "a")))
    scenarios = [
        Scenario(
            (use("read_file", path="src/app.py"), Turn(calls=(Call("final_result", arguments=good),))),
            when="cannot be taken",
        ),
        Scenario(
            (use("write_file", path="x", content="y"), Turn(calls=(Call("final_result", arguments=bad),)))
        ),
    ]
    with ScriptedModel(scenarios) as model:
        serve(crew, model, wire, "planner: {agent: api}\n")
        ran = crew.run("run", "Add login rate limiting and document it", "--json")
        assert ran.code == 5, ran
        assert len(model.seen) == 4
    view = ran.json
    assert [each["title"] for each in view["tasks"]] == ["a"]
    assert view["usage"]["requests"] == 4
    lines = [json.loads(line) for line in crew.look("log", "R-1", "--json").stdout.splitlines()]
    decided = {e["data"]["action"]: e["data"]["verdict"] for e in lines if e["kind"] == "policy.decided"}
    assert decided["read src/app.py"] == "allow"
    assert [verdict for action, verdict in decided.items() if action.startswith("write x")] == ["deny"]
