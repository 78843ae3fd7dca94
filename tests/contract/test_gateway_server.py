"""The gateway on plain sockets: every wire format against the scripted model, and agents that misbehave."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_place import (
    ASK,
    ASKS,
    GOOD,
    HEADERS,
    KEY,
    TOKEN,
    USAGE,
    Place,
    answering,
    reply,
)
from nightcrew.model.usage import WIRES, Tokens, Wire
from nightcrew.sandbox.gateway.service import Services
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Scenario, Turn


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    made = Services()
    yield made
    made.close()


@pytest.fixture
def scripted(services: Services) -> Iterator[tuple[Place, ScriptedModel]]:
    scenario = Scenario((Turn("hi there", usage=USAGE),) * 40)
    with (
        ScriptedModel((scenario,)) as model,
        Place(services, dict.fromkeys(WIRES, model.url)).serving() as place,
    ):
        yield place, model


# -- what should be ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("name", "wire", "path", "body"), ASKS, ids=[row[0] for row in ASKS])
def test_each_format_is_exchanged_and_counted(
    scripted: tuple[Place, ScriptedModel],
    name: str,
    wire: Wire,
    path: str,
    body: dict[str, Any],
    streamed: bool,
) -> None:
    place, model = scripted
    if wire == "gemini":
        path = path.replace("generate", "streamGenerate") + "?alt=sse&key=" + TOKEN if streamed else path
    elif streamed:
        body = {**body, "stream": True}
    status, headers, answer = place.ask(wire, path, body)
    assert status == 200
    assert b"hi" in answer
    assert ("event-stream" in headers["content-type"]) == streamed
    reasoning = 0 if wire == "anthropic" else 10
    assert place.book.got == [(wire, "m", Tokens(500, 400, output=30, reasoning=reasoning), True)]
    # The key went out, the placeholder did not, in no header and in no query.
    [seen] = model.seen
    assert seen.key == KEY
    assert TOKEN not in seen.path + json.dumps(dict(seen.headers))
    if name == "chat" and streamed:
        assert seen.body["stream_options"] == {"include_usage": True}
        assert b'"usage": {' not in answer


def test_many_questions_on_one_connection_and_free_ones_cost_nothing(
    scripted: tuple[Place, ScriptedModel],
) -> None:
    place, _ = scripted
    link = place.connect("anthropic")
    for _ in range(5):
        link.request("POST", "/v1/messages", json.dumps(ASK), HEADERS["anthropic"])
        answer = link.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)
    link.request("POST", "/v1/messages/count_tokens", json.dumps(ASK), HEADERS["anthropic"])
    link.getresponse().read()
    link.close()
    assert len(place.book.got) == 5


def test_a_spent_budget_stops_in_words_that_no_client_tries_again_for(
    scripted: tuple[Place, ScriptedModel],
) -> None:
    place, model = scripted
    place.book.refusal = "the budget is spent; a person must raise it"
    for _, wire, path, body in ASKS:
        status, headers, answer = place.ask(wire, path, body)
        assert (status, headers["x-should-retry"]) == (403, "false")
        message = json.loads(answer)["error"]["message"]
        assert "the budget is spent" in message
        assert not re.search(r"[0-9]", message)
    assert not model.seen
    assert not place.book.got


def test_tools_of_the_provider_are_taken_out_and_told(scripted: tuple[Place, ScriptedModel]) -> None:
    place, model = scripted
    body = {**ASK, "tools": [{"name": "f", "input_schema": {}}, {"type": "web_fetch_20250910", "name": "w"}]}
    assert place.ask("anthropic", "/v1/messages", body)[0] == 200
    assert model.seen[0].body["tools"] == [{"name": "f", "input_schema": {}}]
    assert place.book.tools == ("web_fetch_20250910",)


def test_what_must_not_leave_does_not(scripted: tuple[Place, ScriptedModel]) -> None:
    place, model = scripted
    told = {**ASK, "messages": [{"role": "user", "content": "the canary-word"}]}
    assert place.ask("anthropic", "/v1/messages", told)[0] == 403
    assert place.ask("anthropic", "/v1/messages", ASK, {"x-note": "canary-word"})[0] == 403
    assert place.ask("anthropic", "/v1/messages?beta=canary-word", ASK)[0] == 403
    assert not model.seen


# -- agents that misbehave -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x", KEY, TOKEN + "x", TOKEN[:-1], "Bearer"])
def test_nothing_but_its_own_placeholder_opens_it(scripted: tuple[Place, ScriptedModel], key: str) -> None:
    place, model = scripted
    headers = {"x-api-key": key, "authorization": f"Bearer {key}"}
    status, told, _ = place.ask("anthropic", f"/v1/messages?key={key}", ASK, headers)
    assert (status, told["x-should-retry"]) == (401, "false")
    assert not model.seen


HEAD = f"Host: x\r\nx-api-key: {TOKEN}\r\n"
HOSTILE = [
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    f"POST /v1/messages HTTP/1.1\n{HEAD}\r\n\r\n",
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}X: " + "y" * 100_000 + "\r\n\r\n",
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Length: 99999999999999\r\n\r\n",
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Encoding: zstd\r\nContent-Length: 2\r\n\r\n{{}}",
    f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{{}}",
    f"CONNECT example.org:443 HTTP/1.1\r\n{HEAD}\r\n",
    f"GET /v1/models HTTP/1.1\r\n{HEAD}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n".replace(
        "/v1/models", "/x"
    ),
    f"HEAD / HTTP/1.1\r\n{HEAD}\r\n",
    "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
    f"OPTIONS * HTTP/1.1\r\n{HEAD}\r\n",
    f"GET /v1/models HTTP/1.0\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "",
]


@pytest.mark.parametrize("request_", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_proper_question_goes_nowhere(
    scripted: tuple[Place, ScriptedModel], request_: str, caplog: pytest.LogCaptureFixture
) -> None:
    place, model = scripted
    answer = place.raw(request_.encode("latin-1"))
    assert not answer or re.match(rb"HTTP/1\.1 4\d\d ", answer)
    assert "broke off" not in caplog.text
    assert not model.seen
    # And it goes on answering others.
    assert place.ask("anthropic", "/v1/messages", ASK)[0] == 200


def test_one_that_goes_away_in_the_midst_is_charged_for_what_it_got(services: Services) -> None:
    start = b'data: {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 50, "output_tokens": 1}}}\n\n'
    more = b'data: {"type": "content_block_delta", "delta": {"text": "' + b"x" * 4000 + b'"}}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    with (
        answering([head, start, *[more] * 100]) as (url, _),
        Place(services, {"anthropic": url}).serving() as place,
    ):
        link = place.connect()
        link.request("POST", "/v1/messages", json.dumps({**ASK, "stream": True}), HEADERS["anthropic"])
        answer = link.getresponse()
        answer.read(3000)
        answer.close()
        link.close()
        end = time.monotonic() + 10
        while not place.book.got and time.monotonic() < end:
            time.sleep(0.02)
    [(_, model, tokens, exact)] = place.book.got
    assert (model, tokens.input, exact) == ("m", 50, False)
    assert tokens.output >= 700


def test_an_attempt_that_ends_before_its_answer_begins_is_charged_for_what_it_asked(
    services: Services,
) -> None:
    with answering([b""] * 200) as (url, seen):
        with Place(services, {"anthropic": url}).serving() as place:
            link = place.connect()
            link.request("POST", "/v1/messages", json.dumps(ASK), HEADERS["anthropic"])
            end = time.monotonic() + 10
            while not seen and time.monotonic() < end:
                time.sleep(0.01)
        link.close()
    [(_, model, tokens, exact)] = place.book.got
    assert (model, tokens.input > 0, tokens.output, exact) == ("m", True, 0, False)


def test_no_field_of_an_agent_changes_what_is_asked_or_told(scripted: tuple[Place, ScriptedModel]) -> None:
    place, model = scripted
    odd = {
        "X-Goog-FieldMask": "candidates",
        "X-HTTP-Method-Override": "DELETE",
        "Accept": "application/x-protobuf",
    }
    assert place.ask("gemini", ASKS[3][2], ASKS[3][3], {**odd, "Content-Type": "text/plain"})[0] == 200
    sent = {name.lower(): value for name, value in model.seen[0].headers.items()}
    assert not {"x-goog-fieldmask", "x-http-method-override"} & sent.keys()
    assert (sent["accept"], sent["content-type"]) == (
        "application/json, text/event-stream",
        "application/json",
    )


def test_one_attempt_holds_only_so_much(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightcrew.sandbox.gateway.server._MAX_HELD_BYTES", 300_000)
    large = {**ASK, "messages": [{"role": "user", "content": "x" * 200_000}]}
    with (
        answering([b""] * 100 + [reply(GOOD)]) as (url, seen),
        Place(services, {"anthropic": url}).serving() as place,
    ):
        first = place.connect()
        first.request("POST", "/v1/messages", json.dumps(large), HEADERS["anthropic"])
        end = time.monotonic() + 10
        while not seen and time.monotonic() < end:
            time.sleep(0.01)
        head = f"POST /v1/messages HTTP/1.1\r\n{HEAD}Content-Length: 200000\r\n\r\n"
        assert place.raw(head.encode() + b"x" * 200_000).startswith(b"HTTP/1.1 503")
        assert first.getresponse().status == 200
        first.close()
        assert place.ask("anthropic", "/v1/messages", ASK)[0] == 200
