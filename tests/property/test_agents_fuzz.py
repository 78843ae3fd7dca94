"""Whatever an agent says, in whatever pieces: its session never breaks, and nothing is answered that was not asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.agents.adapter import Answer, Job
from nightcrew.agents.adapters import ADAPTERS
from nightcrew.model.actions import Action
from nightcrew.model.errors import Place
from nightcrew.model.isolation import Outcome
from nightcrew.model.plans import Task
from nightcrew.model.settings import AgentSetting

WORDS = (
    *(
        "type",
        "subtype",
        "request",
        "request_id",
        "response",
        "input",
        "tool_use_id",
        "tool_name",
        "tool_input",
    ),
    *(
        "message",
        "content",
        "id",
        "name",
        "method",
        "params",
        "item",
        "itemId",
        "changes",
        "kind",
        "command",
        "cwd",
    ),
    *(
        "result",
        "error",
        "update",
        "sessionUpdate",
        "toolCall",
        "toolCallId",
        "options",
        "optionId",
        "status",
    ),
    *(
        "rawInput",
        "locations",
        "path",
        "turn",
        "threadId",
        "sessionId",
        "stopReason",
        "usage",
        "agentCapabilities",
    ),
)
VALUES = (
    *("control_request", "control_response", "hook_callback", "can_use_tool", "assistant", "user", "result"),
    *(
        "tool_use",
        "tool_result",
        "success",
        "Bash",
        "Write",
        "Edit",
        "initialize",
        "session/request_permission",
    ),
    *(
        "session/update",
        "tool_call",
        "tool_call_update",
        "completed",
        "failed",
        "execute",
        "edit",
        "allow_once",
    ),
    *(
        "item/started",
        "item/completed",
        "item/commandExecution/requestApproval",
        "turn/completed",
        "end_turn",
    ),
    *(
        "item/fileChange/requestApproval",
        "commandExecution",
        "fileChange",
        "add",
        "delete",
        "/repo/a",
        "..",
        "",
    ),
)
leaves = st.one_of(
    st.sampled_from(VALUES), st.none(), st.booleans(), st.integers(-3, 5), st.floats(), st.text(max_size=3)
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)
messages = st.lists(st.dictionaries(st.sampled_from(WORDS), anything, max_size=7), max_size=8)


class Desk:
    """Denies everything, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    def ask(self, action: Action) -> Answer:
        assert action.digest
        assert action.describe()
        self.asked += 1
        return Answer("deny", "no")

    def freeze(self, action: Action, reason: str) -> Answer:
        return Answer("wait", reason)

    def rest(self) -> bool:
        return True

    def finished(self, action: Action) -> None:
        raise AssertionError("nothing was allowed")

    def note(self, kind: str, text: str) -> None:
        assert isinstance(text, str)


class Process:
    """Keeps what is said to it."""

    def __init__(self) -> None:
        self.said: list[Mapping[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.said.extend(json.loads(line) for line in data.splitlines())

    def close_stdin(self) -> None:
        return

    def stop(self, reason: str) -> None:
        return


def allows(message: Mapping[str, Any]) -> bool:
    """Tell whether something said to an agent lets it do something."""
    text = json.dumps(message)
    return '"permissionDecision": "allow"' in text or '"behavior": "allow"' in text or '"accept"' in text


@pytest.mark.parametrize("name", ["claude", "codex", "opencode"])
@settings(max_examples=40, deadline=None)
@given(said=messages, cut=st.integers(1, 50))
def test_nothing_an_agent_says_breaks_its_session(name: str, said: list[dict[str, Any]], cut: int) -> None:
    task = Task(id="T01", number="1", title="Do it", place=Place("tasks.md", 1))
    job = Job(task, AgentSetting(name), "/repo", "/usr/bin/python3", Path("/p"))
    desk, process = Desk(), Process()
    session = ADAPTERS[name].open(job, desk)
    session.started(process)  # type: ignore[arg-type]
    data = b"".join(json.dumps(message).encode() + b"\n" for message in said)
    for start in range(0, len(data), cut):
        session.feed("stdout", data[start : start + cut])
    end = session.conclude(Outcome("exited", 0, 1.0))
    assert end.result in ("finished", "failed", "waiting")
    # Tools without an effect of their own are let through unasked; the names here have none of them.
    assert not any(allows(message) for message in process.said)
