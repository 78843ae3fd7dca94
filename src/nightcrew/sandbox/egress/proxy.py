"""One connection from inside: read what it wants, ask, connect, pass on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

import h11

from nightcrew.model.leaving import LeavingWatch
from nightcrew.model.network import NetRequest, Ruling
from nightcrew.sandbox.egress import hello
from nightcrew.sandbox.egress.dialing import CannotReach, Resolve, dial
from nightcrew.sandbox.egress.relay import relay
from nightcrew.sandbox.egress.relaying import Relay, dial_through
from nightcrew.sandbox.egress.requests import host_field, read_plain, read_tunnel
from nightcrew.sandbox.egress.traffic import TooMuch, Traffic
from nightcrew.sandbox.http import (
    BadMessage,
    Bounds,
    ClientEnd,
    ServerEnd,
    SocketWire,
    find,
    linger,
    passed_on,
)

BOUNDS: Final = Bounds()
_TLS_PORT: Final = 443
_CHUNK_BYTES: Final = 1 << 16
_STOP_PATIENCE_S: Final = 60.0
_OURS: Final = (b"host", b"expect")
_ANSWER_S: Final = 300.0  # a server may think for long (builds, model calls); the attempt has its own limits


class Refused(Exception):
    """A request is not let through: the status to answer and why."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Context(Protocol):
    """What a connection belongs to: the egress of one sandbox."""

    traffic: Traffic
    watch: LeavingWatch | None
    look_up: Resolve
    upstream: Relay | None

    async def ask(self, request: NetRequest) -> Ruling:
        """Return the answer; it is in the journal by then."""


async def serve_proxy(connection: socket.socket, context: Context) -> None:
    """Serve one connection to the proxy: plain requests one after the other, or one tunnel."""
    end = ServerEnd(SocketWire(connection), BOUNDS)
    with contextlib.suppress(OSError):  # the program has gone, which is its right
        try:
            while (request := await end.request()) is not None:
                if request.method == b"CONNECT":
                    await _serve_tunnel(end, request, connection, context)
                    return
                await _serve_plain(end, request, context)
                if not end.next_cycle():
                    return
        except (BadMessage, Refused) as problem:
            await end.refuse(problem.status, problem.words)
            await linger(connection)


async def serve_web(connection: socket.socket, name: str, context: Context) -> None:
    """Serve one connection that was made to port 80 of a name, by a program that knows of no proxy."""
    end = ServerEnd(SocketWire(connection), BOUNDS)
    with contextlib.suppress(OSError):
        try:
            while (request := await end.request()) is not None:
                await _serve_plain(end, request, context, inside_name=name)
                if not end.next_cycle():
                    return
        except (BadMessage, Refused) as problem:
            await end.refuse(problem.status, problem.words)
            await linger(connection)


async def serve_tls(connection: socket.socket, name: str, context: Context) -> None:
    """Serve one connection that was made to port 443 of a name; a refusal can only be a closed connection."""
    wanted = NetRequest("CONNECT", name, _TLS_PORT)
    with contextlib.suppress(OSError, BadMessage, Refused):
        outside, _ = await _open(wanted, b"", context)
        with outside:
            await _run_tunnel(wanted, connection, outside, b"", context)


async def _serve_tunnel(
    end: ServerEnd, request: h11.Request, connection: socket.socket, context: Context
) -> None:
    wanted = read_tunnel(request)
    outside, _ = await _open(wanted, _flatten(request), context)
    with outside:
        await end.begin(200, [], b"Connection established")
        await _run_tunnel(wanted, connection, outside, end.unread, context)


