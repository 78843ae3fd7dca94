"""The way out of a sandbox on real sockets: what comes through, what does not, and what is told about it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from net_world import HOST, LIMITS, Resolver, Rules, Upstream, hello, make_egress, serving, talk
from nightcrew.sandbox.loop import Loop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-From: upstream\r\n\r\nthere"


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


@pytest.fixture
def web() -> Iterator[Upstream]:
    web = Upstream(ANSWER, b"\r\n\r\n")
    yield web
    web.close()


def connect(host: str = HOST, port: int = 443, field: str = "") -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {field or f'{host}:{port}'}\r\n\r\n".encode()


def status(answer: bytes) -> bytes:
    return answer.split(b"\r\n", 1)[0][:12]


# -- tunnels


def test_a_tunnel_to_an_allowed_host_is_transparent_in_both_directions(
    loop: Loop, upstream: Upstream
) -> None:
    rules = Rules(upstream.port)
    first = hello(HOST)
    with serving(make_egress(loop, rules, limits=LIMITS)) as places:
        came = talk(places.proxy, connect(), first + b"more" * 50_000, end=True)
    assert came == b"HTTP/1.1 200 Connection established\r\n\r\nhello back"
    assert upstream.all_heard == first + b"more" * 50_000
    assert rules.sums() == {("CONNECT upstream.test:443", "allow"): 1}
    [tally] = [t for t in rules.told if t.requests or t.sent_bytes]
    assert (tally.sent_bytes, tally.received_bytes) == (len(first) + 200_000, 10)


def test_a_first_message_may_come_in_pieces_and_together_with_the_request(
    loop: Loop, upstream: Upstream
) -> None:
    first = hello(HOST)
    with serving(make_egress(loop, Rules(upstream.port), limits=LIMITS)) as places:
        came = talk(places.proxy, connect() + first[:7], first[7:100] + first[100:], end=True)
        assert came.endswith(b"hello back")
        with socket.create_connection(places.proxy, 5) as slow:
            slow.sendall(connect())
            slow.recv(1000)
            for position in range(0, len(first), 50):
                slow.sendall(first[position : position + 50])
                time.sleep(0.001)
            assert slow.recv(1000) == b"hello back"


@pytest.mark.parametrize(
    "first",
    [hello("other.test"), hello(None), b"GET / HTTP/1.1\r\nHost: upstream.test\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"],
    ids=["another name", "no name", "plain http", "ssh", "no hello"],
)  # fmt: skip
def test_through_port_443_goes_only_tls_to_the_name_that_was_allowed(
    loop: Loop, upstream: Upstream, first: bytes
) -> None:
    rules = Rules(upstream.port)
    with serving(make_egress(loop, rules, limits=LIMITS)) as places:
        came = talk(places.proxy, connect(), first)
    assert b"hello back" not in came
    assert upstream.all_heard == b""
    assert rules.sums()["CONNECT upstream.test:443", "deny"] == 1


def test_another_port_carries_any_protocol_but_tls_to_another_name(loop: Loop, upstream: Upstream) -> None:
    with serving(make_egress(loop, Rules(upstream.port), limits=LIMITS)) as places:
        assert talk(places.proxy, connect(port=5432), b"SSH-2.0-x\r\n", end=True).endswith(b"hello back")
        assert not talk(places.proxy, connect(port=5432), hello("other.test")).endswith(b"hello back")
    assert upstream.all_heard == b"SSH-2.0-x\r\n"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (connect("other.test"), 403),
        (connect("127.0.0.1"), 403),
        (connect("[::1]"), 403),
        (connect("2130706433"), 400),
        (connect("0x7f.1"), 400),
        (connect("0177.0.0.1"), 400),
        (connect("[fe80::1%25lo]"), 400),
        (connect("[::ffff:127.0.0.1]"), 403),
        (connect(field="other.test:443"), 400),
        (connect(field="upstream.test:80"), 400),
        (connect(port=0), 400),
        (connect(port=70000), 400),
        (b"CONNECT upstream.test HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"CONNECT user@upstream.test:443 HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"CONNECT upstream.test:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT upstream.test:443 HTTP/1.1\nHost: upstream.test\n\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_tunnels_that_are_refused(loop: Loop, upstream: Upstream, request_: bytes, code: int) -> None:
    with serving(make_egress(loop, Rules(upstream.port), limits=LIMITS)) as places:
        came = talk(places.proxy, request_, end=True)
    assert status(came) == b"HTTP/1.1 %d" % code, came
    assert b"nightcrew: " in came
    assert upstream.heard == []


# -- where names lead


@pytest.mark.parametrize(
    "addresses",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1 93.184.216.34", "93.184.216.34 ::1", "::ffff:93.184.216.34", "100.64.0.1", "fd00::1"],
)  # fmt: skip
def test_a_name_that_leads_inside_is_refused_after_one_look(
    loop: Loop, upstream: Upstream, addresses: str
) -> None:
    rules = Rules(upstream.port, outward=("rebinding.test",))
    resolver = Resolver(rebinding_test=addresses)
    with serving(make_egress(loop, rules, limits=LIMITS, look_up=resolver)) as places:
        came = talk(places.proxy, connect("rebinding.test", upstream.port))
        assert status(came) == b"HTTP/1.1 403"
        assert b"which no sandbox may reach" in came
    assert resolver.asked == ["rebinding.test"]
    assert upstream.heard == []
    assert (f"CONNECT rebinding.test:{upstream.port}", "deny") in rules.sums()


def test_this_machines_own_address_is_refused(
    loop: Loop, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that the kernel holds itself, whatever range it lies in: here loopback, taken from the list."""
    from nightcrew.sandbox.egress import dialing

    monkeypatch.setattr(dialing, "is_inward", lambda _: False)
    rules = Rules(upstream.port, outward=("own.test",))
    with serving(make_egress(loop, rules, limits=LIMITS, look_up=Resolver(own_test="127.0.0.1"))) as places:
        assert status(talk(places.proxy, connect("own.test", upstream.port))) == b"HTTP/1.1 403"
    assert upstream.heard == []


