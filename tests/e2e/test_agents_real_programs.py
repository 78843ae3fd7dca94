"""The real command-line agents against a scripted model: they need no key, and no network but to this process.

They are not installed by the tests. Put them on PATH, or name a folder:
``NIGHTCREW_REAL_AGENTS=/somewhere/node_modules/.bin pytest tests/e2e/test_agents_real_programs.py``.
"""

from __future__ import annotations

import os
import shutil

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, of_calls

PLACES = os.environ.get("NIGHTCREW_REAL_AGENTS", os.environ.get("PATH", ""))
ASKS = "wget -q http://127.0.0.1:9/x; cat hello.txt > copy.txt"
WORK = of_calls(
    Call("write", path="hello.txt", content="hi\n"),
    # What some agents take for harmless and would run unasked.
    Call("shell", command="cat hello.txt"),
    Call("shell", command="git push --force origin main"),
    Call("shell", command=ASKS),
)
TASKS = """# Night

- [ ] 1. Say hello
  - Agent: {agent}
  - Accept: `grep -q hi copy.txt`
  - Prompt: Write hello.txt and copy it.
"""
KEY = "sk-real-key-of-the-user"


def set_up(crew: Hermetic, model: ScriptedModel) -> None:
    """Name the scripted model as every provider, and put the agents on PATH."""
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    names = {"anthropic": "scripted-1", "openai": "gpt-5.5", "gemini": "gemini-2.5-pro"}
    lines = [
        f"  {name}: {{url: '{model.url}', key: {{env: REAL_KEY}}, model: {each}}}"
        for name, each in names.items()
    ]
    own.joinpath("config.yaml").write_text("version: 1\nproviders:\n" + "\n".join(lines) + "\n")
    crew.variables["REAL_KEY"] = KEY
    crew.variables["PATH"] = f"{crew.variables['PATH']}:{PLACES}"


@pytest.mark.needs_userns
@pytest.mark.timeout(400)
@pytest.mark.parametrize("agent", ["claude", "codex", "gemini", "opencode"])
def test_a_night_with_a_real_agent(crew: Hermetic, agent: str) -> None:
    if shutil.which(agent, path=PLACES) is None:
        pytest.skip(f"{agent} is not installed here")
    with ScriptedModel(WORK) as model:
        set_up(crew, model)
        tried = crew.run("agent", "test", agent, timeout_s=150)
        assert tried.code == 0, tried
        parked = crew.run_tasks(TASKS.format(agent=agent), timeout_s=180)
        assert parked.code == 5, parked
        (waiting,) = crew.run("inbox", "--json").json
        assert waiting["action"] == ASKS
        assert crew.run("approve", waiting["id"]).code == 0
        crew.wait_until(
            lambda: crew.show("R-1")["tasks"][0]["state"] in ("succeeded", "failed"),
            timeout_s=180,
            what="the end of the task",
        )
        task = crew.show("R-1")["tasks"][0]
    assert (task["state"], task["verified"]) == ("succeeded", "verified"), task
    assert {each.key for each in model.seen if each.wire} == {KEY}
    told = "".join(path.read_text() for path in crew.state.glob("*/runs/R-1/T01/*.jsonl"))
    assert KEY not in told
    assert "allow: cat hello.txt" in told
    assert "deny: git push --force origin main" in told
    assert sorted(path.name for path in crew.repo.iterdir() if path.suffix == ".txt") == []
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0
    assert (crew.repo / "copy.txt").read_text() == "hi\n"
