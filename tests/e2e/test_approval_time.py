"""The time of questions through the installed command: it ends what it should, reminds, and stands still while nobody hosts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

POLICY = """version: 1
approvals: {medium: TERMS}
commands: [{id: test.release, when: {program: [release.sh]}, decision: ask, reason: a person decides}]
"""
TASK = "- [ ] 1. asks\n  - Run: ./release.sh\n  - Accept: grep -qx released out.txt\n"


def prepare(crew: Hermetic, terms: str) -> None:
    crew.write(
        {
            "release.sh": "#!/bin/sh\necho released >> out.txt\n",
            ".nightcrew/policy.yaml": POLICY.replace("TERMS", terms),
        }
    )
    (crew.repo / "release.sh").chmod(0o755)
    crew.commit("policy")


def events(crew: Hermetic, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in crew.look("events", "--json", "--kinds", kind).stdout.splitlines()]


def test_nobody_answers_and_it_is_denied_without_anybody_at_the_terminal(crew: Hermetic) -> None:
    prepare(crew, "{timeout: 4s}")
    assert crew.run_tasks(TASK).code == 5
    crew.wait_until(lambda: crew.show("A-1")["state"] == "expired", timeout_s=60, what="the end of its time")
    crew.wait_until(lambda: crew.show_tasks("R-1")["T01"]["state"] == "failed", what="the end of the task")
    assert [each["data"]["percent"] for each in events(crew, "approval.reminded")] in ([50, 90], [90], [50])
    late = crew.run("approve", "A-1", "--json")
    assert (late.code, late.json["error"]["code"]) == (7, "gate.decided"), late
    assert "expired without an answer" in crew.look("why", "R-1/T01").stdout


def test_nobody_answers_and_it_waits_on(crew: Hermetic) -> None:
    prepare(crew, "{timeout: 2s, on_timeout: park}")
    assert crew.run_tasks(TASK).code == 5
    crew.wait_until(lambda: events(crew, "approval.waits_on"), timeout_s=60, what="the end of its time")
    shown = crew.show("A-1")
    assert (shown["state"], shown["expires_at"]) == ("pending", "")
    assert "its time is over, it waits on" in crew.look("inbox").stdout
    assert crew.run("approve", "A-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=60, what="the end of the run")


@pytest.mark.parametrize(
    ("terms", "problem"),
    [
        (
            "{timeout: 1h, on_timeout: allow}",
            "nobody's silence is a yes to a medium risk: allow is only for low",
        ),
        ("{on_timeout: park}", "has no effect without a timeout"),
        ("{quorum: 3, approvers: [ada, grace]}", "3 people are needed, and 2 may answer"),
        ("{quorum: 0}", "must be at least 1"),
        ("{factor: fingerprint}", "approvals.medium.factor"),
    ],
)
def test_terms_that_cannot_be_met_are_errors_of_the_file(crew: Hermetic, terms: str, problem: str) -> None:
    prepare(crew, terms)
    refused = crew.look("policy", "check")
    assert refused.code == 2, refused
    assert problem in refused.stderr
    assert ".nightcrew/policy.yaml:2:" in refused.stderr


def test_its_time_stands_still_while_nobody_hosts(crew: Hermetic) -> None:
    prepare(crew, "{timeout: 6s}")
    plan = crew.write_plan(TASK)
    runtime = subprocess.Popen(
        [*crew.program, "run", "-f", str(plan), "--yes", "--wait"],
        cwd=crew.repo, env=crew.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    crew.wait_until(lambda: events(crew, "approval.opened"), timeout_s=60, what="the question")
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    end = crew.show("A-1")["expires_at"]
    # Longer than it had: by the clock on the wall it is over.
    crew.wait_until(lambda: clock(crew) > end, timeout_s=60, what="the end by the wall clock")
    assert crew.show("A-1")["state"] == "pending"
    assert crew.run("approve", "A-1", "--no-start").code == 0
    assert crew.run("resume", "R-1", "--wait").code == 0
    assert crew.show_tasks("R-1")["T01"]["state"] == "succeeded"


def test_who_hosts_again_gives_the_time_back(crew: Hermetic) -> None:
    prepare(crew, "{timeout: 8s}")
    plan = crew.write_plan(TASK)
    runtime = subprocess.Popen(
        [*crew.program, "run", "-f", str(plan), "--yes", "--wait"],
        cwd=crew.repo, env=crew.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    crew.wait_until(lambda: events(crew, "approval.opened"), timeout_s=60, what="the question")
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    end = crew.show("A-1")["expires_at"]
    crew.wait_until(lambda: clock(crew) > end, timeout_s=60, what="the end by the wall clock")
    crew.run("resume", "R-1", timeout_s=120)
    [moved] = events(crew, "approval.extended")[:1]
    assert moved["data"]["reason"] == "nobody hosted the engine"
    assert moved["data"]["expires_at"] > end
    expired = crew.wait_until(
        lambda: crew.show("A-1")["state"] == "expired" and crew.show("A-1"), timeout_s=60, what="its end"
    )
    assert expired["decided_at"] >= moved["data"]["expires_at"]


def clock(crew: Hermetic) -> str:
    from datetime import UTC, datetime

    from nightcrew.host.clock import stamp

    return stamp(datetime.now(UTC))


PROGRAM = """
import asyncio, sys
from pathlib import Path

from nightcrew.runtime.api import Runtime
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.runtime.replies import Reply

seen = []


async def ask(question):
    seen.append(question)
    await asyncio.sleep(0.01)
    how = sys.argv[1]
    if how == "raise":
        raise RuntimeError("no idea")
    if how == "late":
        await asyncio.sleep(60)
    return {"approve": Reply.approve("as agreed"), "deny": Reply.deny("not at night"), "leave": None, "nonsense": "yes"}.get(how)


runtime = Runtime(read_environment(), cwd=Path.cwd())
runtime.on_approval(ask, timeout_s=2.0)
run = runtime.plan(sys.argv[2])
runtime.approve_plan(run["id"], digest=run["digest"], via="test")
print(runtime.drive(run["id"], on_change=lambda events: None, wait=sys.argv[1] in ("approve", "deny")))
print(len(seen), seen[0].action)
runtime.close()
"""


@pytest.mark.parametrize(
    ("how", "state", "left"),
    [
        ("approve", "approved", ""),
        ("deny", "denied", ""),
        ("leave", "pending", ""),
        ("raise", "pending", "it failed: RuntimeError: no idea"),
        ("late", "pending", "it did not answer within 2 s"),
        ("nonsense", "pending", "it answered with a str, not with a Reply"),
    ],
)
def test_a_function_of_a_program_is_asked(crew: Hermetic, how: str, state: str, left: str) -> None:
    prepare(crew, "{timeout: 1h}")
    (crew.root / "night.py").write_text(PROGRAM)
    plan = crew.write_plan(TASK)
    done = subprocess.run(
        [sys.executable, str(crew.root / "night.py"), how, str(plan)],
        cwd=crew.repo, env=crew.variables, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done
    if left:
        crew.wait_until(lambda: events(crew, "approval.left"), what="why it was left")
        assert left in events(crew, "approval.left")[0]["data"]["reason"]
    else:
        assert "1 ./release.sh" in done.stdout, done
    shown = crew.show("A-1")
    assert shown["state"] == state
    assert shown["decided_via"] == ("callback" if state != "pending" else "")
    if state == "denied":
        assert "not at night" in crew.show_tasks("R-1")["T01"]["reason"]
