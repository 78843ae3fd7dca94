"""``kill -9`` of the host at every named point and in between: the next host goes on, nothing is run twice or left."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import Rig, find_processes, task
from nightcrew.engine import client

HOST = Path(__file__).with_name("engine_host.py")
ASKS = "wget -q http://127.0.0.1:9/x"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def start_host(rig: Rig, run: str, point: str = "-") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(HOST), str(rig.root), run, point], stderr=subprocess.PIPE)


def wait_for(what: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(rig: Rig, run: str) -> None:
    """Host once more, in this process, and check that everything came to its end."""
    before = {each.id: each for each in rig.tasks(run) if each.state == "succeeded"}
    with rig.hosting() as engine:
        engine.wait(run)
    for name, finished in before.items():
        assert rig.task(name) == finished
    assert set(rig.states(run).values()) == {"succeeded"}
    assert rig.run_state(run) == "in_review"
    # A host that finds every run finished opens no repository.
    rig.sweep_half_removed()
    assert rig.shadows_left() == []
    assert rig.journal.verify().ok


def add_night(rig: Rig) -> str:
    return rig.add_run(
        task("1", "echo one > one.txt; sleep 0.2", accept="grep -q one one.txt"),
        task("2", steps=[("write", "two.txt", "2\n"), ("run", "", "echo 3 >> two.txt")], accept="true"),
        task("3", "cat one.txt two.txt > both.txt", depends=["T01", "T02"], accept="test -s both.txt"),
        max_parallel=2,
    )


@pytest.mark.parametrize(
    "point",
    [
        "engine.run.started",
        "engine.attempt.started",
        "engine.attempt.started:2",
        "engine.agent.finished",
        "engine.agent.finished:3",
        "engine.checkpoint.taken",
        "engine.accepted",
        "engine.accepted:2",
        "engine.task.finished",
        "engine.task.finished:3",
        "engine.run.finished",
    ],
)
def test_the_next_host_goes_on_wherever_the_first_one_died(rig: Rig, point: str) -> None:
    run = add_night(rig)
    host = start_host(rig, run, point)
    assert host.wait(60) == -signal.SIGKILL
    finish(rig, run)
    assert rig.read(f"{run}/T03", "both.txt") == "one\n2\n3\n"


def test_work_that_is_captured_is_judged_and_not_done_again(rig: Rig) -> None:
    run = rig.add_run(task("1", "date +%N > when.txt", accept="test -s when.txt"))
    host = start_host(rig, run, "engine.accepted")
    assert host.wait(60) == -signal.SIGKILL
    finish(rig, run)
    assert [attempt.state for attempt in rig.attempts(f"{run}/T01")] == ["succeeded"]


def test_dying_again_while_taking_over_is_survived_too(rig: Rig) -> None:
    run = add_night(rig)
    for point in ("engine.agent.finished", "engine.attempt.started", "engine.checkpoint.taken"):
        assert start_host(rig, run, point).wait(60) == -signal.SIGKILL
    finish(rig, run)


def test_no_agent_outlives_its_host_and_its_attempt_is_lost(rig: Rig) -> None:
    marker = "sleep 4567.5"
    run = rig.add_run(task("1", f"setsid {marker} & {marker}"), task("2", "touch x"))
    host = start_host(rig, run)
    wait_for(lambda: rig.states(run) == {"T01": "running", "T02": "succeeded"} and find_processes("4567.5"))
    host.kill()
    host.wait()
    wait_for(lambda: not find_processes("4567.5"), 5.0)
    assert client.cancel(rig.journal, f"{run}/T01", actor="user:me", state_dir=rig.state) == (f"{run}/T01",)
    with rig.hosting() as engine:
        engine.wait(run)
    assert [attempt.state for attempt in rig.attempts(f"{run}/T01")] == ["lost"]
    assert rig.states(run) == {"T01": "cancelled", "T02": "succeeded"}


@pytest.mark.parametrize("point", ["engine.approval.opened", "-"])
def test_a_question_survives_its_host_and_is_asked_once(rig: Rig, point: str) -> None:
    run = rig.add_run(task("1", steps=[("write", "x", "1\n"), ("run", "", f"{ASKS} || echo 2 >> x")]))
    host = start_host(rig, run, point)
    wait_for(lambda: rig.approvals(run=run))
    host.kill()
    host.wait()
    (question,) = rig.approvals(run=run)
    rig.answer(question.id, "approved")
    finish(rig, run)
    assert rig.read(f"{run}/T01", "x") == "1\n2\n"
    assert len(rig.approvals(run=run)) == 1


@pytest.mark.parametrize(
    "point", ["engine.approval.settled", "engine.agent.finished", "engine.attempt.started"]
)
def test_a_grant_used_by_a_lost_attempt_is_given_back(rig: Rig, point: str) -> None:
    run = rig.add_run(
        task("1", steps=[("write", "x", "1\n"), ("run", "", f"{ASKS} || echo 2 >> x")], accept="true")
    )
    assert start_host(rig, run).wait(60) == 0
    rig.answer(rig.approvals(run=run)[0].id, "approved")
    assert start_host(rig, run, point).wait(60) == -signal.SIGKILL
    finish(rig, run)
    assert rig.read(f"{run}/T01", "x") == "1\n2\n"
    assert [(each.state, each.uses) for each in rig.approvals(run=run)] == [("approved", 0)]


def test_killed_at_any_time_and_again(rig: Rig) -> None:
    run = add_night(rig)
    for wait_s in (0.9, 1.2, 1.5, 1.8):
        host = start_host(rig, run)
        try:
            host.wait(wait_s)
        except subprocess.TimeoutExpired:
            host.kill()
        host.wait()
    finish(rig, run)