def test_what_cannot_be_reached_is_told(loop: Loop, upstream: Upstream) -> None:
    upstream.close()
    rules = Rules(upstream.port, outward=("nowhere.test",))
    with serving(make_egress(loop, rules, limits=LIMITS, look_up=Resolver())) as places:
        gone = talk(places.proxy, connect())
        assert status(gone) == b"HTTP/1.1 502"
        assert b"Connection refused" in gone
        assert status(talk(places.proxy, connect("nowhere.test"))) == b"HTTP/1.1 502"
    assert rules.sums()["CONNECT upstream.test:443", "failed"] == 1


# -- plain requests


def test_a_plain_request_is_written_anew_and_asked_for_by_its_method(loop: Loop, web: Upstream) -> None:
    rules = Rules(web.port)
    request = (
        b"GET http://upstream.test/a/b?c=d HTTP/1.1\r\nHost: upstream.test\r\nProxy-Authorization: Basic x\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nAccept: */*\r\n\r\n"
    )
    post = (
        b"POST http://upstream.test/p HTTP/1.1\r\nHost: upstream.test\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    with serving(make_egress(loop, rules, limits=LIMITS)) as places:
        came = talk(places.proxy, request, post)
    assert came.count(b"200 OK") == 2
    assert came.count(b"there") == 2
    assert (
        web.heard[0]
        == b"GET /a/b?c=d HTTP/1.1\r\nHost: upstream.test\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    assert web.heard[1].startswith(b"POST /p HTTP/1.1\r\nHost: upstream.test\r\n")
    assert b"Transfer-Encoding: chunked" in web.heard[1]
    assert [request.action.detail for request in rules.asked] == [
        "GET http://upstream.test:80", "POST http://upstream.test:80",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", 403),
        (b"GET http://other.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET http://upstream.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", 400),
        (b"GET http://upstream.test/ HTTP/1.1\r\nHost: upstream.test:8080\r\n\r\n", 400),
        (b"GET http://upstream.test@other.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET http://upstream.test\\@other.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET http://upstream.test#.other.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET https://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"get http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 501),
        (b"GET ftp://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: upstream.test\r\n\r\n", 400),
        (b"GET http://127.1/ HTTP/1.1\r\nHost: 127.1\r\n\r\n", 400),
        (b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", 403),
        (b"POST http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET http://other.test/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\nX: a\nHost: other.test\r\n\r\n", 400),
        (b"GET http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
    ],
)  # fmt: skip
def test_plain_requests_that_are_refused(loop: Loop, web: Upstream, request_: bytes, code: int) -> None:
    with serving(make_egress(loop, Rules(web.port), limits=LIMITS)) as places:
        came = talk(places.proxy, request_)
    assert status(came) == b"HTTP/1.1 %d" % code, came
    assert came.count(b"HTTP/1.1 ") == 1
    assert web.heard == []


def test_a_redirect_is_another_request(loop: Loop) -> None:
    web = Upstream(
        b"HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n", b"\r\n\r\n"
    )
    first = b"GET http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n"
    second = b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n"
    with serving(make_egress(loop, Rules(web.port), limits=LIMITS)) as places:
        came = talk(places.proxy, first, second)
    web.close()
    assert b"302 Found" in came
    assert b"HTTP/1.1 403" in came


@pytest.mark.parametrize(
    ("reply", "code"),
    [(b"garbage\r\n\r\n", 502), (b"", 502), (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 502), (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 502)],
    ids=["garbage", "nothing", "bad length", "huge head"],
)  # fmt: skip
def test_a_server_that_talks_nonsense_is_told_as_that(loop: Loop, reply: bytes, code: int) -> None:
    web = Upstream(reply, b"\r\n\r\n")
    with serving(make_egress(loop, Rules(web.port), limits=LIMITS)) as places:
        came = talk(places.proxy, b"GET http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\n\r\n")
    web.close()
    assert status(came) == b"HTTP/1.1 %d" % code


# -- programs that know of no proxy


def ask_name(place: tuple[str, int], name: str, kind: int = 1, *, data: bytes = b"") -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    message = data or struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.sendto(message, place)
        try:
            return client.recv(512)
        except TimeoutError:
            return b""


def test_names_that_may_be_reached_get_an_address_inside_and_lead_there(
    loop: Loop, upstream: Upstream, web: Upstream
) -> None:
    rules = Rules(upstream.port)
    with serving(make_egress(loop, rules, limits=LIMITS)) as places:
        answer = ask_name(places.names, "UPSTREAM.test")
        assert answer[:4] == b"\x00\x07\x81\x80"
        assert answer[-4:] == bytes((127, 66, 0, 1))
        assert ask_name(places.names, HOST, 28)[2:8] == b"\x81\x80\x00\x01\x00\x00"  # AAAA: it has none
        assert ask_name(places.names, "secret.data.evil.test")[3] & 15 == 3  # no such name
        assert ask_name(places.names, "localhost")[3] & 15 == 3
        first = hello(HOST)
        assert talk(("127.66.0.1", places.tls), first, end=True) == b"hello back"
        assert talk(("127.66.0.2", places.tls), first) in (b"", b"(reset)")
        assert talk(("127.66.0.1", places.tls), hello("other.test")) in (b"", b"(reset)")
        rules.port = web.port
        assert b"there" in talk(
            ("127.66.0.1", places.web), b"GET /x HTTP/1.1\r\nHost: upstream.test\r\nConnection: close\r\n\r\n"
        )
        bad = talk(
            ("127.66.0.1", places.web), b"GET /x HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"
        )
        assert status(bad) == b"HTTP/1.1 400"
    assert upstream.all_heard == first
    assert web.all_heard.startswith(b"GET /x HTTP/1.1\r\nHost: upstream.test\r\n")
    assert rules.sums()["NAME http://secret.data.evil.test:53", "deny"] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"\0" * 12, b"\0" * 511, struct.pack("!6H", 1, 0x8180, 1, 0, 0, 0) + b"\0\0\1\0\1",
        struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x3fshort",
        struct.pack("!6H", 1, 0, 9, 0, 0, 0) + b"\0\0\1\0\1", struct.pack("!6H", 1, 0x2800, 1, 0, 0, 0) + b"\0\0\1\0\1",
        struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x01\xff\0\0\1\0\1",
    ],
)  # fmt: skip
def test_broken_queries_hurt_nobody(loop: Loop, upstream: Upstream, data: bytes) -> None:
    with serving(make_egress(loop, Rules(upstream.port), limits=LIMITS)) as places:
        answer = ask_name(places.names, "", data=data) if data else b""
        assert not answer or answer[3] & 15 != 0
        assert ask_name(places.names, HOST)[3] & 15 == 0


# -- limits


def test_requests_over_the_rate_wait_and_then_are_refused(loop: Loop, upstream: Upstream) -> None:
    rules = Rules(upstream.port, allowed=(HOST, "second.test"))
    with serving(make_egress(loop, rules, limits=replace(LIMITS, rate_per_minute=30))) as places:
        answers = [status(talk(places.proxy, connect(port=99), b"x", end=True)) for _ in range(30)]
        began = time.monotonic()
        waited = status(talk(places.proxy, connect(port=99), b"x", end=True))
        assert time.monotonic() - began > 1.0
        clients = [
            threading.Thread(target=talk, args=(places.proxy, connect(port=99), b"x")) for _ in range(4)
        ]
        for client in clients:
            client.start()
        time.sleep(0.2)
        refused = talk(places.proxy, connect(port=99))
        assert status(talk(places.proxy, connect("second.test", 99), b"x", end=True)) == b"HTTP/1.1 200"
    for client in clients:
        client.join()
    assert set(answers) == {b"HTTP/1.1 200"}
    assert waited == b"HTTP/1.1 200"
    assert status(refused) == b"HTTP/1.1 429"
    assert b"more than 30 requests a minute" in refused


def test_bytes_are_bounded(loop: Loop, upstream: Upstream) -> None:
    rules = Rules(upstream.port)
    with serving(make_egress(loop, rules, limits=replace(LIMITS, total_bytes=100_000))) as places:
        talk(places.proxy, connect(port=99), b"x" * 300_000)
        assert len(upstream.all_heard) < 100_000
        refused = talk(places.proxy, connect(port=99))
    assert status(refused) == b"HTTP/1.1 429"
    assert b"used up the 100000 bytes" in refused


def test_connections_are_bounded_and_idle_ones_end(loop: Loop, upstream: Upstream) -> None:
    limits = replace(LIMITS, connections=2, idle_s=0.4)
    with serving(make_egress(loop, Rules(upstream.port), limits=limits)) as places:
        held = [socket.create_connection(places.proxy, 5) for _ in range(2)]
        for each in held:
            each.sendall(connect(port=99))
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert talk(places.proxy, connect(port=99), b"x", end=True).endswith(b"hello back")
        assert 0.2 < time.monotonic() - began < 4
        for each in held:
            assert each.recv(10) == b""
            each.close()


def test_a_question_is_not_answered_before_the_tree_is_gone_and_serving_ends_everything(
    loop: Loop, upstream: Upstream
) -> None:
    rules = Rules(upstream.port, asks=("unknown.test",))
    with serving(make_egress(loop, rules, limits=LIMITS)) as places:
        asking = socket.create_connection(places.proxy, 5)
        asking.sendall(connect("unknown.test"))
        open_tunnel = socket.create_connection(places.proxy, 5)
        open_tunnel.sendall(connect(port=99))
        assert open_tunnel.recv(1000).startswith(b"HTTP/1.1 200")
        asking.settimeout(0.3)
        with pytest.raises(TimeoutError):
            asking.recv(10)
    asking.settimeout(2)
    assert asking.recv(10) == b""
    assert open_tunnel.recv(10) == b""
    asking.close()
    open_tunnel.close()
    assert rules.sums()["CONNECT unknown.test:443", "ask"] == 1


class Watch:
    """Finds one word in whatever leaves."""

    def __init__(self, word: bytes) -> None:
        self.word = word
        self.ways: list[str] = []

    def inspect(self, data: bytes, way: str) -> bool:
        if self.word in data:
            self.ways.append(way)
        return self.word in data

    def stream(self, way: str) -> Callable[[bytes], bool]:
        return lambda data: self.inspect(data, way)


def test_a_canary_leaves_in_no_way(loop: Loop, upstream: Upstream, web: Upstream) -> None:
    watch = Watch(b"canary")
    rules = Rules(upstream.port)
    egress = make_egress(loop, rules, limits=LIMITS, watch=watch)
    with serving(egress) as places:
        assert status(talk(places.proxy, connect("canary.evil.test"))) == b"HTTP/1.1 403"
        field = connect().replace(b"\r\n\r\n", b"\r\nX-Key: canary\r\n\r\n")
        assert status(talk(places.proxy, field)) == b"HTTP/1.1 403"
        talk(places.proxy, connect(port=99), b"my canary")
        assert ask_name(places.names, "canary.upstream.test")[3] & 15 == 3
        rules.port = web.port
        body = (
            b"POST http://upstream.test/ HTTP/1.1\r\nHost: upstream.test\r\nContent-Length: 6\r\n\r\ncanary"
        )
        talk(places.proxy, body)
        query = b"GET http://upstream.test/?q=canary HTTP/1.1\r\nHost: upstream.test\r\n\r\n"
        assert status(talk(places.proxy, query)) == b"HTTP/1.1 403"
    assert b"canary" not in upstream.all_heard + web.all_heard
    assert len(watch.ways) == 6
    assert not any("canary" in way and "evil" not in way for way in watch.ways)


def test_connections_of_an_end_give_their_room_back(loop: Loop) -> None:
    egress = make_egress(loop, Rules(1), limits=LIMITS)
    before = loop.room._value

    async def end_at_once() -> None:
        with contextlib.ExitStack() as stack:
            room = asyncio.Semaphore(5)
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            listener.setblocking(False)
            clients = [
                stack.enter_context(socket.create_connection(listener.getsockname(), 5)) for _ in range(5)
            ]
            egress._start(egress._accept(listener, "proxy", room))
            while len(egress._tasks) < 6:  # noqa: ASYNC110 - one step of the loop after the other
                await asyncio.sleep(0)
            # Accepted, and cancelled before their first step.
            await egress._end()
            assert [client.recv(10) for client in clients] == [b""] * 5
            assert room._value == 5

    loop.run(end_at_once())
    assert loop.room._value == before


def test_a_server_that_breaks_off_is_told(loop: Loop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def answer() -> None:
            link, _ = rude.accept()
            link.recv(10)  # with something unread, closing resets
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.close()

        thread = threading.Thread(target=answer)
        thread.start()
        rules = Rules(rude.getsockname()[1])
        with serving(make_egress(loop, rules, limits=LIMITS)) as places:
            came = talk(places.proxy, f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        thread.join(5)
    assert status(came) == b"HTTP/1.1 502", came
