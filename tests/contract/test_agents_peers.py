"""What agents with a protocol must hold beside the common suite: denials, parks, and what hostile or broken ones can do."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import QUICK, Rig, find_processes, task
from nightcrew.model.isolation import Limits
from nightcrew.model.plans import Task
from nightcrew.model.records import ApprovalRecord
from nightcrew.model.settings import AgentSetting, Retries
from nightcrew.testing import peers

ASKS = "wget -q http://127.0.0.1:9/x || true"
#: What makes each adapter begin without a way to a model.
NO_MODEL = {
    "claude": {"ANTHROPIC_BASE_URL": "x"},
    "codex": {"NIGHTCREW_MODEL_KEY": "x"},
    "gemini": {"GEMINI_API_KEY": "x"},
    "opencode": {"OPENCODE_CONFIG_CONTENT": "{}"},
}
#: Stands in the command line of every agent of this module, and of nobody else's.
MARK = f"agents of {os.getpid()}, {secrets.token_hex(4)}"
LIMITS = Limits(grace_s=0.3, hard_s=40.0, idle_s=2.5)


def setting(adapter: str, *fault: str) -> AgentSetting:
    name = adapter if adapter in ("claude", "codex") else "acp"
    argv = (os.path.realpath(sys.executable), "-c", f"# {MARK}\n{inspect.getsource(peers)}", name, *fault)
    return AgentSetting(adapter, argv=argv, env=NO_MODEL[adapter])


@pytest.fixture(params=NO_MODEL)
def adapter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(tmp_path: Path, adapter: str) -> Iterator[Rig]:
    agents = {"good": setting(adapter), **{fault: setting(adapter, fault) for fault in peers.FAULTS}}
    settings = replace(QUICK, agents=agents, limits=LIMITS, retries=Retries(attempts=1))
    rig = Rig(tmp_path, settings=settings)
    yield rig
    rig.close()


def job(number: int, agent: str, *lines: str, **fields: object) -> Task:
    prompt = "\n".join(f"RUN: {line}" for line in lines)
    return task(str(number), agent=agent, prompt=prompt, **fields)


def decided(rig: Rig, run: str) -> list[str]:
    with rig.journal.read() as tx:
        return [str(event.data["action"]) for event in tx.events(run=run, kinds=("policy.decided",))]


def test_a_denial_is_worked_around_and_a_park_goes_on(rig: Rig, adapter: str) -> None:
    lines = ("touch one", "git push --force origin main", ASKS, "touch two")
    with rig.hosting() as engine:
        name = rig.run(engine, job(1, "good", *lines), until="quiet")
        assert rig.states(name) == {"T01": "awaiting_approval"}
        (approval,) = rig.approvals(run=name)
        assert approval.shown == ASKS
        rig.answer(approval.id, "approved")
        engine.wait(name)
    done = rig.task(f"{name}/T01")
    assert (done.state, done.reason) == ("succeeded", "")
    assert [rig.read(done.id, each) for each in ("one", "two")] == ["", ""]
    # An agent that remembers does nothing twice; one that does not is told what was done, and may.
    assert decided(rig, name).count("touch one") == (2 if adapter == "gemini" else 1)
    transcript = Path(rig.attempts(done.id)[0].transcript)
    assert not (transcript.parent / "memory").exists()
    assert "deny: git push --force origin main" in transcript.read_text()


@pytest.mark.parametrize("adapter", ["claude"], indirect=True)
@pytest.mark.parametrize("at_once", [True, False])
def test_the_conversation_of_a_task_that_was_denied_is_removed(rig: Rig, at_once: bool) -> None:
    with rig.hosting() as engine:
        name = rig.run(engine, job(1, "good", "touch one", ASKS), until="quiet")
        memory = Path(rig.attempts(f"{name}/T01")[0].transcript).parent / "memory"
        assert memory.is_dir()
        (approval,) = rig.approvals(run=name)
        if at_once:
            rig.answer(approval.id, "denied")
            engine.wait(name)
    if not at_once:
        # Nobody hosted it when the answer came.
        assert memory.is_dir()
        rig.answer(approval.id, "denied")
        with rig.hosting() as engine:
            engine.submit(name)
            engine.wait(name)
    assert rig.task(f"{name}/T01").state == "failed"
    assert not memory.exists()


@pytest.mark.parametrize("adapter", ["claude"], indirect=True)
def test_a_lost_conversation_is_not_taken_up_because_its_files_are_gone(rig: Rig) -> None:
    name = rig.add_run(job(1, "good", "touch one", "sleep 30", "touch two"))
    with rig.hosting() as engine:
        engine.submit(name)
        deadline = time.monotonic() + 20
        while "sleep 30" not in decided(rig, name) and time.monotonic() < deadline:
            time.sleep(0.05)
    (attempt,) = rig.attempts(f"{name}/T01")
    memory = Path(attempt.transcript).parent / "memory"
    assert (attempt.state, memory.exists()) == ("lost", False)
    assert find_processes(MARK) == []


# gemini speaks the protocol of opencode.
@pytest.mark.parametrize("adapter", ["claude", "codex", "opencode"], indirect=True)
def test_hostile_and_broken_agents(rig: Rig, adapter: str) -> None:
    marks = ("silence", "deaf", "garbage", "endless", "unknown", "types", "unasked", "halfway")
    tasks = [job(n, fault, f"touch {fault}", "touch more") for n, fault in enumerate(marks, 1)]
    tasks.append(job(9, "liar", "touch liar", accept="test -e liar"))
    tasks.append(job(10, "sneaky", "touch sneaky"))
    with rig.hosting() as engine:
        name = rig.run(engine, *tasks, until="quiet", max_parallel=3)
    states = {fault: rig.task(f"{name}/T{n:02d}") for n, fault in enumerate([*marks, "liar", "sneaky"], 1)}
    assert {fault: each.state for fault, each in states.items()} == {
        "silence": "failed",
        "deaf": "failed",
        "garbage": "failed",
        "endless": "failed",
        "unknown": "succeeded",
        "types": "succeeded",
        "unasked": "awaiting_approval",
        "halfway": "failed",
        "liar": "failed",
        "sneaky": "awaiting_approval",
    }
    assert {rig.attempts(states[fault].id)[0].failure for fault in ("silence", "deaf")} == {"idle"}
    for fault, said in (
        ("garbage", "broke its protocol"),
        ("endless", "endless line"),
        ("halfway", "exit code 0"),
        ("liar", "acceptance failed"),
    ):
        assert said in states[fault].reason
    assert find_processes(MARK) == []
    check_frozen(rig, name, rig.approvals(task=states["unasked"].id))
    (unexplained,) = rig.approvals(task=states["sneaky"].id)
    assert (unexplained.kind, unexplained.rule) == ("change", "agent.unexplained")
    assert "sneaked changed, and nothing that the agent asked for explains it" in unexplained.reason


def check_frozen(rig: Rig, name: str, frozen: list[ApprovalRecord]) -> None:
    """An action without an answer is in nobody's result, and a human is asked about it as about nothing else."""
    (approval,) = frozen
    assert (approval.risk, approval.rule) == ("critical", "agent.unasked")
    assert "touch unasked" in approval.reason
    assert "agent.unasked" in rig.kinds(name)
    assert not (rig.repo / "unasked").exists()