async def _open(wanted: NetRequest, said: bytes, context: Context) -> tuple[socket.socket, Relay | None]:
    """Return a connection to where a request wants to go, once it may, and the proxy it goes through.

    Raises:
        Refused: it may not, or cannot; recorded by then.
    """
    way = wanted.action.detail
    if context.watch is not None and context.watch.inspect(said + wanted.host.encode(), way):
        raise _refuse(context, wanted, "deny", 403, "a canary credential would have left")
    try:
        context.traffic.check_room()
        ruling = await context.ask(wanted)
        if ruling.verdict != "allow":
            context.traffic.note(wanted, ruling.verdict, ruling.reason)
            if ruling.verdict == "ask":
                # The tree is being stopped for it. An answer now could let a program end well before that, without
                # what a person may be about to allow.
                await asyncio.sleep(_STOP_PATIENCE_S)
            raise Refused(403, ruling.reason)
        await context.traffic.take_turn(wanted.host)
        connect_s = context.traffic.limits.connect_s
        if context.upstream is not None and ruling.internal is None:
            return await dial_through(context.upstream, wanted, connect_s, context.look_up), context.upstream
        return await dial(wanted, ruling.internal, connect_s, context.look_up), None
    except TooMuch as problem:
        raise _refuse(context, wanted, "deny", 429, problem.words) from problem
    except CannotReach as problem:
        verdict, status = ("deny", 403) if problem.refused else ("failed", 502)
        raise _refuse(context, wanted, verdict, status, problem.words) from problem


def _refuse(context: Context, wanted: NetRequest, verdict: str, status: int, words: str) -> Refused:
    context.traffic.note(wanted, verdict, words)
    return Refused(status, words)


# -- tunnels


async def _run_tunnel(
    wanted: NetRequest, inside: socket.socket, outside: socket.socket, first: bytes, context: Context
) -> None:
    """Pass bytes on in both directions. To port 443 only TLS goes, and only to the name that was asked for."""
    traffic = context.traffic
    traffic.note(wanted, "allow")
    look = _Look(wanted, context)
    try:
        if wanted.port == _TLS_PORT:
            first = await _read_hello(inside, first)
        if first:
            look.out(memoryview(first))
            await asyncio.get_running_loop().sock_sendall(outside, first)
        await relay(inside, outside, look.out, look.back, traffic.limits.idle_s)
    except (hello.BadHello, TooMuch, Refused) as problem:
        traffic.note(wanted, "deny", str(problem))
    except TimeoutError:
        return  # nothing went for long; closing is all there is to say


