"""What every adapter must hold, on the real engine and in the real sandbox. A new adapter adds one line to ``KINDS``."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import QUICK, Rig, task
from nightcrew.agents.adapters import ADAPTERS
from nightcrew.model.isolation import Limits
from nightcrew.model.plans import Task
from nightcrew.model.settings import AgentSetting
from nightcrew.testing import peers

ASKS = "wget -q http://127.0.0.1:9/x"


@dataclass(frozen=True)
class Kind:
    """How to make an agent of one kind run a shell command, and the settings it needs."""

    adapter: str
    make: Callable[..., Task]
    agents: dict[str, AgentSetting]


def make_line(number: str, command: str, **fields: object) -> Task:
    return task(number, command, **fields)


def make_template(number: str, command: str, **fields: object) -> Task:
    return task(number, agent="templated", prompt=command, **fields)


def make_steps(number: str, command: str, **fields: object) -> Task:
    return task(number, steps=[("say", "", "hello"), ("run", "", command)], **fields)


def make_prompt(number: str, command: str, **fields: object) -> Task:
    return task(number, agent="peer", prompt=f"RUN: {command}", **fields)


def fake(adapter: str, *fault: str, **env: str) -> dict[str, AgentSetting]:
    """Return the setting of a fake agent that speaks the protocol of ``adapter``; see nightcrew.testing.peers."""
    name = adapter if adapter in ("claude", "codex", "api") else "acp"
    argv = (os.path.realpath(sys.executable), "-c", inspect.getsource(peers), name, *fault)
    return {"peer": AgentSetting(adapter, argv=argv, env=env)}


STDIN = {"templated": AgentSetting("command", argv=("bash", "-s"), prompt="stdin")}
FILE = {"templated": AgentSetting("command", argv=("bash", "{prompt_file}"), prompt="file")}
ARGUMENT = {"templated": AgentSetting("command", argv=("bash", "-c", "{prompt}"))}
#: A program that takes its task as these do, and runs it.
TAKES = 'for word in "$@"; do case $word in --message=*|--task=*) exec bash -c "$(echo "${word#*=}" | head -n 1)";; esac; done'


def preset(adapter: str) -> dict[str, AgentSetting]:
    """Return the setting of a fake agent that is driven by its command line alone."""
    return {
        "templated": AgentSetting(
            adapter, argv=("/bin/bash", "-c", TAKES, adapter), env={"OPENAI_API_BASE": "x"}
        )
    }


KINDS = {
    "command": Kind("command", make_line, {}),
    "command-stdin": Kind("command", make_template, STDIN),
    "command-file": Kind("command", make_template, FILE),
    "command-argument": Kind("command", make_template, ARGUMENT),
    "script": Kind("script", make_steps, {}),
    "claude": Kind("claude", make_prompt, fake("claude", ANTHROPIC_BASE_URL="x")),
    "codex": Kind("codex", make_prompt, fake("codex", NIGHTCREW_MODEL_KEY="x")),
    "gemini": Kind("gemini", make_prompt, fake("gemini", GEMINI_API_KEY="x")),
    "opencode": Kind("opencode", make_prompt, fake("opencode", OPENCODE_CONFIG_CONTENT="{}")),
    "acp": Kind("acp", make_prompt, fake("acp")),
    "api": Kind("api", make_prompt, fake("api")),
    "aider": Kind("aider", make_template, preset("aider")),
    "mini": Kind("mini", make_template, preset("mini")),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def rig(tmp_path: Path, kind: Kind) -> Iterator[Rig]:
    rig = Rig(tmp_path, settings=replace(QUICK, agents=kind.agents))
    yield rig
    rig.close()


def run(rig: Rig, kind: Kind, command: str, **fields: object) -> str:
    """Let one agent run a command to the end of its task and return the task's id."""
    with rig.hosting() as engine:
        return f"{rig.run(engine, kind.make('1', command, **fields), until='quiet')}/T01"


def test_every_adapter_is_in_this_suite() -> None:
    assert {kind.adapter for kind in KINDS.values()} == set(ADAPTERS)


