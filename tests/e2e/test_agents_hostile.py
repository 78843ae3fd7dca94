"""Agents that break their protocol or their word, each through the installed command, in one night per protocol.

The programs are nightcrew.testing.peers; what each fault does stands there.
"""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from nightcrew.testing import peers
from nightcrew.testing.hermetic import Hermetic

pytestmark = [pytest.mark.needs_userns, pytest.mark.timeout(400)]

#: What makes each adapter begin without a way to a model.
NO_MODEL = {
    "claude": {"ANTHROPIC_BASE_URL": "x"},
    "codex": {"NIGHTCREW_MODEL_KEY": "x"},
    "opencode": {"OPENCODE_CONFIG_CONTENT": "{}"},
}
SETTINGS = """version: 1
max_parallel: 3
timeouts: {idle: 4s, hard: 60s, grace: 300ms}
retries: {attempts: 1}
agents:
"""
#: Fault → state of its task at rest, and what is said of it.
EXPECTED = {
    "silence": ("failed", "no output for 4 s"),
    "deaf": ("failed", "no output for 4 s"),
    "garbage": ("failed", "broke its protocol"),
    "endless": ("failed", "endless line"),
    "unknown": ("succeeded", ""),
    "types": ("succeeded", ""),
    "unasked": ("awaiting_approval", ""),
    "halfway": ("failed", "exit code 0"),
    "liar": ("failed", "acceptance failed"),
    "sneaky": ("awaiting_approval", ""),
}


def set_up(crew: Hermetic, adapter: str, token: str) -> None:
    """Name an agent for every fault in the user's own settings; ``token`` stands in all their command lines."""
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    package = crew.root / "lib" / f"peers-{token}.py"
    package.parent.mkdir()
    package.write_text(f"#!{os.path.realpath(sys.executable)}\n{inspect.getsource(peers)}")
    package.chmod(0o755)
    kind = adapter if adapter in ("claude", "codex") else "acp"
    lines = []
    for fault in EXPECTED:
        env = ", ".join(f"{name}: '{value}'" for name, value in NO_MODEL[adapter].items())
        argv = f'["{package}", "{kind}", "{fault}"]'
        lines.append(f"  {fault}: {{adapter: {adapter}, argv: {argv}, env: {{{env}}}}}")
    own.joinpath("config.yaml").write_text(SETTINGS + "\n".join(lines) + "\n")


def make_tasks() -> str:
    """Return a task per fault: two lines to run, and a proof that the first one was."""
    parts = ["# Hostile\n"]
    for number, fault in enumerate(EXPECTED, 1):
        accept = "  - Accept: `test -e liar.txt`\n" if fault == "liar" else ""
        lines = f"    RUN: touch {fault}.txt\n    RUN: touch more-{fault}.txt\n"
        parts.append(
            f"- [ ] {number}. {fault}\n  - Agent: {fault}\n{accept}  - Prompt:\n    ```\n{lines}    ```\n"
        )
    return "\n".join(parts)


# gemini speaks the protocol of opencode.
@pytest.mark.parametrize("adapter", ["claude", "codex", "opencode"])
def test_what_hostile_agents_come_to(crew: Hermetic, adapter: str, token: str) -> None:
    set_up(crew, adapter, token)
    before = sorted(path.name for path in crew.repo.iterdir())
    done = crew.run_tasks(make_tasks(), timeout_s=240)
    assert done.code == 5, done
    tasks = dict(zip(EXPECTED, crew.show("R-1")["tasks"], strict=True))
    assert {fault: task["state"] for fault, task in tasks.items()} == {
        fault: state for fault, (state, _) in EXPECTED.items()
    }
    for fault, (_, said) in EXPECTED.items():
        assert said in tasks[fault]["reason"], tasks[fault]
    # Nothing of any of them is alive, not of the one that ignores being told to end either.
    assert crew.find_commands(token) == []
    # Nothing of them is in the repository, and what was not asked for is told as that.
    assert sorted(path.name for path in crew.repo.iterdir()) == before
    check_questions(crew, tasks)
    assert crew.look("audit", "verify").code == 0


def check_questions(crew: Hermetic, tasks: dict[str, dict[str, Any]]) -> None:
    """What was done without an answer is asked about as nothing else is; denying it leaves nothing of it."""
    waiting = {each["task"]: each for each in crew.look("inbox", "--json").json}
    unasked, sneaky = (waiting[tasks[fault]["id"]] for fault in ("unasked", "sneaky"))
    assert (unasked["rule"], unasked["risk"]) == ("agent.unasked", "critical")
    assert "touch unasked.txt" in str(unasked)
    assert sneaky["rule"] == "agent.unexplained"
    assert "sneaked" in str(sneaky)
    for each in (unasked, sneaky):
        assert crew.run("deny", each["id"], "-m", "no").code == 0
    for task in (tasks["unasked"], tasks["sneaky"]):
        name = task["id"]
        crew.wait_until(lambda name=name: crew.show(name)["state"] == "failed", what="the end of the task")
        why = crew.look("why", name)
        assert why.code == 0, why


def test_words_of_a_dead_agent_are_kept_for_a_person(crew: Hermetic, token: str, tmp_path: Path) -> None:
    """An agent that dies at once fails with what it printed last."""
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True)
    argv = '["bash", "-c", "echo the licence has run out >&2; exit 3"]'
    own.joinpath("config.yaml").write_text(
        f"version: 1\nretries: {{attempts: 1}}\nagents:\n  dead: {{adapter: acp, argv: {argv}}}\n"
    )
    done = crew.run_tasks("# Night\n\n- [ ] 1. Go\n  - Agent: dead\n  - Prompt: go\n")
    assert done.code == 10, done
    said = crew.look("why", "R-1/T01")
    assert "never spoke its protocol" in said.stdout + said.stderr, said
    assert "the licence has run out" in said.stdout + said.stderr, said
