"""Going out through a proxy of one's own network: what it is asked, what it never is, and what settings say of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from net_world import HOST, LIMITS, Resolver, Rules, Upstream, hello, make_egress, serving, talk
from nightcrew.model.errors import InvalidInput
from nightcrew.model.network import UpstreamProxy
from nightcrew.model.usage import KeySource
from nightcrew.runtime.settings.config import parse_settings
from nightcrew.sandbox.egress.relaying import Relay
from nightcrew.sandbox.gateway.upstream import Unreached, connect, make_context, read_address
from nightcrew.sandbox.loop import Loop


class Proxy:
    """A proxy as networks have one: tunnels to wherever ``port`` is, plain requests answered, heads kept."""

    def __init__(self, port: int, login: str = "", answer: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self._port, self._login, self._answer = port, login, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.relay = Relay("127.0.0.1", int(self._listener.getsockname()[1]), login)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, inside: socket.socket) -> None:
        with inside, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head and (piece := inside.recv(4096)):
                head += piece
            self.heads.append(head)
            if self._answer:
                inside.sendall(self._answer)
            elif head.startswith(b"CONNECT "):
                self._tunnel(inside)
            else:
                inside.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied")

    def _tunnel(self, inside: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as outside:
            # The first word of the server comes in one piece with the answer: none of it may be lost.
            inside.sendall(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nfirst ")
            pump = threading.Thread(target=_copy, args=(inside, outside), daemon=True)
            pump.start()
            _copy(outside, inside)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def server() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture
def proxy(server: Upstream) -> Iterator[Proxy]:
    proxy = Proxy(server.port, "me:secret")
    yield proxy
    proxy.close()


def connect_to(host: str, port: int = 443) -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


def test_a_tunnel_goes_through_it_by_name_and_loses_nothing(
    loop: Loop, server: Upstream, proxy: Proxy
) -> None:
    rules = Rules(server.port, outward=("world.test",))
    egress = make_egress(loop, rules, limits=LIMITS, look_up=Resolver(), upstream=proxy.relay)
    with serving(egress) as places:
        came = talk(places.proxy, connect_to("world.test"), hello("world.test"), end=True)
    assert came == b"HTTP/1.1 200 Connection established\r\n\r\nfirst hello back"
    [head] = proxy.heads
    assert head.startswith(b"CONNECT world.test:443 HTTP/1.1\r\nHost: world.test:443\r\n")
    assert b"Proxy-Authorization: Basic " + base64.b64encode(b"me:secret") in head
    heard = server.all_heard
    assert heard[:1] == b"\x16"
    assert b"world.test" in heard
    assert rules.sums() == {("CONNECT world.test:443", "allow"): 1}


def test_plain_requests_are_handed_to_it_whole_without_what_the_program_says_of_proxies(
    loop: Loop, proxy: Proxy
) -> None:
    egress = make_egress(
        loop, Rules(0, outward=("world.test",)), limits=LIMITS, look_up=Resolver(), upstream=proxy.relay
    )
    asked = b"GET http://world.test/a?b HTTP/1.1\r\nHost: world.test\r\nProxy-Authorization: Basic mine\r\nConnection: close\r\n\r\n"
    with serving(egress) as places:
        came = talk(places.proxy, asked)
    assert came.endswith(b"proxied")
    [head] = proxy.heads
    assert head.startswith(b"GET http://world.test/a?b HTTP/1.1\r\nHost: world.test\r\n")
    assert b"mine" not in head
    assert head.lower().count(b"proxy-authorization") == 1


@pytest.mark.parametrize(
    ("host", "addresses"),
    [("inner.test", "10.0.0.1"), ("both.test", "93.184.216.34 127.0.0.1"), ("127.0.0.1", ""), ("[fd00::1]", ""), ("169.254.169.254", "")],
)  # fmt: skip
def test_what_leads_inside_is_refused_before_the_proxy_hears_of_it(
    loop: Loop, proxy: Proxy, host: str, addresses: str
) -> None:
    rules = Rules(0, outward=(host.strip("[]"),))
    look_up = Resolver(inner_test=addresses, both_test=addresses)
    with serving(make_egress(loop, rules, limits=LIMITS, look_up=look_up, upstream=proxy.relay)) as places:
        came = talk(places.proxy, connect_to(host))
    assert came.startswith(b"HTTP/1.1 403")
    assert proxy.heads == []


def test_hosts_of_the_own_network_are_reached_directly(loop: Loop, server: Upstream, proxy: Proxy) -> None:
    with serving(make_egress(loop, Rules(server.port), limits=LIMITS, upstream=proxy.relay)) as places:
        assert talk(places.proxy, connect_to(HOST), hello(HOST), end=True).endswith(b"\r\n\r\nhello back")
    assert proxy.heads == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"407 Proxy Authentication Required"),
        (b"HTTP/1.0 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad", b"502 Bad Gateway"),
        (b"SSH-2.0-x\r\n\r\n", b"no answer of a proxy"),
        (b"x" * 40_000, b"no answer of a proxy"),
    ],
)
def test_a_proxy_that_refuses_is_quoted_and_its_login_is_not(loop: Loop, answer: bytes, words: bytes) -> None:
    proxy = Proxy(0, "me:secret", answer)
    rules = Rules(0, outward=("world.test",))
    try:
        egress = make_egress(loop, rules, limits=LIMITS, look_up=Resolver(), upstream=proxy.relay)
        with serving(egress) as places:
            came = talk(places.proxy, connect_to("world.test"))
    finally:
        proxy.close()
    assert came.startswith(b"HTTP/1.1 502")
    assert words in came
    assert b"secret" not in came
    assert "secret" not in repr(proxy.relay)
    assert rules.sums() == {("CONNECT world.test:443", "failed"): 1}


def test_a_proxy_that_is_not_there_is_named(loop: Loop) -> None:
    gone = Proxy(0)
    gone.close()
    egress = make_egress(
        loop, Rules(0, outward=("world.test",)), limits=LIMITS, look_up=Resolver(), upstream=gone.relay
    )
    with serving(egress) as places:
        came = talk(places.proxy, connect_to("world.test"))
    assert b"the proxy of this machine cannot be reached" in came


def test_the_gateway_goes_through_it_and_still_checks_the_certificate(server: Upstream, proxy: Proxy) -> None:
    """The server at the end speaks no TLS: what matters is that the tunnel stood, and that nothing was said in clear."""

    async def ask() -> None:
        async with connect(read_address("https://models.test"), make_context(), proxy.relay):
            raise AssertionError("no TLS, no connection")

    with pytest.raises(Unreached):
        asyncio.run(ask())
    [head] = proxy.heads
    assert head.startswith(b"CONNECT models.test:443 ")


def test_a_provider_on_this_machine_is_asked_directly(server: Upstream, proxy: Proxy) -> None:
    async def ask() -> None:
        address = read_address(f"http://127.0.0.1:{server.port}")
        async with connect(address, ssl.create_default_context(), proxy.relay) as end:
            await end.ask(b"GET", b"/", [(b"host", b"x")])

    asyncio.run(ask())
    assert proxy.heads == []


# -- settings


def test_the_setting_is_read_and_a_repository_has_none() -> None:
    text = "network:\n  upstream_proxy: http://proxy.test:8080\n  upstream_login: {env: LOGIN}\n"
    found = parse_settings(text, "config.yaml")
    assert found.upstream_proxy == UpstreamProxy("proxy.test", 8080, KeySource("env", ("LOGIN",)))
    assert parse_settings("", "c", over=found).upstream_proxy == found.upstream_proxy
    assert parse_settings("network: {upstream_proxy: none}", "c", over=found).upstream_proxy is None
    plain = parse_settings("network: {upstream_proxy: http://10.0.0.1}", "c").upstream_proxy
    assert plain == UpstreamProxy("10.0.0.1", 3128)
    with pytest.raises(InvalidInput, match="problem") as refused:
        parse_settings(text, "repo.yaml", over=found, repository=True)
    problem = refused.value.problems[0]
    assert problem.place.line == 2
    assert "a repository does not decide" in problem.message


@pytest.mark.parametrize(
    "value",
    ["https://proxy.test:8080", "proxy.test:8080", "http://me:hunter2@proxy.test", "http://proxy.test/path", "http://proxy.test:99999", "http://"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_repeating_it(value: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_settings(f"network: {{upstream_proxy: {value!r}}}", "config.yaml")
    said = str(refused.value) + repr(refused.value.problems)
    assert "hunter2" not in said
    assert "http" in said


def test_a_login_must_be_a_place_and_needs_a_proxy() -> None:
    for text in (
        "network: {upstream_proxy: 'http://p.test', upstream_login: 'me:hunter2'}",
        "network: {upstream_login: {env: LOGIN}}",
    ):
        with pytest.raises(InvalidInput) as refused:
            parse_settings(text, "config.yaml")
        assert "hunter2" not in str(refused.value) + repr(refused.value.problems)
