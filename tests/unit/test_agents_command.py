"""The ``command`` adapter: what it starts, what it asks, when it has succeeded."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.agents.adapter import Job
from nightcrew.agents.adapters import ADAPTERS, find_adapter, find_setting
from nightcrew.agents.command import CommandAdapter, CommandSession
from nightcrew.model.errors import Place, UsageError
from nightcrew.model.isolation import Outcome
from nightcrew.model.plans import Task
from nightcrew.model.settings import AgentSetting

PLAIN = AgentSetting(adapter="command")


def make_job(setting: AgentSetting = PLAIN, *, mounted: bool = True, **task: str) -> Job:
    spec = Task(id="T01", number="1", title="Do it", place=Place("tasks.md", 3), **task)
    return Job(spec, setting, cwd="/repo", python="/usr/bin/python3", private=Path("/p/1.d"), mounted=mounted)


class FakeProcess:
    """Records what is written to it."""

    def __init__(self) -> None:
        self.said: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.said.append(data)

    def close_stdin(self) -> None:
        self.said.append("closed")

    def stop(self, reason: str) -> None:
        self.said.append(f"stopped: {reason}")


def test_a_run_line_is_given_to_plain_bash() -> None:
    launch = CommandAdapter().prepare(make_job(run="make test | tail -1"))
    assert launch.argv == ("bash", "-c", "make test | tail -1")


def test_the_line_is_asked_for_before_it_starts() -> None:
    (action,) = CommandAdapter().questions(make_job(run="rm -rf build"))
    assert (action.kind, action.command, action.purpose) == ("exec", "rm -rf build", "run")


def test_a_task_without_a_line_is_refused_with_its_place() -> None:
    with pytest.raises(UsageError, match="no command") as refused:
        CommandAdapter().prepare(make_job())
    assert refused.value.where == ("tasks.md:3",)


def test_a_template_is_filled_in_one_pass() -> None:
    setting = AgentSetting("command", argv=("aider", "-m", "{prompt}", "--in={prompt_file}"))
    launch = CommandAdapter().prepare(make_job(setting, prompt="say {prompt_file} and {prompt}"))
    assert launch.argv == ("aider", "-m", "say {prompt_file} and {prompt}", "--in=/run/nightcrew/prompt.md")
    assert launch.files == {"prompt.md": b"say {prompt_file} and {prompt}"}
    assert [(bind.source, bind.target) for bind in launch.binds] == [
        ("/p/1.d/prompt.md", "/run/nightcrew/prompt.md")
    ]


def test_without_mounts_the_prompt_stays_where_it_is() -> None:
    setting = AgentSetting("command", argv=("x", "{prompt_file}"), prompt="file")
    launch = CommandAdapter().prepare(make_job(setting, mounted=False))
    assert launch.argv == ("x", "/p/1.d/prompt.md")
    assert launch.binds == ()


def test_a_template_is_bound_to_its_prompt() -> None:
    setting = AgentSetting("command", argv=("aider", "{prompt}"))
    (one,) = CommandAdapter().questions(make_job(setting, prompt="a"))
    (two,) = CommandAdapter().questions(make_job(setting, prompt="b"))
    assert one.command == two.command == "aider '{prompt}'"
    assert one.digest != two.digest


@pytest.mark.parametrize(("how", "said"), [("stdin", [b"Do it", "closed"]), ("argument", ["closed"])])
def test_the_prompt_goes_to_stdin_only_when_asked(how: str, said: list[bytes | str]) -> None:
    process = FakeProcess()
    setting = AgentSetting("command", argv=("cat",), prompt=how)
    CommandAdapter().open(make_job(setting), desk=None).started(process)  # type: ignore[arg-type]
    assert process.said == said


def test_only_exit_code_zero_is_success() -> None:
    assert CommandSession(b"").conclude(Outcome("exited", 0, 1.0)).result == "finished"
    end = CommandSession(b"").conclude(Outcome("exited", 3, 1.0))
    assert (end.result, end.reason) == ("failed", "the command ended with exit code 3")


def test_agents_are_found_by_configured_name_first() -> None:
    named = AgentSetting("command", argv=("x",))
    assert find_setting("script", {"script": named}) is named
    assert find_setting("command", {}) == PLAIN
    with pytest.raises(UsageError, match="nobody"):
        find_setting("nobody", {"mine": named})
    with pytest.raises(UsageError, match="no adapter"):
        find_adapter(AgentSetting("nothing"))


def test_every_adapter_is_known_by_its_own_name() -> None:
    assert [adapter.name for adapter in ADAPTERS.values()] == list(ADAPTERS)
