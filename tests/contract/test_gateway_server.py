"""The gateway on plain sockets: every wire format against the scripted model, and providers and agents that misbehave."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nightcrew.model.usage import WIRES, Fault, Provider, Tokens, Wire
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.gateway.service import Services
from nightcrew.sandbox.gateway.trial import try_key
from nightcrew.sandbox.gateway.upstream import Upstream
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Fault as ScriptedFault
from nightcrew.testing.scenario import Scenario, Turn, Usage

KEY = "sk-real-key-0123456789abcdef"
TOKEN = "nightcrew-placeholder"
USAGE = Usage(input=900, output=30, cached=400, reasoning=10)
MESSAGES = [{"role": "user", "content": "hello"}]
ASKS: list[tuple[str, Wire, str, dict[str, Any]]] = [
    ("messages", "anthropic", "/v1/messages", {"model": "m", "max_tokens": 9, "messages": MESSAGES}),
    ("chat", "openai", "/v1/chat/completions", {"model": "m", "messages": MESSAGES}),
    ("responses", "openai", "/v1/responses", {"model": "m", "input": "hello"}),
    (
        "gemini",
        "gemini",
        "/v1beta/models/m:generateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
    ),
]
HEADERS: dict[Wire, dict[str, str]] = {
    "anthropic": {"x-api-key": TOKEN},
    "openai": {"authorization": f"Bearer {TOKEN}"},
    "gemini": {"x-goog-api-key": TOKEN},
}


class Book:
    """An account that writes everything down, and a watch that stops one word."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, Tokens, bool]] = []
        self.faults: list[Fault] = []
        self.refusal = ""
        self.tools: tuple[str, ...] = ()

    def admit(self, provider: Provider, model: str) -> str:
        return self.refusal

    def record(self, provider: Provider, models: tuple[str, str], tokens: Tokens, *, exact: bool) -> None:
        self.got.append((provider.name, models[1], tokens, exact))

    def failed(self, provider: Provider, fault: Fault) -> None:
        self.faults.append(fault)

    def removed(self, provider: Provider, tools: tuple[str, ...]) -> None:
        self.tools += tools

    def inspect(self, data: bytes, way: str) -> bool:
        assert TOKEN.encode() not in data
        return b"canary-word" in data

    def stream(self, way: str) -> Callable[[bytes], bool]:
        return lambda data: self.inspect(data, way)


class Place:
    """A running gateway: one port per provider."""

    def __init__(
        self, services: Services, urls: dict[Wire, str], context: ssl.SSLContext | None = None
    ) -> None:
        self.book = Book()
        upstreams = [Upstream(Provider(wire, wire, url), KEY) for wire, url in urls.items()]
        self.gateway = Gateway(upstreams, TOKEN, self.book, self.book, context)
        self.sockets = {wire: listen() for wire in urls}
        self.services = services

    @contextlib.contextmanager
    def serving(self) -> Iterator[Place]:
        with contextlib.ExitStack() as stack:
            for each in self.sockets.values():
                stack.enter_context(each)
            stack.enter_context(self.services.serving(self.gateway, dict(self.sockets)))
            yield self

    def connect(self, wire: Wire = "anthropic") -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.sockets[wire].getsockname()[1], timeout=20)

    def ask(
        self, wire: Wire, path: str, body: Any, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> tuple[int, dict[str, str], bytes]:
        link = self.connect(wire)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        link.request(method, path, data, {**HEADERS[wire], **(headers or {})})
        answer = link.getresponse()
        try:
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            link.close()

    def raw(self, data: bytes, wire: Wire = "anthropic") -> bytes:
        with socket.create_connection(("127.0.0.1", self.sockets[wire].getsockname()[1]), timeout=20) as link:
            link.sendall(data)
            link.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: link.recv(65536), b""))


def listen() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    made.setblocking(False)
    return made


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


@contextlib.contextmanager
def answering(
    answer: bytes | list[bytes], *, context: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[bytes]]]:
    """A provider that reads a request and writes these bytes, whatever it was asked; with a pause between pieces."""
    seen: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                link, _ = listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), link:
                if context is not None:
                    link = context.wrap_socket(link, server_side=True)
                data = link.recv(1 << 20)
                seen.append(data)
                for piece in answer if isinstance(answer, list) else [answer]:
                    link.sendall(piece)
                    time.sleep(0.02)
                with contextlib.suppress(OSError):
                    link.shutdown(socket.SHUT_RDWR)
                link.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    scheme = "https" if context else "http"
    try:
        yield f"{scheme}://127.0.0.1:{listening.getsockname()[1]}", seen
    finally:
        # Closing does not wake one that waits to accept.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def reply(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


GOOD = b'{"type": "message", "model": "m", "usage": {"input_tokens": 10, "output_tokens": 5}}'
ASK = ASKS[0][3]


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


# -- providers that misbehave --------------------------------------------------------------------------------------------


def test_a_broken_answer_is_seen_as_broken_and_estimated(services: Services) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b'data: {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 50}}}\n\n'
    cut = head + b"%x\r\n" % len(chunk) + chunk + b"\r\n"
    with answering(cut) as (url, _), Place(services, {"anthropic": url}).serving() as place:
        link = place.connect()
        link.request("POST", "/v1/messages", json.dumps({**ASK, "stream": True}), HEADERS["anthropic"])
        with pytest.raises(http.client.IncompleteRead):
            link.getresponse().read()
        link.close()
    assert place.book.got == [("anthropic", "m", Tokens(50), False)]
    assert [fault.kind for fault in place.book.faults] == ["network"]