async def _read_hello(inside: socket.socket, first: bytes) -> bytes:
    """Return the first message of a TLS connection; it is looked at in ``_Look``, here only waited for."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(BOUNDS.head_s):
            while hello.read_name(first) is None:
                more = await loop.sock_recv(inside, _CHUNK_BYTES)
                if not more:
                    raise hello.BadHello("the connection ended before its first message")
                first += more
    except TimeoutError as slow:
        raise hello.BadHello("no TLS connection was begun") from slow
    return first


class _Look:
    """Looks at what goes through one tunnel: its first bytes for the name, all of it for sums and canaries."""

    def __init__(self, wanted: NetRequest, context: Context) -> None:
        self._wanted = wanted
        self._traffic = context.traffic
        self._head: bytes | None = b""
        watch = context.watch
        self._leaves = watch.stream(wanted.action.detail) if watch is not None else None

    def out(self, piece: memoryview) -> None:
        """Look at what goes outside."""
        self._traffic.count(self._wanted, sent=len(piece))
        if self._head is not None:
            self._check_name(bytes(piece))
        # Also where it claims to be TLS: what looks like a first message may be followed by anything.
        if self._leaves is not None and self._leaves(bytes(piece)):
            raise Refused(403, "a canary credential would have left")

    def back(self, piece: memoryview) -> None:
        """Look at what comes back."""
        self._traffic.count(self._wanted, received=len(piece))

    def _check_name(self, piece: bytes) -> None:
        """Whoever speaks TLS names the host that was allowed: not one that shares its address (domain fronting)."""
        self._head = (self._head or b"") + piece
        if self._head[0] != hello.HANDSHAKE and self._wanted.port != _TLS_PORT:
            self._head = None  # another protocol, on a port that was allowed by its number
            return
        name = hello.read_name(self._head)
        if name is None:
            return
        self._head = None
        if name != self._wanted.host and not (name == "" and self._wanted.port != _TLS_PORT):
            raise hello.BadHello(
                f"the tunnel is to {self._wanted.host}, and TLS in it asks for {name or 'no name'!r}"
            )


# -- plain requests


async def _serve_plain(
    end: ServerEnd, request: h11.Request, context: Context, *, inside_name: str = ""
) -> None:
    wanted, target = read_plain(request, inside_name=inside_name)
    outside, upstream = await _open(wanted, _flatten(request), context)
    more: list[tuple[bytes, bytes]] = []
    if upstream is not None:
        target, more = b"http://" + host_field(wanted) + target, upstream.fields
    server = ClientEnd(SocketWire(outside), BOUNDS)
    context.traffic.note(wanted, "allow")
    sending = asyncio.create_task(_send_request(end, server, request, wanted, (target, more), context))
    try:
        answer = await _first_answer(server, sending)
        await end.begin(answer.status_code, passed_on(answer.headers.raw_items()), bytes(answer.reason))
        async for piece in server.body():
            context.traffic.count(wanted, received=len(piece))
            await end.write(piece)
        await end.end()
    except TooMuch as problem:
        raise _refuse(context, wanted, "deny", 429, problem.words) from problem
    except (h11.LocalProtocolError, h11.RemoteProtocolError) as problem:
        raise _refuse(context, wanted, "failed", 502, str(problem)) from problem
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        server.close()


async def _first_answer(server: ClientEnd, sending: asyncio.Task[None]) -> h11.Response:
    """Return the head of the answer; what goes wrong while the request is sent is told first."""
    answering = asyncio.create_task(server.answer(_ANSWER_S))
    try:
        await asyncio.wait([answering, sending], return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and not answering.done():
            _raise_problem(sending)
        return await answering
    except BadMessage as problem:
        # Not 400: what was wrong came from the server.
        raise BadMessage(problem.words, 504 if problem.status == 504 else 502) from problem
    except OSError as problem:
        raise BadMessage(f"the server broke off: {problem.strerror}", 502) from problem
    finally:
        answering.cancel()


def _raise_problem(sending: asyncio.Task[None]) -> None:
    problem = sending.exception()
    # A server may answer and close before it has read all: its answer counts.
    if problem is not None and not isinstance(problem, OSError):
        raise problem


async def _send_request(
    end: ServerEnd,
    server: ClientEnd,
    request: h11.Request,
    wanted: NetRequest,
    asked: tuple[bytes, list[tuple[bytes, bytes]]],
    context: Context,
) -> None:
    """Send a request on.

    Args:
        asked: the target, and what else stands in its head.
    """
    target, more = asked
    kept = [pair for pair in passed_on(request.headers.raw_items()) if pair[0].lower() not in _OURS]
    headers = [(b"Host", host_field(wanted)), *kept, *more, (b"Connection", b"close")]
    if find(request.headers, b"transfer-encoding"):
        headers.append((b"Transfer-Encoding", b"chunked"))
    await server.ask(request.method, target, headers)
    await end.go_on()
    async for piece in _watched_body(end, wanted, context):
        await server.write(piece)
    await server.end()


async def _watched_body(end: ServerEnd, wanted: NetRequest, context: Context) -> AsyncIterator[bytes]:
    leaves: Callable[[bytes], bool] | None = None
    async for piece in end.body():
        if context.watch is not None:
            leaves = leaves or context.watch.stream(wanted.action.detail)
            if leaves(piece):
                raise Refused(403, "a canary credential would have left")
        context.traffic.count(wanted, sent=len(piece))
        yield piece


def _flatten(request: h11.Request) -> bytes:
    """Return all of a head that a program chose, to be looked at as a whole."""
    fields = b"\n".join(name + b": " + value for name, value in request.headers)
    return request.target + b"\n" + fields + b"\n"
