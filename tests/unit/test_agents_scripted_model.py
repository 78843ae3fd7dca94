"""The scripted model server: each wire format as its clients read it, faults, and where a conversation goes on."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightcrew.model.errors import UsageError
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Call, Fault, Scenario, Turn, Usage, of_calls, read_scenarios

SPENT = Usage(input=900, output=30, cached=400, reasoning=10)
WORK = (
    Scenario(
        (
            Turn("first", (Call("shell", command="echo hi"),), SPENT),
            Turn(calls=(Call("write", path="a.txt", content="A\n"), Call("read", path="a.txt"))),
            Turn("all done"),
        )
    ),
)
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "generate": "/v1beta/models/m-1:generateContent",
}
TOOLS: dict[str, list[dict[str, Any]]] = {
    "messages": [{"name": "Bash"}, {"name": "Write"}, {"name": "Read"}],
    "chat": [{"type": "function", "function": {"name": name}} for name in ("bash", "write", "read")],
    "responses": [{"type": "function", "name": "exec_command"}, {"type": "custom", "name": "apply_patch"}],
    "generate": [{"functionDeclarations": [{"name": "run_shell_command"}, {"name": "write_file"}]}],
}


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(WORK) as server:
        yield server


def post(
    model: ScriptedModel, path: str, body: object, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    request = urllib.request.Request(model.url + path, json.dumps(body).encode(), headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        return problem.code, problem.read()


def begin(wire: str, said: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    name = {"messages": "messages", "chat": "messages", "responses": "input", "generate": "contents"}[wire]
    return {"model": "m-1", name: said or [{"role": "user", "content": "go"}], "tools": TOOLS[wire], **more}


def events(data: bytes) -> list[Any]:
    lines = [line[6:] for line in data.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_messages(model: ScriptedModel) -> None:
    _, data = post(model, PATHS["messages"], begin("messages"), {"x-api-key": "k-1"})
    body = json.loads(data)
    assert [block["type"] for block in body["content"]] == ["text", "tool_use"]
    assert body["content"][1] | {"id": ""} == {
        "type": "tool_use",
        "id": "",
        "name": "Bash",
        "input": {"command": "echo hi", "description": "run it"},
    }
    assert body["usage"] | {} == {
        "input_tokens": 500,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 400,
        "output_tokens": 30,
    }
    assert (model.seen[0].key, model.seen[0].wire, model.seen[0].turn) == ("k-1", "messages", 0)


def test_messages_as_a_stream(model: ScriptedModel) -> None:
    _, data = post(model, PATHS["messages"], begin("messages", stream=True))
    got = events(data)
    assert [e["type"] for e in got][:2] == ["message_start", "ping"]
    assert got[-1]["type"] == "message_stop"
    parts = "".join(e["delta"].get("partial_json", "") for e in got if e["type"] == "content_block_delta")
    assert json.loads(parts)["command"] == "echo hi"
    assert got[-2]["usage"] == {"output_tokens": 30}


def test_chat_and_its_stream(model: ScriptedModel) -> None:
    _, data = post(model, PATHS["chat"], begin("chat"), {"Authorization": "Bearer k-2"})
    body = json.loads(data)
    (call,) = body["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["command"] == "echo hi"
    assert body["usage"]["total_tokens"] == 930
    assert model.seen[0].key == "k-2"
    for options, told in (({}, False), ({"include_usage": True}, True)):
        _, data = post(model, PATHS["chat"], begin("chat", stream=True, stream_options=options))
        assert data.endswith(b"data: [DONE]\n\n")
        assert any(chunk.get("usage") for chunk in events(data)) is told


def test_responses_with_a_freeform_tool(model: ScriptedModel) -> None:
    said = [{"role": "user", "content": "go"}, {"type": "function_call", "call_id": "call_nc0x0"}]
    _, data = post(model, PATHS["responses"], begin("responses", said, stream=True))
    got = events(data)
    assert got[-1]["type"] == "response.completed"
    patch, read = got[-1]["response"]["output"]
    assert (patch["type"], patch["name"]) == ("custom_tool_call", "apply_patch")
    assert "+A\n" in patch["input"]
    assert json.loads(read["arguments"]) == {"cmd": "cat a.txt"}


def test_generate_and_its_stream(model: ScriptedModel) -> None:
    _, data = post(model, PATHS["generate"], begin("generate"))
    body = json.loads(data)
    assert body["candidates"][0]["content"]["parts"][1]["functionCall"]["name"] == "run_shell_command"
    assert body["usageMetadata"] == {
        "promptTokenCount": 900,
        "candidatesTokenCount": 20,
        "totalTokenCount": 930,
        "cachedContentTokenCount": 400,
        "thoughtsTokenCount": 10,
    }
    path = "/v1beta/models/m-1:streamGenerateContent?alt=sse"
    _, data = post(model, path, begin("generate"))
    assert [chunk["candidates"][0].get("finishReason") for chunk in events(data)] == [None, "STOP"]
    assert model.seen[-1].body["model"] == "m-1"


def test_a_conversation_goes_on_where_its_own_ids_say(model: ScriptedModel) -> None:
    asked = {"role": "assistant", "content": [{"type": "tool_use", "id": "call_nc1x1", "name": "Read"}]}
    said = [{"role": "user", "content": "go"}, asked, {"role": "user", "content": "result"}]
    _, data = post(model, PATHS["messages"], begin("messages", said))
    assert json.loads(data)["content"] == [{"type": "text", "text": "all done"}]
    said += [{"role": "assistant", "content": "all done"}, {"role": "user", "content": "more"}]
    _, data = post(model, PATHS["messages"], begin("messages", said))
    assert "Nothing is left" in json.loads(data)["content"][0]["text"]


def test_a_call_that_was_under_way_when_its_agent_was_stopped_is_wanted_again(model: ScriptedModel) -> None:
    output = {"type": "function_call_output", "call_id": "call_nc0x0", "output": "aborted"}
    said = [{"role": "user", "content": "go"}, {"type": "function_call", "call_id": "call_nc0x0"}, output]
    _, data = post(model, PATHS["responses"], begin("responses", said))
    assert json.loads(json.loads(data)["output"][1]["arguments"]) == {"cmd": "echo hi"}


def test_a_title_takes_no_turn_and_what_is_no_request_is_refused(model: ScriptedModel) -> None:
    _, data = post(model, PATHS["chat"], begin("chat") | {"tools": []})
    assert "Nothing is left" in json.loads(data)["choices"][0]["message"]["content"]
    assert post(model, PATHS["chat"], [1])[0] == 400
    assert post(model, "/v1/other", {})[0] == 404
    assert json.loads(post(model, "/v1/messages/count_tokens", {})[1])["input_tokens"] == 1000


def test_scenarios_are_chosen_by_what_the_request_says() -> None:
    both = (Scenario((Turn("one"),), when="task 1"), Scenario((Turn("two"),), when="task 2"))
    with ScriptedModel(both) as model:
        for text, said in (("do task 2", "two"), ("do task 1", "one"), ("else", "Nothing is left to do.")):
            body = begin("messages", [{"role": "user", "content": text}])
            assert json.loads(post(model, PATHS["messages"], body)[1])["content"][0]["text"] == said


def test_faults_come_as_often_as_said_and_then_the_answer() -> None:
    turns = (
        Turn("a", fault=Fault("status", 429, times=2, retry_after_s=3)),
        Turn("b", fault=Fault("garbage")),
        Turn("c", fault=Fault("cut")),
    )
    with ScriptedModel((Scenario(turns),)) as model:
        said: list[Any] = [{"role": "user", "content": "go"}]
        assert [post(model, PATHS["messages"], begin("messages", said))[0] for _ in range(3)] == [
            429,
            429,
            200,
        ]
        said.append({"role": "assistant", "content": "a"})
        with pytest.raises(ValueError, match=r"utf|JSON|Expecting"):
            json.loads(post(model, PATHS["messages"], begin("messages", said))[1])
        assert post(model, PATHS["messages"], begin("messages", said))[0] == 200
        said.append({"role": "assistant", "content": "b"})
        for stream in (True, False):
            model._failed.clear()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                post(model, PATHS["messages"], begin("messages", said, stream=stream))


def test_a_hanging_request_ends_with_the_server() -> None:
    ended: list[bool] = []
    with ScriptedModel((Scenario((Turn("a", fault=Fault("hang")),)),)) as model:
        asking = threading.Thread(target=lambda: ended.append(_fails(model)))
        asking.start()
        while not model.seen:
            pass
    asking.join(10)
    assert ended == [True]


def _fails(model: ScriptedModel) -> bool:
    try:
        post(model, PATHS["messages"], begin("messages"))
    except OSError:
        return True
    return False


def test_scenarios_are_read_from_json(tmp_path: Path) -> None:
    text = json.dumps(
        [{"calls": [{"tool": "shell", "command": "make"}], "fault": {"kind": "status"}}, {"text": "x"}]
    )
    (one,) = read_scenarios(text, "s.json")
    assert one.turns[0].fault == Fault("status")
    assert one.turns[0].calls == of_calls(Call("shell", command="make"))[0].turns[0].calls
    for wrong in (
        "{",
        "[1]",
        '[{"calls": [{"tool": "shell"}]}]',
        '[{"fault": {"kind": "odd"}}]',
        '[{"odd": 1}]',
    ):
        with pytest.raises(UsageError, match=r"s\.json is no"):
            read_scenarios(wrong, "s.json")
