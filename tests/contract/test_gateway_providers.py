"""The gateway and its providers: those that misbehave, TLS, and a key that is tried."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_place import (
    ASK,
    GOOD,
    HEADERS,
    KEY,
    TOKEN,
    USAGE,
    Place,
    answering,
    reply,
)
from nightcrew.model.usage import WIRES, Fault, Provider, Tokens, Wire
from nightcrew.sandbox.gateway.service import Services
from nightcrew.sandbox.gateway.trial import try_key
from nightcrew.sandbox.gateway.upstream import Upstream
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Fault as ScriptedFault
from nightcrew.testing.scenario import Scenario, Turn


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    made = Services()
    yield made
    made.close()


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
