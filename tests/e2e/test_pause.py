"""``pause`` and ``resume`` of a run and of a task: the agent is gone, its work is kept, and it goes on from there."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns


def begin(crew: Hermetic, plan: str, **scripts: str) -> subprocess.Popen[bytes]:
    """Start a run in the foreground of another process."""
    path = crew.write_plan(plan, scripts={name.replace("_", "."): text for name, text in scripts.items()})
    log = (crew.root / "run.log").open("wb")
    return subprocess.Popen(
        [*crew.program, "run", "-f", str(path), "--yes"],
        cwd=crew.repo,
        env=crew.variables,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def read(crew: Hermetic, checkpoint: str) -> str:
    return crew.look("checkpoint", "diff", checkpoint, "--json").stdout


def test_a_paused_script_goes_on_at_the_next_step(crew: Hermetic, token: str) -> None:
    steps = (
        '- append: log.txt\n  content: "1\\n"\n'
        f"- run: sleep 3.{token}; echo 2 >> log.txt\n"
        '- append: log.txt\n  content: "3\\n"\n'
    )
    runtime = begin(crew, "- [ ] 1. steps\n  - Agent: script\n  - Script: a.yaml\n", a_yaml=steps)
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the second step")
    paused = crew.run("pause", "R-1/T01", "-m", "lunch", "--json")
    assert paused.code == 0, paused
    assert paused.json["paused"] == ["R-1/T01"]
    assert runtime.wait(30) == 5, (crew.root / "run.log").read_text()
    assert crew.find_commands(token) == []
    task = crew.show("R-1/T01")
    assert (task["state"], task["reason"]) == ("paused", f"paused by {getpass.getuser()}: lunch")
    assert [tried["state"] for tried in task["tries"]] == ["paused"]
    assert crew.run("pause", "R-1/T01").code == 7
    done = crew.run("resume", "R-1/T01", "--json")
    assert done.code == 0, done
    assert by_name(done.json)["T01"]["state"] == "succeeded"
    assert "+1\n+2\n+3" in crew.look("diff", "R-1/T01").stdout, "a step was lost, or done twice"
    whys = [each["why"] for each in crew.look("checkpoint", "list", "R-1/T01", "--json").json]
    assert "paused" in whys
    assert crew.look("audit", "verify").code == 0


def test_a_paused_run_starts_nothing_and_survives_its_host(crew: Hermetic, token: str) -> None:
    line = (
        f"echo kept > kept.txt; test -e again && echo done > done.txt || {{ touch again; sleep 60.{token}; }}"
    )
    runtime = begin(
        crew, f"- [ ] 1. one\n  - Run: {line}\n- [ ] 2. two\n  - Depends: 1\n  - Run: touch two\n"
    )
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the agent")
    assert crew.run("pause", "R-1").code == 0
    runtime.wait(30)
    view = crew.show("R-1")
    assert (view["state"], by_name(view)["T01"]["state"]) == ("paused", "paused")
    assert by_name(view)["T02"]["state"] == "pending"
    [*_, last] = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    assert "kept.txt" in read(crew, last["id"])
    again = crew.run("retry", "R-1/T01")
    assert (again.code, "nightcrew resume R-1/T01" in again.stderr) == (7, True), again
    assert "nightcrew resume R-1/T01" in crew.run("review", "R-1").stdout
    other = crew.run_tasks("- [ ] 1. other\n  - Run: touch x\n")
    assert other.code == 0, other
    assert crew.show("R-1")["state"] == "paused", "another host took up a paused run"
    # An engine is there for another run: what is added to this one waits all the same, and that is said.
    hosting = begin(crew, f"- [ ] 1. long\n  - Run: sleep 60.{token}\n")
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the other agent")
    fork = crew.run("checkpoint", "fork", last["id"], "--run", "touch forked", "--yes")
    assert (fork.code, "nothing goes on with it now" in fork.stderr) == (0, True), fork
    assert crew.run("cancel", "R-3").code == 0
    hosting.wait(60)
    assert by_name(crew.show("R-1"))["T01F1"]["state"] == "pending"
    done = crew.run("resume", "R-1", "--json")
    assert done.code == 0, done
    assert {task["state"] for task in done.json["tasks"]} == {"succeeded"}
    assert "done.txt" in crew.look("diff", "R-1/T01").stdout, "it did not go on in what it left"


def test_a_run_without_a_host_is_paused_too(crew: Hermetic, token: str) -> None:
    runtime = begin(crew, f"- [ ] 1. one\n  - Run: test -e a || sleep 2.{token}; touch b\n")
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the agent")
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    assert crew.run("pause", "R-1").code == 0
    assert by_name(crew.show("R-1"))["T01"]["state"] == "paused"
    done = crew.run("resume", "R-1", "--json")
    assert done.code == 0, done
    assert by_name(done.json)["T01"]["attempts"] == 2


def test_what_cannot_be_paused_says_why(crew: Hermetic) -> None:
    crew.run_tasks("- [ ] 1. one\n  - Run: touch a\n")
    over = crew.run("pause", "R-1")
    assert over.code == 7
    assert "in_review" in over.stderr
    assert crew.run("resume", "R-1/T01").code == 7
    assert crew.run("pause", "R-9").code == 3


@pytest.mark.parametrize("point", ["engine.agent.finished", "engine.attempt.paused"])
def test_a_host_killed_while_it_pauses(crew: Hermetic, token: str, point: str) -> None:
    line = (
        f"echo kept > kept.txt; test -e again && echo done > done.txt || {{ touch again; sleep 60.{token}; }}"
    )
    path = crew.write_plan(f"- [ ] 1. one\n  - Run: {line}\n")
    crash = {"NIGHTCREW_CRASH_AT": point}
    crew.start("run", "-f", str(path), "--yes", log=crew.root / "run.log", extra=crash)
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the agent")
    paused = crew.run("pause", "R-1/T01", "--json")
    assert (paused.code, paused.json["paused"]) == (0, ["R-1/T01"])
    crew.wait_until(lambda: not crew.find_commands(token), what="the end of the agent")
    assert by_name(crew.show("R-1"))["T01"]["state"] == "paused"
    crew.start("resume", "R-1/T01", log=crew.root / "resume.log")
    if point == "engine.attempt.paused":
        crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=60, what="the end")
        assert "done.txt" in crew.look("diff", "R-1/T01").stdout
    else:
        # Its checkpoint was not recorded with the pause: it begins where it had begun.
        crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the agent again")
        assert crew.run("cancel", "R-1").code == 0
    assert crew.look("audit", "verify").code == 0
