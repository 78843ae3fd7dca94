"""Programs that a repository carries for an agent that runs them unasked: told with the plan, before anything runs."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

PLAN = "# Night\n\n- [ ] 1. Write it\n  - Agent: {agent}\n  - Model: gpt-5.5\n  - Accept: `true`\n  - Scope: a.txt\n  - Prompt: Write it.\n"


def flags(crew: Hermetic, agent: str) -> list[str]:
    ran = crew.run("plan", "-f", str(crew.write_plan(PLAN.format(agent=agent))), "--json")
    assert ran.code == 0, ran
    return [each["text"] for each in ran.json["flags"] if each["kind"] == "carried"]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".opencode/plugin/p.js", "x"),
        (".opencode/plugins/p.ts", "x"),
        ("opencode.json", '{"plugins": ["./p.js"]}'),
        (".opencode/opencode.jsonc", '{"plugin": ["p"]}'),
    ],
)
def test_plugins_of_the_repository_are_named_in_the_plan(crew: Hermetic, path: str, content: str) -> None:
    crew.write({path: content})
    crew.commit("a plugin")
    (text,) = flags(crew, "opencode")
    assert text == (
        f"opencode runs programs of this repository by itself, confined and without a question: {path}"
    )
    shown = crew.run("plan", "-f", str(crew.write_plan(PLAN.format(agent="opencode")))).stdout
    assert "programs that come with the repository, and that its agent runs unasked" in shown


def test_without_plugins_and_for_agents_that_do_not_run_them_there_is_none(crew: Hermetic) -> None:
    crew.write({"opencode.json": '{"permission": {"bash": "ask"}}'})
    crew.commit("settings")
    assert flags(crew, "opencode") == []
    crew.write({".opencode/plugin/p.js": "x"})
    crew.commit("a plugin")
    assert flags(crew, "gemini") == []
