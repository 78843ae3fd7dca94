"""HTTP on a wire: what is understood, and what is refused because two readers could differ about it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import h11
import pytest

from nightcrew.sandbox.http import BadMessage, Bounds, ClientEnd, ServerEnd, SocketWire, find, passed_on

SMALL = Bounds(head_bytes=2000, head_fields=10, head_s=0.3, idle_s=0.3)


def serve(data: bytes, act: Callable[[ServerEnd], Awaitable[object]], *, close: bool = True) -> object:
    """Give ``data`` to a server end and return what ``act`` does with it."""

    async def go() -> object:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(theirs, data)
            if close:
                theirs.shutdown(socket.SHUT_WR)
            return await act(ServerEnd(SocketWire(ours), SMALL))

    return asyncio.run(go())


async def read_all(end: ServerEnd) -> list[tuple[bytes, bytes]]:
    found = []
    while (request := await end.request()) is not None:
        body = b"".join([piece async for piece in end.body()])
        found.append((request.target, body))
        await end.respond(200, [], b"")
        if not end.next_cycle():
            break
    return found


def test_pipelined_requests_come_one_after_the_other() -> None:
    data = (
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        b"POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
        b"GET /c HTTP/1.1\r\nHost: h\r\n\r\n"
    )
    assert serve(data, read_all) == [(b"/a", b"abc"), (b"/b", b"de"), (b"/c", b"")]


HOST = b"Host: h\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\nHost: h\n\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST * 2 + b"\r\n", 400),
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 3000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 20 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadMessage) as refused:
        serve(data, read_all)
    assert refused.value.status == status


def test_who_is_slow_is_not_waited_for() -> None:
    for data in (
        b"",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na",
    ):
        with pytest.raises(BadMessage) as refused:
            serve(data, read_all, close=False)
        assert refused.value.status == 408


def test_both_ends_of_an_exchange() -> None:
    async def go() -> tuple[h11.Response, bytes, bytes]:
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        server, client = ServerEnd(SocketWire(ours), SMALL), ClientEnd(SocketWire(theirs), SMALL)

        async def answer() -> bytes:
            assert await server.request() is not None
            body = b"".join([piece async for piece in server.body()])
            await server.send(h11.InformationalResponse(status_code=103, headers=[]))
            await server.begin(200, [(b"Transfer-Encoding", b"chunked")])
            await server.write(b"one")
            await server.write(b"two")
            await server.end()
            return body

        answering = asyncio.create_task(answer())
        await client.ask(b"POST", b"/x", [(b"Host", b"h"), (b"Content-Length", b"2")])
        await client.write(b"hi")
        await client.end()
        response = await client.answer(1.0)
        came = b"".join([piece async for piece in client.body()])
        asked = await answering
        server.close()
        client.close()
        return response, came, asked

    response, came, asked = asyncio.run(go())
    assert (response.status_code, came, asked) == (200, b"onetwo", b"hi")


def test_a_refusal_is_told_in_words() -> None:
    async def go() -> bytes:
        ours, theirs = socket.socketpair()
        for each in (ours, theirs):
            each.setblocking(False)
        server = ServerEnd(SocketWire(ours), SMALL)
        await asyncio.get_running_loop().sock_sendall(theirs, b"GET / HTTP/1.1\r\nbroken\r\n\r\n")
        try:
            await server.request()
        except BadMessage as problem:
            await server.refuse(problem.status, problem.words)
        server.close()
        with theirs:
            return await asyncio.get_running_loop().sock_recv(theirs, 1000)

    answer = asyncio.run(go())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"nightcrew: illegal header line" in answer


def test_fields_about_one_connection_are_not_passed_on() -> None:
    fields = [
        (b"Host", b"h"),
        (b"Connection", b"X-Mine, close"),
        (b"X-Mine", b"1"),
        (b"Proxy-Authorization", b"p"),
    ]
    assert passed_on(fields) == [(b"Host", b"h")]
    assert find(fields, b"x-mine") == b"1"
    assert find(fields, b"absent") == b""
