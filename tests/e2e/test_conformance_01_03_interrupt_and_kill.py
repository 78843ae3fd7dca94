"""Rows 1-3: an interrupt or kill -9 of the runtime; resume goes on at once, finished tasks are kept, no agent lives on."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns


def plan(token: str) -> str:
    """Task 1 is quick; task 2 needs it, and sleeps with digits in its command line that can be found from outside."""
    return (
        "# Two tasks\n"
        "- [ ] 1. quick\n  - Run: echo one > one.txt\n  - Accept: test -f one.txt\n"
        f"- [ ] 2. slow\n  - Depends: 1\n  - Run: sleep 3.{token} && echo two > two.txt\n  - Accept: test -f two.txt\n"
    )


def start(crew: Hermetic, *args: str) -> subprocess.Popen[bytes]:
    log = (crew.root / "run.log").open("wb")
    return subprocess.Popen(
        [*crew.program, *args],
        cwd=crew.repo,
        env=crew.variables,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def begin(crew: Hermetic, token: str) -> subprocess.Popen[bytes]:
    """Start the run and wait until the slow agent really works."""
    runtime = start(crew, "run", "-f", str(crew.write_plan(plan(token))), "--yes")
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the agent of task 2")
    return runtime


def check_finished(crew: Hermetic, view: dict[str, object], *, attempts: tuple[int, ...] = (2,)) -> None:
    tasks = by_name(view)
    assert [task["state"] for task in tasks.values()] == ["succeeded", "succeeded"]
    assert tasks["T01"]["attempts"] == 1, "a finished task ran again"
    assert tasks["T02"]["attempts"] in attempts
    assert crew.look("audit", "verify").code == 0


def test_01_interrupt_then_resume_skips_finished_tasks(crew: Hermetic, token: str) -> None:
    runtime = begin(crew, token)
    os.kill(runtime.pid, signal.SIGINT)
    assert runtime.wait(30) == 130, (crew.root / "run.log").read_text()
    assert crew.find_commands(token) == []
    view = crew.show("R-1")
    assert view["state"] == "interrupted"
    assert by_name(view)["T01"]["state"] == "succeeded"
    resumed = crew.run("resume", "R-1", "--json")
    assert resumed.code == 0, resumed
    check_finished(crew, resumed.json)


def test_02_kill_9_then_resume_goes_on_at_once(crew: Hermetic, token: str) -> None:
    runtime = begin(crew, token)
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    started = time.monotonic()
    assert crew.show("R-1")["state"] == "interrupted"
    resumed = crew.run("resume", "R-1", "--json")
    assert resumed.code == 0, resumed
    # The task itself takes 3 s; what must not happen is that somebody waits for a lease (300 s elsewhere) to run out.
    assert time.monotonic() - started < 60
    check_finished(crew, resumed.json)


def test_02_the_next_run_goes_on_with_what_was_killed(crew: Hermetic, token: str) -> None:
    runtime = begin(crew, token)
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    other = crew.run_tasks("- [ ] 1. other\n  - Run: echo x > x.txt\n  - Accept: test -f x.txt\n")
    assert other.code == 0, other
    crew.run("resume", "R-1", "--json")
    # The other run's engine took it up too, and may have ended before it was done.
    check_finished(crew, crew.show("R-1"), attempts=(2, 3))


def test_03_kill_9_leaves_no_agent_process(crew: Hermetic, token: str) -> None:
    long = (
        "- [ ] 1. hang\n  - Run:\n    ```\n"
        f"    setsid sleep 600.{token} & nohup sleep 601.{token} & sleep 602.{token}\n    ```\n"
    )
    runtime = start(crew, "run", "-f", str(crew.write_plan(long)), "--yes")
    crew.wait_until(lambda: len(crew.find_commands(f".{token}")) >= 3, timeout_s=60, what="three processes")
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    crew.wait_until(lambda: not crew.find_commands(token), timeout_s=8, what="the end of every agent process")
