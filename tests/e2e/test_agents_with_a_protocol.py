"""An agent with a protocol from PATH to a promoted result, as a person sees it: detect, test, add, run, approve."""

from __future__ import annotations

import pytest

from fake_agents import install, set_up_providers
from nightcrew.testing.hermetic import Hermetic

TASKS = """# Night

- [ ] 1. Write two files
  - Agent: {agent}
  - Accept: `test -e one && test -e two`
  - Prompt:
    ```
    RUN: touch one
    RUN: git push --force origin main
    RUN: wget -q http://127.0.0.1:9/x || true
    RUN: touch two
    ```
"""


@pytest.mark.needs_userns
def test_from_path_to_a_result(crew: Hermetic) -> None:
    agents = {each["name"]: each for each in crew.look("agent", "list", "--json").json}
    assert (agents["claude"]["usable"], agents["claude"]["text"]) == (False, "claude is not installed")
    program = install(crew, "claude")
    missing_key = {each["name"]: each for each in crew.look("agent", "list", "--json").json}["claude"]
    assert "providers" in missing_key["text"]
    refused = crew.run_tasks(TASKS.format(agent="claude"))
    assert "no provider called anthropic" in crew.show("R-1")["tasks"][0]["reason"], refused

    set_up_providers(crew)
    (found,) = [each for each in crew.run("agent", "detect", "--json").json if each["name"] == "claude"]
    assert (found["program"], found["version"], found["signed_in"]) == (str(program), "9.9 (fake)", False)
    tried = crew.run("agent", "test", "claude")
    assert tried.code == 0, tried
    assert "opened a conversation" in tried.stderr + tried.stdout

    parked = crew.run_tasks(TASKS.format(agent="claude"))
    assert parked.code == 5, parked
    (waiting,) = crew.look("inbox", "--json").json
    assert waiting["action"] == "wget -q http://127.0.0.1:9/x || true"
    assert crew.run("approve", waiting["id"]).code == 0
    crew.wait_until(lambda: crew.show("R-2")["tasks"][0]["state"] == "succeeded", what="the task's end")
    events = crew.look("log", "R-2", "--json").stdout
    assert events.count("git push --force") >= 1
    assert not (crew.repo / "one").exists()


@pytest.mark.needs_userns
def test_broken_agents_and_odd_names_are_told(crew: Hermetic) -> None:
    set_up_providers(crew)
    install(crew, "claude", "garbage", as_name="odd")
    assert crew.run("agent", "add", "odd", "--adapter", "claude", "--", "odd").code == 0
    assert crew.run("agent", "add", "other", "--", "bash", "-c", "{prompt}").code == 0
    agents = {each["name"]: each for each in crew.look("agent", "list", "--json").json}
    assert [agents[name]["usable"] for name in ("odd", "other", "acp")] == [True, True, False]
    tried = crew.run("agent", "test", "nobody")
    assert (tried.code, "known agents" in tried.stderr) == (2, True), tried
    twice = crew.run("agent", "add", "odd", "--", "x")
    assert (twice.code, "nothing was written" in twice.stderr) == (2, True), twice
    own = crew.root / "config" / "nightcrew" / "config.yaml"
    before = own.read_text()
    assert crew.run("agent", "add", "Bad", "--", "x").code == 2
    assert own.read_text() == before
    assert crew.run("agent", "add", "here", "--repository", "--adapter", "acp", "--", "odd").code == 0
    assert "adapter: acp" in (crew.repo / ".nightcrew" / "config.yaml").read_text()
    plan = crew.write_plan("# Night\n\n- [ ] 1. Go\n  - Agent: other\n  - Prompt: touch x\n")
    flagged = crew.run("plan", "-f", str(plan), "--json")
    assert "the agent other asks for nothing while it runs" in flagged.stdout, flagged
    own.write_text(f"{own.read_text()}approvals: {{require: all}}\n")
    refused = crew.run("plan", "-f", str(plan))
    assert (refused.code, "approvals.require" in refused.stdout + refused.stderr) == (6, True), refused
    gone = crew.run("agent", "test", "codex")
    assert (gone.code, "codex is not installed" in gone.stderr) == (2, True), gone
