"""A gateway on plain sockets for tests: its place, a book of what it told, and upstreams that answer what they are told."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from nightcrew.model.usage import Fault, Provider, Tokens, Wire
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.gateway.service import Services
from nightcrew.sandbox.gateway.upstream import Upstream
from nightcrew.sandbox.gateway.wires import Ask
from nightcrew.testing.scenario import Usage

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
        self.held: list[str] = []
        self.gone: list[str] = []
        self.answers: list[str] = []
        #: So many times a question is told to wait.
        self.busy = 0

    def admit(self, provider: Provider, model: str) -> str:
        return self.refusal

    def hold(self, provider: Provider, asked: Ask) -> str:
        self.held.append(asked.model)
        return "" if self.busy and len(self.held) <= self.busy else f"ticket-{len(self.held)}"

    def let_go(self, ticket: str) -> None:
        self.gone.append(ticket)

    def heard(self, answer: str) -> None:
        self.answers.append(answer)

    def record(
        self, provider: Provider, models: tuple[str, str], tokens: Tokens, *, exact: bool, ticket: str = ""
    ) -> None:
        assert ticket
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
