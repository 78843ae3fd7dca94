"""A question of an agent, with every protocol: parks the task, is answered once, and the answer reaches the agent."""

from __future__ import annotations

import inspect
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import QUICK, Rig, task
from nightcrew.gate.inquiries import answer
from nightcrew.host.clock import stamp
from nightcrew.model.isolation import Limits
from nightcrew.model.records import ApprovalRecord, AttemptRecord
from nightcrew.model.settings import AgentSetting, Retries
from nightcrew.testing import peers

NO_MODEL = {
    "claude": {"ANTHROPIC_BASE_URL": "x"},
    "codex": {"NIGHTCREW_MODEL_KEY": "x"},
    "gemini": {"GEMINI_API_KEY": "x"},
    "opencode": {"OPENCODE_CONFIG_CONTENT": "{}"},
}
MARK = f"agents of {os.getpid()}, {secrets.token_hex(4)}"


@pytest.fixture(params=NO_MODEL)
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    adapter = str(request.param)
    name = adapter if adapter in ("claude", "codex") else "acp"
    argv = (os.path.realpath(sys.executable), "-c", f"# {MARK}\n{inspect.getsource(peers)}", name)
    agents = {"good": AgentSetting(adapter, argv=argv, env=NO_MODEL[adapter])}
    limits = Limits(grace_s=0.3, hard_s=40.0, idle_s=10.0)
    rig = Rig(tmp_path, settings=replace(QUICK, agents=agents, limits=limits, retries=Retries(attempts=1)))
    yield rig
    rig.close()


def give(rig: Rig, name: str, *, text: str = "", choices: tuple[int, ...] = ()) -> None:
    with rig.journal.write() as tx:
        record = tx.need(ApprovalRecord, name)
        done = answer(
            record, text=text, choices=choices, by="ann", via="test", digest="", now=stamp(rig.clock.now())
        )
        changes = {"state": done.state, "answer": done.answer, "question": done.question}
        tx.change(record, "approval.decided", **changes, decided_at=done.decided_at, decided_by="ann")


@pytest.mark.needs_userns
@pytest.mark.parametrize("mark", ["ASK:", "ASK!:"])
def test_an_answer_reaches_the_agent(rig: Rig, mark: str) -> None:
    lines = f"RUN: touch one\n{mark} Which port? | 8080 | 9090\nRUN: touch two"
    with rig.hosting() as engine:
        name = rig.run(engine, task("1", agent="good", prompt=lines), until="quiet")
        assert rig.states(name) == {"T01": "awaiting_answer"}
        (asked,) = rig.approvals(run=name)
        assert (asked.kind, asked.question["text"], asked.question["choices"]) == (
            "question",
            "Which port?",
            ["8080", "9090"],
        )
        with rig.journal.read() as tx:
            assert {each.state for each in tx.find(AttemptRecord, task=f"{name}/T01")} == {"parked"}
        give(rig, asked.id, choices=(2,))
        engine.wait(name)
    done = rig.task(f"{name}/T01")
    assert (done.state, done.reason) == ("succeeded", "")
    assert rig.read(done.id, "answers.txt") == "9090\n"
    assert rig.read(done.id, "two") == ""
    (still,) = rig.approvals(run=name)
    assert still.state == "answered"
    with rig.journal.read() as tx:
        told = [event.data["how"] for event in tx.events(run=name, kinds=("question.delivered",))]
    assert told[0] == "in its prompt"
    assert len(told) == (2 if mark == "ASK!:" else 1)
