"""``nightcrew rehearse`` with a fake agent on PATH: what is printed is what would be asked, and nothing of it stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_agents import install
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

TASKS = """# Night

- [ ] 1. Write two files
  - Agent: claude
  - Scope: one, two
  - Accept: `test -e never`
  - Prompt:
    ```
    RUN: touch one
    RUN: git push --force origin main
    RUN: wget -q http://127.0.0.1:9/x || true
    RUN: touch two
    ```

- [ ] 2. Go on
  - Depends: 1
  - Run: `cat one > three`
"""


def test_what_would_be_asked_and_what_denied(crew: Hermetic) -> None:
    install(crew, "claude")
    plan = crew.write_plan(TASKS)
    before = crew.git("status", "--porcelain"), crew.git("rev-parse", "HEAD")
    done = crew.run("rehearse", str(plan), "--json", timeout_s=150)
    assert done.code == 0, done
    report = done.json
    assert [(each["task"], each["action"]) for each in report["asked"]] == [
        ("T01", "wget -q http://127.0.0.1:9/x || true")
    ]
    (denied,) = report["denied"]
    assert (denied["action"], denied["rule"]) == ("git push --force origin main", "git.force_push")
    assert [(task["id"], task["played"], task["state"]) for task in report["tasks"]] == [
        ("T01", True, "succeeded"),
        ("T02", False, "succeeded"),
    ]
    # Nothing of it is in the person's own state, repository or temporary files, and nothing of it runs.
    assert crew.look("ps", "--json").json == []
    assert (crew.git("status", "--porcelain"), crew.git("rev-parse", "HEAD")) == before
    assert list((crew.root / "tmp").iterdir()) == []
    assert crew.find_commands("nightcrew.testing.models") == [] or not list(crew.find_processes())


def test_questions_are_left_or_denied_as_said(crew: Hermetic) -> None:
    install(crew, "claude")
    plan = crew.write_plan(TASKS)
    left = crew.run("rehearse", str(plan), "--answer", "leave", "--keep", timeout_s=150)
    assert left.code == 5, left
    assert "You would be asked: 1" in left.stdout
    assert "rule net.tools" in left.stdout
    (kept,) = (crew.root / "tmp").iterdir()
    assert str(kept) in left.stderr
    assert json.loads((kept / "scenario.json").read_text())[0]["when"] in (kept / "tasks.md").read_text()
    denied = crew.run("rehearse", str(plan), "--answer", "deny", "--json", timeout_s=150)
    assert denied.code == 10, denied


def test_a_task_that_names_no_agent_is_played_by_the_one_that_is_named_without_any_key(
    crew: Hermetic,
) -> None:
    install(crew, "claude")
    plan = crew.write_plan(TASKS.replace("  - Agent: claude\n", ""))
    done = crew.run("rehearse", str(plan), "--agent", "claude", "--json", timeout_s=150)
    assert done.code == 0, done
    assert [(task["id"], task["agent"], task["played"]) for task in done.json["tasks"]] == [
        ("T01", "claude", True),
        ("T02", "command", False),
    ]


def test_what_cannot_be_rehearsed_is_said_before_anything_starts(crew: Hermetic) -> None:
    plan = str(crew.write_plan(TASKS))
    for words, said in (
        ((plan, "--fault", "sneeze"), "is no fault"),
        ((plan, "--agent", "nobody"), "there is no agent called"),
        ((plan, "--agent", "command"), "asks no model"),
        ((plan, "--scenario", "none.json"), "there is no scenario"),
        ((plan, "--agent", "claude"), "claude is not installed"),
        (("none.md",), "none.md"),
    ):
        refused = crew.run("rehearse", *words)
        assert refused.code in (2, 3), refused
        assert said in refused.stderr, refused
    only_lines = crew.write_plan("# Night\n\n- [ ] 1. Go\n  - Run: `true`\n")
    refused = crew.run("rehearse", str(only_lines))
    assert (refused.code, "has a model to be played" in refused.stderr) == (2, True), refused
    assert list(Path(crew.root / "tmp").iterdir()) == []
