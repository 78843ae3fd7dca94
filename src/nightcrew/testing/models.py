"""A scripted model server on loopback: the four wire formats, with streams and faults, no key and no model.

Point a coding agent at it and it works through a scenario (see ``scenario``). In a test::

    with ScriptedModel(of_calls(Call("shell", command="make"))) as model:
        ...  # ANTHROPIC_BASE_URL=model.url, OPENAI base URL model.url + "/v1", GOOGLE_GEMINI_BASE_URL=model.url
        model.seen  # every request, in order

By hand: ``python -m nightcrew.testing.models scenario.json --port 8089``.
"""

from __future__ import annotations

import argparse
import json
import os
import socketserver
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self, cast

from nightcrew.testing.scenario import NOTHING_LEFT, Fault, Scenario, Turn, read_scenarios
from nightcrew.testing.tools import make_call, takes_edits, write_edits
from nightcrew.testing.wires import Answer, Request, find_wire, read_request, write_events, write_json

#: Longest request that is read; an agent's whole conversation is far below it.
REQUEST_LIMIT_BYTES: Final = 64 << 20
_KEY_HEADERS: Final = ("x-api-key", "x-goog-api-key", "authorization")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived.

    Attributes:
        method, path: as sent. key: value of its key header (without ``Bearer``), empty for none.
        wire: see ``wires.Request``; empty for another path. turn: number of the turn it got; -1 for none.
        body: the JSON it carried, empty when it was none. headers: names in lower case.
    """

    method: str
    path: str
    key: str
    wire: str
    turn: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, owner: ScriptedModel, port: int) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        # The library's own asks the name service for our name first, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in the middle of an answer is part of many scenarios."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class ScriptedModel:
    """The server; runs between ``__enter__`` and ``__exit__``.

    Args:
        scenarios: the first one whose ``when`` is in a request is meant.
        port: 0 for any free one.

    Attributes:
        seen: every request so far, in order of arrival.
    """

    def __init__(self, scenarios: Sequence[Scenario], port: int = 0) -> None:
        self._scenarios = tuple(scenarios)
        self._server = _Server(self, port)
        self._failed: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.closing = threading.Event()
        self.seen: list[Seen] = []

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="scripted-model"
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        if self._thread is not None:
            self._thread.join()

    def serve(self) -> None:
        """Serve in this thread until interrupted."""
        self._server.serve_forever()

    def note(self, seen: Seen) -> None:
        """Keep a request."""
        with self._lock:
            self.seen.append(seen)

    def choose(self, request: Request, text: str) -> tuple[Turn, Fault | None]:
        """Return the turn that a request gets, and the fault that comes instead, this time."""
        scenario = next((each for each in self._scenarios if each.when in text), None)
        turn = scenario.turn(request.turn) if scenario is not None else Turn(NOTHING_LEFT)
        edits = scenario is not None and not request.tools and takes_edits(text)
        if scenario is not None and edits:
            turn = _tell_edits(scenario)
        elif turn.calls and not request.tools:
            # Beside the work: a title, a summary. It is answered, and takes no turn.
            return Turn(NOTHING_LEFT), None
        if turn.fault is None or scenario is None:
            return turn, None
        with self._lock:
            key = (scenario.when, -1 if edits else request.turn)
            self._failed[key] += 1
            return turn, turn.fault if self._failed[key] <= turn.fault.times else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def _owner(self) -> ScriptedModel:
        return cast(_Server, self.server).owner

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own name
        """Say nothing; ``seen`` has it all."""

    def do_HEAD(self) -> None:
        self._note("", -1, {})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self._note("", -1, {})
        models = [{"id": "scripted-1", "object": "model", "type": "model", "display_name": "scripted-1"}]
        self._send_json(200, {"object": "list", "data": models, "models": models, "has_more": False})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= REQUEST_LIMIT_BYTES:
            self._send_json(413, _describe_error("the request is too long"))
            return
        data = self.rfile.read(length)
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            self._note("", -1, {})
            self._send_json(400, _describe_error("the body is no JSON object"))
            return
        wire = find_wire(self.path)
        if not wire:
            self._note("", -1, body)
            self._answer_beside()
            return
        request = read_request(wire, self.path, body)
        self._note(wire, request.turn, body)
        self._answer(request, data.decode("utf-8", "replace"))

    def _answer_beside(self) -> None:
        if self.path.partition("?")[0].endswith(("/count_tokens", ":countTokens")):
            self._send_json(200, {"input_tokens": 1000, "totalTokens": 1000})
        else:
            self._send_json(404, _describe_error("there is no such path here"))

    def _answer(self, request: Request, text: str) -> None:
        turn, fault = self._owner.choose(request, text)
        if turn.delay_s:
            self._owner.closing.wait(turn.delay_s)
        if fault is not None and fault.kind != "cut":
            self._fail(fault)
            return
        answer = Answer(request, turn, tuple(make_call(call, request.tools) for call in turn.calls))
        if request.stream:
            self._send_events(answer, cut=fault is not None)
        else:
            self._send_json(200, write_json(answer), cut=fault is not None)

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "hang":
            self._owner.closing.wait()
            self.close_connection = True
        elif fault.kind == "garbage":
            self._send(200, "text/plain", b"\x00\xffthis is no answer\n")
        else:
            extra = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s else {}
            self._send_json(fault.status, _describe_error("a scripted failure"), extra=extra)

    def _send_json(
        self,
        status: int,
        value: Mapping[str, Any],
        *,
        cut: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._send(status, "application/json", json.dumps(value).encode("ascii"), cut=cut, extra=extra)

    def _send(
        self,
        status: int,
        kind: str,
        data: bytes,
        *,
        cut: bool = False,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def _send_events(self, answer: Answer, *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = write_events(answer)
        for name, data in events[: len(events) // 2] if cut else events:
            text = data if isinstance(data, str) else json.dumps(data)
            line = (f"event: {name}\n" if name else "") + f"data: {text}\n\n"
            self._send_chunk(line.encode("ascii"))
        if cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _note(self, wire: str, turn: int, body: Mapping[str, Any]) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        key = next((headers[name] for name in _KEY_HEADERS if headers.get(name)), "")
        key = key.removeprefix("Bearer ")
        self._owner.note(Seen(self.command, self.path, key, wire, turn, body, headers))


def _tell_edits(scenario: Scenario) -> Turn:
    """Return the whole scenario as one answer in text; what goes wrong is the first thing that does, and it is as slow."""
    calls = [call for turn in scenario.turns for call in turn.calls]
    fault = next((turn.fault for turn in scenario.turns if turn.fault is not None), None)
    slowest = max((turn.delay_s for turn in scenario.turns), default=0.0)
    return Turn(write_edits(calls) or NOTHING_LEFT, fault=fault, delay_s=slowest)


def _describe_error(text: str) -> Mapping[str, Any]:
    """Return an error that every one of the formats reads."""
    return {
        "type": "error",
        "error": {"type": "scripted_error", "code": 0, "status": "SCRIPTED", "message": text},
    }


def main() -> None:
    """Serve a scenario file until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m nightcrew.testing.models", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("scenario", type=Path, help="JSON file, see nightcrew.testing.scenario")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 for any free one")
    parser.add_argument(
        "--until-eof", action="store_true", help="end when standard input does, with who started this"
    )
    options = parser.parse_args()
    text = options.scenario.read_text("utf-8")
    model = ScriptedModel(read_scenarios(text, str(options.scenario)), options.port)
    sys.stdout.write(f"{model.url}\n")
    sys.stdout.flush()
    if options.until_eof:
        threading.Thread(target=_end_with_input, name="scripted-model-input", daemon=True).start()
    try:
        model.serve()
    except KeyboardInterrupt:
        return


def _end_with_input() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