def test_it_works_at_the_repositorys_own_path_and_nowhere_else(rig: Rig, kind: Kind) -> None:
    done = run(rig, kind, f"cd {rig.repo} && cat a.txt > copy.txt && echo new > {rig.repo}/sub.txt")
    assert rig.task(done).state == "succeeded"
    assert rig.read(done, "copy.txt") == "hello\n"
    assert rig.read(done, "sub.txt") == "new\n"
    assert sorted(path.name for path in rig.repo.iterdir()) == [".git", ".gitignore", "a.txt", "leak.sh"]


def test_a_failure_is_a_failure_and_says_why(rig: Rig, kind: Kind) -> None:
    failed = run(rig, kind, "exit 7")
    assert rig.task(failed).state == "failed"
    assert "7" in rig.task(failed).reason
    assert {attempt.failure for attempt in rig.attempts(failed)} == {"agent"}


def test_words_are_not_success(rig: Rig, kind: Kind) -> None:
    lie = 'echo all tests pass; echo \'{"end": "finished"}\'; echo \'{"ask": 0}\' >&2'
    claimed = run(rig, kind, lie, accept="test -e proof")
    assert (rig.task(claimed).state, rig.task(claimed).verified) == ("failed", "failed")


def test_its_output_is_kept_and_its_input_ends(rig: Rig, kind: Kind) -> None:
    done = run(rig, kind, "cat; echo out; echo err >&2; printf '\\377'")
    assert rig.task(done).state == "succeeded"
    text = Path(rig.attempts(done)[0].transcript).read_text()
    assert "out" in text
    assert "err" in text
    assert "\\xff" in text


def test_it_is_ended_in_time_with_all_it_has_started(rig: Rig, kind: Kind) -> None:
    rig.settings = replace(rig.settings, limits=Limits(hard_s=1.0, grace_s=0.2))
    began = time.monotonic()
    late = run(rig, kind, "setsid sleep 77 & sleep 77")
    assert time.monotonic() - began < 15
    assert [attempt.failure for attempt in rig.attempts(late)] == ["hard"]


def test_it_gets_a_clean_environment_and_knows_where_it_is(rig: Rig, kind: Kind) -> None:
    done = run(
        rig, kind, 'env > env.txt; test "$NIGHTCREW_TASK" = R-1/T01 && test -n "$HOME" && test -w "$HOME"'
    )
    assert rig.task(done).state == "succeeded"
    names = {line.partition("=")[0] for line in str(rig.read(done, "env.txt")).splitlines()}
    assert not names & {"SSH_AUTH_SOCK", "PYTEST_CURRENT_TEST", "NIGHTCREW_DATABASE", "XDG_STATE_HOME"}


def test_it_asks_as_much_as_its_capabilities_say(rig: Rig, kind: Kind) -> None:
    asks_all = ADAPTERS[kind.adapter].capabilities.approvals != "none"
    with rig.hosting() as engine:
        name = rig.run(engine, kind.make("1", "echo hi > x"), until="quiet")
    with rig.journal.read() as tx:
        decided = [event.data for event in tx.events(run=name, kinds=("policy.decided",))]
    assert [each["purpose"] for each in decided] == ["step" if asks_all else "run"]


# A template's own line is fixed by the settings; the prompt it is given is no command line and cannot ask.
@pytest.mark.parametrize(
    "kind", ["command", "script", "claude", "codex", "gemini", "opencode", "api"], indirect=True
)
def test_nothing_of_it_starts_before_its_question_is_answered(rig: Rig, kind: Kind) -> None:
    with rig.hosting() as engine:
        name = rig.run(engine, kind.make("1", f"touch done; {ASKS} || true"), until="quiet")
        assert rig.states(name) == {"T01": "awaiting_approval"}
        rig.answer(rig.approvals(run=name)[0].id, "approved")
        engine.wait(name)
    assert rig.states(name) == {"T01": "succeeded"}
    assert rig.read(f"{name}/T01", "done") == ""


def test_the_same_at_level_s0_without_mounts(rig: Rig, kind: Kind) -> None:
    rig.plain_copies = True
    with rig.hosting() as engine:
        name = rig.run(engine, kind.make("1", "cat a.txt > copy.txt"), level="S0")
    done = rig.task(f"{name}/T01")
    assert (done.state, done.isolation) == ("succeeded", "S0")
    assert rig.read(done.id, "copy.txt") == "hello\n"
    assert not (rig.repo / "copy.txt").exists()
