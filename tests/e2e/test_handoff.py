"""Paths that something on the host will execute land only with a yes of their own."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

AGENT = """
import os, pathlib
pathlib.Path(".husky").mkdir()
pathlib.Path(".husky/pre-commit").write_text("echo hello\\n")
pathlib.Path("Makefile").write_text("all:\\n\\techo hello\\n")
pathlib.Path("src/tool.sh").write_text("#!/bin/sh\\n")
os.chmod("src/tool.sh", 0o755)
pathlib.Path("src/app.py").write_text("print('promoted')\\n")
"""
TASK = "- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: grep -q promoted src/app.py\n"


def prepare(crew: Hermetic, policy: str = "") -> str:
    crew.write({"agent.py": AGENT, **({".nightcrew/policy.yaml": policy} if policy else {})})
    crew.commit("agent")
    done = crew.run_tasks(TASK)
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01").code == 0
    return crew.git("rev-parse", "HEAD")


def test_yes_alone_does_not_cover_them(crew: Hermetic) -> None:
    before = prepare(crew)
    review = crew.run("review", "R-1").stdout
    for said in (".husky/pre-commit", "git", "the build tool", "becomes executable"):
        assert said in review
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 5, refused
    assert "--allow-handoff git" in refused.stderr
    assert "--allow-handoff build" in refused.stderr
    assert "git, or a tool that hooks into it, runs it" in refused.stderr
    some = crew.run("promote", "R-1", "--yes", "--allow-handoff", "git", "--allow-handoff", "Makefile")
    assert some.code == 5, some
    assert "src/tool.sh" in some.stderr
    assert "Makefile:" not in some.stderr
    assert crew.git("rev-parse", "HEAD") == before
    wrong = crew.run("promote", "R-1", "--yes", "--allow-handoff", "gti")
    assert wrong.code == 2, wrong
    done = crew.run(
        "promote", "R-1", "--yes", "--json",
        "--allow-handoff", "git", "--allow-handoff", "build", "--allow-handoff", "executable",
    )  # fmt: skip
    assert done.code == 0, done
    assert crew.git("rev-parse", "HEAD") != before
    events = [json.loads(line) for line in crew.look("events", "--json").stdout.splitlines()]
    [prepared] = [event for event in events if event["kind"] == "promotion.prepared"]
    assert prepared["data"]["handoff"] == {
        ".husky/pre-commit": "git",
        "Makefile": "build",
        "src/tool.sh": "executable",
    }


def test_the_policy_says_per_class_what_is_needed(crew: Hermetic) -> None:
    prepare(crew)
    crew.write(
        {
            ".nightcrew/policy.yaml": "version: 1\nhandoff:\n  git: allow\n  build: allow\n  executable: allow\n"
            "  robot: {who: the robot, reason: it runs apps, paths: [src/app.py], decision: deny,"
            " examples: {match: [src/app.py], not_match: [src/b.py]}}\n"
        }
    )
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 6, refused
    assert "src/app.py: the robot (robot): it runs apps" in refused.stderr
    crew.write(
        {".nightcrew/policy.yaml": "version: 1\nhandoff: {git: allow, build: allow, executable: allow}\n"}
    )
    done = crew.run("promote", "R-1", "--yes")
    assert done.code == 0, done


def test_what_a_hook_reaches_by_way_of_other_scripts_is_said_with_the_way(crew: Hermetic) -> None:
    crew.write({"tools/check": "#!/bin/sh\n. tools/lib/common\n", "tools/lib/common": "true\n"})
    (crew.repo / "tools/check").chmod(0o755)
    crew.commit("checks")
    hook = crew.repo / ".git/hooks/pre-push"
    hook.write_text("#!/bin/sh\nexec tools/check\n")
    hook.chmod(0o755)
    crew.run_tasks(
        "- [ ] 1. change\n  - Run: echo echo >> tools/lib/common; echo more > notes.txt\n  - Accept: test -s notes.txt\n"
    )
    assert crew.run("accept", "R-1/T01").code == 0
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 5, refused
    assert "tools/check starts tools/lib/common" in refused.stderr, refused
    assert "notes.txt:" not in refused.stderr
    done = crew.run("promote", "R-1", "--yes", "--allow-handoff", "git")
    assert done.code == 0, done
