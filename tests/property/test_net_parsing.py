"""Whatever a hostile program sends is understood in one way or refused; nothing else ever happens."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from net_world import hello
from nightcrew.policy.hosts import BadHost, as_address, is_inward, read_host
from nightcrew.policy.network import read_request
from nightcrew.policy.places import read_item
from nightcrew.sandbox.egress import names
from nightcrew.sandbox.egress.hello import BadHello, read_name
from nightcrew.sandbox.egress.requests import read_plain, read_tunnel
from nightcrew.sandbox.http import BadMessage, Bounds, ServerEnd

HELLO = hello("example.org")
MOST_RECORDS = 64  # as in sandbox/egress/hello.py: a message in more pieces is refused
NUMBERS = st.one_of(
    st.integers(0, 2**32).map(str),
    st.integers(0, 2**32).map(hex),
    st.integers(0, 2**32).map(lambda n: f"0{n:o}"),
)
NOTATIONS = st.lists(NUMBERS, min_size=1, max_size=5).map(".".join)
HOSTS = st.one_of(NOTATIONS, st.text(max_size=60), st.text("0123456789abcdefx.:[]%-_ ", max_size=40))


@given(HOSTS)
@example("0x7f.1")
@example("127.1")
@example("0")
@settings(max_examples=600)
def test_what_a_resolver_takes_for_an_address_is_that_address_or_refused(text: str) -> None:
    try:
        host = read_host(text)
    except BadHost:
        return
    if not host.startswith("[") and ":" not in host:
        assert read_host(host) == host
        with contextlib.suppress(OSError, UnicodeError, ValueError):
            # inet_aton is what programs and libraries use; it knows all notations.
            taken = IPv4Address(socket.inet_aton(host))
            assert host == str(taken)
            assert as_address(host) == taken


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**128 - 1))
@settings(max_examples=400)
def test_what_is_not_global_is_inward_and_so_is_an_address_in_an_address(four: int, six: int) -> None:
    for address in (IPv4Address(four), IPv6Address(six), IPv6Address(six >> 3 | 1 << 125)):
        if not address.is_global or address.is_multicast:
            assert is_inward(address)
    for carrier in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::"):
        assert is_inward(IPv6Address(int(IPv6Address(carrier)) | four))
    assert is_inward(IPv6Address(0x2002 << 112 | four << 80))


@given(st.data())
@settings(max_examples=400)
def test_the_first_message_of_tls_has_one_name_or_is_refused(data: st.DataObject) -> None:
    changed = bytearray(HELLO)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(changed)))
    try:
        whole = read_name(bytes(changed))
        part = read_name(bytes(changed[:cut]))
    except BadHello:
        return
    # What is known early is known for good, whatever comes after.
    assert part in (None, whole)
    if whole:
        assert read_name(bytes(changed) + b"and more") == whole


def test_a_first_message_in_many_records_has_the_same_name() -> None:
    body = HELLO[5:]
    for size in (-(-len(body) // MOST_RECORDS), len(body) // 7, len(body)):
        records = in_records(body, size)
        assert read_name(records) == "example.org"
        assert read_name(records[:-1]) is None
    with pytest.raises(BadHello, match="too many pieces"):
        read_name(in_records(body, (len(body) - 1) // MOST_RECORDS))


def in_records(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece for piece in pieces)


@given(
    st.one_of(st.binary(max_size=600), st.binary(max_size=40).map(lambda b: b"\0\1\1\0\0\1\0\0\0\0\0\0" + b))
)
@settings(max_examples=400)
def test_a_query_is_read_or_answered_with_an_error(data: bytes) -> None:
    query = names.read_query(data)
    if isinstance(query, bytes):
        assert not query or (len(query) >= 12 and query[2] & 0x80)
        return
    host = names.find_host(query)
    assert not host or (host == host.lower() and as_address(host) is None)
    for address in (None, b"\x7f\x42\0\1"):
        reply = names.answer(query, address)
        assert reply[:2] == data[:2]
        assert len(reply) <= len(data) + 16


class Bytes:
    """A wire that gives its pieces and then ends."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.said = b""

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        self.said += data

    def close(self) -> None:
        self._pieces.clear()


LINES = st.lists(
    st.sampled_from(
        [
            b"GET http://a.test/ HTTP/1.1\r\n", b"CONNECT a.test:443 HTTP/1.1\r\n", b"POST http://a.test/x HTTP/1.0\r\n",
            b"Host: a.test\r\n", b"Host: b.test\r\n", b"host: a.test:443\r\n", b"Content-Length: 3\r\n", b"Content-Length: 3, 3\r\n",
            b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"X: y\n", b" folded\r\n", b"\r\n", b"abc",
            b"3\r\nabc\r\n0\r\n\r\n", b"\0", b"\r", b"\n", b"Connection: close\r\n", b"GET / HTTP/1.1\r\n",
        ]
    ),
    max_size=12,
)  # fmt: skip


@given(LINES, st.binary(max_size=20), st.integers(1, 30))
@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_stream_of_requests_is_read_strictly_or_refused(
    lines: list[bytes], noise: bytes, size: int
) -> None:
    data = b"".join(lines) + noise
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def read() -> list[tuple[h11.Request, bytes]]:
        found = []
        end = ServerEnd(Bytes(*pieces), Bounds(head_bytes=500))
        with contextlib.suppress(BadMessage):
            while (request := await end.request()) is not None:
                body = b"".join([piece async for piece in end.body()])
                found.append((request, body))
                if request.method == b"CONNECT":
                    break
                await end.respond(200, [])
                if not end.next_cycle():
                    break
        return found

    for request, _ in asyncio.run(read()):
        fields = [name for name, _ in request.headers]
        assert fields.count(b"host") <= 1
        assert not (b"transfer-encoding" in fields and b"content-length" in fields)
        with contextlib.suppress(BadMessage):
            wanted = read_tunnel(request) if request.method == b"CONNECT" else read_plain(request)[0]
            field = dict(request.headers).get(b"host", b"a.test")
            assert wanted.host == "a.test"
            assert field.startswith(b"a.test")


@given(st.text(max_size=60))
def test_items_and_examples_are_read_or_refused(text: str) -> None:
    for read in (read_item, read_request):
        with contextlib.suppress(ValueError):
            read(text)  # type: ignore[operator]


def test_a_first_message_in_very_many_pieces_is_refused() -> None:
    body = HELLO[5:]
    few = b"".join(
        HELLO[:3] + len(part).to_bytes(2, "big") + part for part in (body[:10], body[10:20], body[20:])
    )
    assert read_name(few) == "example.org"
    many = b"".join(HELLO[:3] + b"\0\1" + body[i : i + 1] for i in range(len(body)))
    with pytest.raises(BadHello, match="too many pieces"):
        read_name(many)
