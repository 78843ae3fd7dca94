"""An agent takes over a task from another one: it is told who was there, why it ended and what it had changed, as data."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = (
    "# Night\n\n- [ ] 1. Write it\n  - Agent: first\n  - Fallback: second\n  - Prompt: Write told.txt.\n"
    "  - Accept: `test -s told.txt`\n"
)
AGENTS = """agents:
  first: {argv: [sh, -c, "echo half > half.txt; echo more > more.txt; exit 3"]}
  second: {argv: [sh, -c, "cat > told.txt; ls > seen.txt"], prompt: stdin}
"""


def configure(crew: Hermetic, more: str) -> None:
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    own.joinpath("config.yaml").write_text("version: 1\n" + AGENTS + more)


def promote(crew: Hermetic) -> None:
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0


@pytest.mark.parametrize(
    ("word", "kept", "said"),
    [
        ("base", False, "You begin with the files as they were before it; what it did is kept aside"),
        ("checkpoint", True, "You go on with its files as it left them"),
    ],
)
def test_it_is_told_what_was_done(crew: Hermetic, word: str, kept: bool, said: str) -> None:
    configure(crew, f"retries: {{attempts: 1, fallback_from: {word}}}\n")
    done = crew.run_tasks(PLAN, timeout_s=90)
    assert done.code == 0, done
    task = done.json["tasks"][0]
    assert (task["agent"], task["planned_agent"], task["state"]) == ("second", "first", "succeeded")
    promote(crew)
    told = (crew.repo / "told.txt").read_text()
    assert told.startswith("Write told.txt.")
    assert "Another agent was at this task before you and did not finish it." in told
    assert said in told
    # What another agent has left is data, and marked as such.
    marked = told[told.index("what is known of the agent that was at this task before") :]
    assert "agent: first" in marked
    assert "why it ended: the command ended with exit code 3" in marked
    assert "files it had changed: half.txt, more.txt" in marked
    assert ("half.txt" in (crew.repo / "seen.txt").read_text()) is kept
    assert (crew.repo / "half.txt").exists() is kept
    checkpoints = json.loads(crew.run("checkpoint", "list", "R-1/T01", "--json").stdout)
    assert any(each["id"] in told for each in checkpoints), (told, checkpoints)


def test_an_agent_that_begins_is_told_of_nobody(crew: Hermetic) -> None:
    configure(crew, "")
    done = crew.run_tasks(PLAN.replace("Agent: first\n  - Fallback: second", "Agent: second"), timeout_s=90)
    assert done.code == 0, done
    promote(crew)
    assert (crew.repo / "told.txt").read_text() == "Write told.txt."
