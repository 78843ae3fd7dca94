"""Row 20: an action waits for its approval, and that survives every kind of restart."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

POLICY = """version: 1
commands:
  - id: test.release
    when: {program: [release.sh]}
    decision: ask
    reason: a person decides
    examples: {match: [./release.sh]}
"""
TEXT = (
    "- [ ] 1. asks\n  - Run: ./release.sh\n  - Accept: grep -qx released out.txt\n"
    "- [ ] 2. goes on meanwhile\n  - Run: echo x > x.txt\n  - Accept: test -f x.txt\n"
    "- [ ] 3. needs the yes\n  - Depends: 1\n  - Run: cat out.txt > three.txt\n  - Accept: test -s three.txt\n"
)


@pytest.fixture
def asking(crew: Hermetic) -> Hermetic:
    crew.write({"release.sh": "#!/bin/sh\necho released >> out.txt\n", ".nightcrew/policy.yaml": POLICY})
    (crew.repo / "release.sh").chmod(0o755)
    crew.commit("policy")
    return crew


def find_open(crew: Hermetic) -> list[dict[str, Any]]:
    return [item for item in crew.look("inbox", "--json").json if item["kind"] == "action"]


def wait_for_end(crew: Hermetic) -> dict[str, dict[str, Any]]:
    final = {"succeeded", "failed", "blocked", "cancelled", "skipped"}
    crew.wait_until(
        lambda: all(task["state"] in final for task in crew.show_tasks("R-1").values()),
        timeout_s=60,
        what="the end of the run",
    )
    return crew.show_tasks("R-1")


def test_20_yes_approves_the_plan_and_never_the_action(asking: Hermetic) -> None:
    done = asking.run_tasks(TEXT)
    assert done.code == 5, done
    states = {name: task["state"] for name, task in by_name(done.json).items()}
    assert states == {"T01": "awaiting_approval", "T02": "succeeded", "T03": "pending"}, done
    [item] = find_open(asking)
    assert item["id"] == "A-1"
    assert item["state"] == "pending"
    assert item["task"] == "R-1/T01"
    assert "./release.sh" in item["action"]
    assert item["rule"] == "test.release"
    assert len(item["digest"]) == 64
    assert "expires_at" in item


def test_20_an_approval_given_later_makes_the_work_go_on(asking: Hermetic) -> None:
    assert asking.run_tasks(TEXT).code == 5
    approved = asking.run("approve", "A-1", "--json")
    assert approved.code == 0, approved
    tasks = wait_for_end(asking)
    assert [task["state"] for task in tasks.values()] == ["succeeded"] * 3
    assert find_open(asking) == []
    assert asking.run("audit", "verify").code == 0


def test_20_kill_9_while_it_waits_then_decide(asking: Hermetic) -> None:
    plan = asking.write_plan(TEXT)
    runtime = subprocess.Popen(
        [*asking.program, "run", "-f", str(plan), "--yes", "--wait"],
        cwd=asking.repo, env=asking.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    asking.wait_until(lambda: find_open(asking), timeout_s=60, what="the question")
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    assert [item["id"] for item in find_open(asking)] == ["A-1"]
    assert asking.run("approve", "A-1", "--no-start").code == 0
    done = asking.run("resume", "R-1", "--wait", "--json")
    assert done.code == 0, done
    assert [task["state"] for task in by_name(done.json).values()] == ["succeeded"] * 3
    assert asking.run("diff", "R-1/T01").stdout.count("+released") == 1, (
        "the approved action ran more than once"
    )


def test_20_a_denial_with_its_reason_stops_it(asking: Hermetic) -> None:
    assert asking.run_tasks(TEXT).code == 5
    denied = asking.run("deny", "A-1", "-m", "not before Monday")
    assert denied.code == 0, denied
    tasks = wait_for_end(asking)
    assert [task["state"] for task in tasks.values()] == ["failed", "succeeded", "blocked"]
    assert "not before Monday" in asking.run("why", "A-1").stdout
    assert asking.run("checkpoint", "list", "R-1/T01", "--json").code == 0


def test_20_a_decision_is_made_once(asking: Hermetic) -> None:
    assert asking.run_tasks(TEXT).code == 5
    wrong = asking.run("approve", "A-1", "--digest", "0" * 64)
    assert wrong.code == 7, wrong
    assert asking.run("deny", "A-1", "-m", "first").code == 0
    assert asking.run("approve", "A-1").code == 7
    assert asking.show("A-1")["state"] == "denied"


def test_20_the_plan_itself_waits_without_a_terminal(crew: Hermetic) -> None:
    plan = crew.write_plan("- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -f a.txt\n")
    done = crew.run("run", "-f", str(plan))
    assert done.code == 5, done
    assert "nightcrew approve R-1" in done.stderr
    assert crew.show_tasks("R-1")["T01"]["state"] == "pending"
    assert crew.run("approve", "R-1", "--no-start").code == 0
    resumed = crew.run("resume", "R-1", "--json")
    assert resumed.code == 0, resumed