def test_a_provider_that_repeats_the_key_does_not_tell_the_agent(services: Services) -> None:
    leak = json.dumps({"error": {"type": "authentication_error", "message": f"bad key {KEY}"}}).encode()
    bad = reply(leak, "Set-Cookie: a=b", "Anthropic-Organization-Id: me", status="401 No")
    with answering(bad) as (url, _), Place(services, {"anthropic": url}).serving() as place:
        status, headers, answer = place.ask("anthropic", "/v1/messages", ASK)
    assert status == 401
    assert KEY.encode() not in answer
    assert TOKEN.encode() in answer
    assert not {"set-cookie", "anthropic-organization-id"} & headers.keys()
    assert place.book.faults == [Fault("auth", 401, "bad key [key]")]
    told = GOOD[:-1] + b', "echo": "' + KEY.encode() + b'"}'
    pieces = [reply(told)[:-12], reply(told)[-12:]]
    with answering(pieces) as (url, _), Place(services, {"anthropic": url}).serving() as place:
        assert KEY.encode() not in place.ask("anthropic", "/v1/messages", ASK)[2]


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (b"", 502, "network"),
        (b"garbage\r\n\r\n", 502, "network"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello", 502, "network"),
        (
            reply(b"{}", status="302 Found").replace(b"Content-Type", b"Location: http://x/\r\nX"),
            502,
            "bad_request",
        ),
        (reply(b"{}", "Retry-After: 7", status="429 Slow"), 429, "rate_limit"),
        (reply(b'{"error": {"code": "insufficient_quota"}}', status="429 No"), 429, "quota"),
        (reply(b"<html>", status="503 No"), 503, "overloaded"),
        (reply(b"{}", status="400 No"), 400, "bad_request"),
    ],
)
def test_what_a_provider_does_wrong_is_classed(
    services: Services, answer: bytes, status: int, kind: str
) -> None:
    with answering(answer) as (url, _), Place(services, {"anthropic": url}).serving() as place:
        got, headers, _ = place.ask("anthropic", "/v1/messages", ASK)
    assert got == status
    assert [fault.kind for fault in place.book.faults] == [kind]
    assert kind != "rate_limit" or (headers["retry-after"], place.book.faults[0].wait_s) == ("7", 7.0)
    assert not place.book.got


def test_a_provider_that_is_not_there_is_said_to_be_not_there(services: Services) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Place(services, {"anthropic": f"http://127.0.0.1:{port}"}).serving() as place:
        status, headers, answer = place.ask("anthropic", "/v1/messages", ASK)
    assert (status, "x-should-retry" in headers) == (502, False)
    assert b"cannot be reached" in answer
    assert [fault.kind for fault in place.book.faults] == ["network"]


def test_scripted_faults_go_through_as_they_are(services: Services) -> None:
    turns = (Turn("a", fault=ScriptedFault("status", status=529)), Turn("b", usage=USAGE))
    with (
        ScriptedModel((Scenario(turns),)) as model,
        Place(services, {"anthropic": model.url}).serving() as place,
    ):
        assert place.ask("anthropic", "/v1/messages", ASK)[0] == 529
    assert [fault.kind for fault in place.book.faults] == ["overloaded"]


# -- TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and what it says of 127.0.0.1 and of another name."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make certificates")
    place = tmp_path_factory.mktemp("tls")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]

    def make(name: str, *more: str) -> None:
        out = ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
        subprocess.run([openssl, *new, *out, *more], cwd=place, check=True, capture_output=True)

    make("authority", "-addext", "keyUsage=keyCertSign")
    sign = ["-CA", "authority.pem", "-CAkey", "authority.key", "-addext", "basicConstraints=CA:FALSE"]
    make("good", *sign, "-addext", "subjectAltName=IP:127.0.0.1")
    make("other", *sign, "-addext", "subjectAltName=DNS:example.org")
    return place


@pytest.mark.parametrize(
    ("name", "trusted", "works"), [("good", True, True), ("other", True, False), ("good", False, False)]
)
def test_a_key_goes_only_to_whom_the_authorities_vouch_for(
    services: Services, certificates: Path, name: str, trusted: bool, works: bool
) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    ours = ssl.create_default_context(cafile=str(certificates / "authority.pem") if trusted else None)
    with (
        answering(reply(GOOD), context=theirs) as (url, seen),
        Place(services, {"anthropic": url}, ours).serving() as place,
    ):
        status, _, answer = place.ask("anthropic", "/v1/messages", ASK)
    assert (status == 200) == works
    assert bool(place.book.got) == works
    assert bool(seen) == works
    assert works or b"certificate is not good" in answer


# -- trying a key ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_a_key_is_tried_with_something_free(wire: Wire) -> None:
    with answering(reply(b'{"data": []}')) as (url, seen):
        assert try_key(Upstream(Provider(wire, wire, url), KEY)) is None
    assert KEY.encode() in seen[0]
    assert re.match(rb"GET /v1(beta)?/models HTTP/1.1\r\n", seen[0])
    with answering(reply(b"{}", status="401 No")) as (url, _):
        fault = try_key(Upstream(Provider(wire, wire, url), KEY))
    assert fault is not None
    assert fault.kind == "auth"
