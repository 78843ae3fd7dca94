"""Programs that a repository carries for an agent that runs them unasked: told with the plan, before anything runs."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, install_planner, plan, task

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
        (".opencode/tool/t.ts", "x"),
        ("opencode.json", '{"\\u0070lugin": ["./p.js"]}'),
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


@pytest.mark.parametrize("link", [".opencode", ".opencode/plugin", "opencode.json"])
def test_what_leads_elsewhere_is_named(crew: Hermetic, link: str) -> None:
    crew.write({"elsewhere/plugin/p.js": "x"})
    (crew.repo / link).parent.mkdir(exist_ok=True)
    (crew.repo / link).symlink_to("elsewhere")
    crew.commit("a link")
    (text,) = flags(crew, "opencode")
    assert text.endswith(f"without a question: {link}")


@pytest.mark.needs_userns
def test_yes_does_not_approve_them_in_a_plan_that_an_agent_made(crew: Hermetic) -> None:
    configure(crew, "planner: {agent: claude}\n")
    install_planner(crew, "opencode")
    install_planner(crew, "claude", first=plan(task("1", "Write it", agent="opencode")))
    crew.write({".opencode/plugin/p.js": "x"})
    crew.commit("a plugin")
    ran = crew.run("run", "Add login rate limiting", "--yes")
    assert ran.code == 5, ran
    assert (
        "--yes does not approve the plan of R-1: an agent made it, and it holds what needs your eyes"
        in ran.stderr
    )
    assert "T01 carried: opencode runs programs of this repository by itself" in " ".join(ran.stderr.split())
    assert crew.show("R-1")["state"] == "awaiting_approval"
    noted = crew.look("events", "--json", "--kinds", "approval.refused").json["data"]
    assert (noted["via"], noted["code"]) == ("--yes", "plan.flagged")


def test_without_plugins_and_for_agents_that_do_not_run_them_there_is_none(crew: Hermetic) -> None:
    crew.write({"opencode.json": '{"permission": {"bash": "ask"}}'})
    crew.commit("settings")
    assert flags(crew, "opencode") == []
    crew.write({".opencode/plugin/p.js": "x"})
    crew.commit("a plugin")
    assert flags(crew, "gemini") == []
