"""HTTP/1.1 on a wire: both ends of one exchange, framed by h11, with a bound on everything.

What comes from inside a sandbox is hostile. A head must be complete within a time and a size, and is looked at as
bytes before it is parsed: whatever two readers could understand in two ways (a bare line feed, a folded line, a
length beside a transfer coding, two hosts) is refused, never repaired. What goes on to a server is written anew from
what was understood, not passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import h11

Headers = Iterable[tuple[bytes, bytes]]

_CHUNK_BYTES: Final = 1 << 16
_LINGER_S: Final = 1.0
_LINGER_PIECES: Final = 64
_END_OF_HEAD: Final = b"\r\n\r\n"
# A line feed without its carriage return, a carriage return without its line feed, a NUL, a folded line.
_AMBIGUOUS: Final = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0|\r\n[ \t]")
#: What belongs to one connection and is never passed on (RFC 9110 7.6.1, and what proxies are told).
HOP_BY_HOP: Final = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one end of a connection may cost.

    Attributes:
        head_bytes, head_fields: of a request or an answer, without its body.
        head_s: from its first byte to its end; also how long a connection may be silent before a first request.
        idle_s: between two pieces of a body, and between two requests.
    """

    head_bytes: int = 64 << 10
    head_fields: int = 128
    head_s: float = 10.0
    idle_s: float = 120.0


class BadMessage(Exception):
    """What came cannot be understood in exactly one way, or is too much; ``status`` is what to answer."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.words, self.status = words, status


class Wire(Protocol):
    """A connection as bytes."""

    async def read(self) -> bytes:
        """Return what is there, at least one byte; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            OSError: the other side is gone.
        """

    def close(self) -> None:
        """Close it now."""


class SocketWire:
    """A plain non-blocking socket; tries the call first and waits only when it must."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """See Wire."""
        # With something there at every call the loop would never get its turn, and nor would any other connection.
        await asyncio.sleep(0)
        return await self._loop.sock_recv(self.socket, _CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        """See Wire."""
        await self._loop.sock_sendall(self.socket, data)

    def close(self) -> None:
        """See Wire."""
        self.socket.close()


async def linger(connection: socket.socket) -> None:
    """Read what is still coming, for a moment: closing before would reset the connection, and a refusal would be lost.

    Raises:
        OSError: the other side has gone.
    """
    connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            loop = asyncio.get_running_loop()
            for _ in range(_LINGER_PIECES):
                if not await loop.sock_recv(connection, _CHUNK_BYTES):
                    return


class StreamWire:
    """A pair of asyncio streams, as ``asyncio.open_connection(..., ssl=...)`` gives them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """See Wire."""
        return await self._reader.read(_CHUNK_BYTES)

    async def write(self, data: bytes) -> None:
        """See Wire."""
        self._writer.write(data)
        await self._writer.drain()

    def close(self) -> None:
        """See Wire."""
        self._writer.close()


class _End:
    """What both ends share: one h11 connection at a time over one wire."""

    def __init__(self, wire: Wire, bounds: Bounds, *, server: bool) -> None:
        self.wire, self.bounds = wire, bounds
        self._server = server
        self._left = b""
        self._h11 = self._new_cycle()

    def _new_cycle(self) -> h11.Connection:
        return h11.Connection(
            h11.SERVER if self._server else h11.CLIENT, max_incomplete_event_size=self.bounds.head_bytes
        )

    async def _read_head(self, patience_s: float) -> bytes:
        """Return a whole head and what came with it; empty when the other side closes before its first byte."""
        head = bytearray(self._left)
        self._left = b""
        try:
            if not head:
                async with asyncio.timeout(patience_s):
                    head += await self.wire.read()
            if head:
                async with asyncio.timeout(self.bounds.head_s):
                    await self._complete_head(head)
        except TimeoutError as slow:
            raise BadMessage("too slow", 408) from slow
        return bytes(head)

    async def _complete_head(self, head: bytearray) -> None:
        looked_at = 0
        while (end := head.find(_END_OF_HEAD, looked_at)) < 0:
            if len(head) > self.bounds.head_bytes:
                raise BadMessage("its head is too long", 431)
            looked_at = max(0, len(head) - len(_END_OF_HEAD) + 1)
            more = await self.wire.read()
            if not more:
                raise BadMessage("the connection ended within a head")
            head += more
        if end > self.bounds.head_bytes:
            raise BadMessage("its head is too long", 431)
        # Looked at once, when it is whole: piece by piece would cost the square of its length.
        if _AMBIGUOUS.search(head, 0, end):
            raise BadMessage("a line of its head has no proper end")
        if head.count(b"\r\n", 0, end) > self.bounds.head_fields:
            raise BadMessage("its head has too many fields", 431)

    def _next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as problem:
            raise BadMessage(str(problem), problem.error_status_hint) from problem

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body of what was received, in pieces, until its end.

        Raises:
            BadMessage: it is not framed properly, ended early, or nothing came for ``idle_s``.
        """
        while True:
            event = self._next_event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            elif event is h11.NEED_DATA:
                await self._feed()
            else:
                raise BadMessage("the connection ended within a body")

    async def _feed(self) -> None:
        try:
            async with asyncio.timeout(self.bounds.idle_s):
                data = await self.wire.read()
        except TimeoutError as slow:
            raise BadMessage("too slow", 408) from slow
        self._give(data)

    def _give(self, data: bytes) -> None:
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError as problem:
            raise BadMessage(str(problem), problem.error_status_hint) from problem

    async def send(self, event: h11.Event) -> None:
        """Frame and write one event."""
        data = self._h11.send(event)
        if data:
            await self.wire.write(data)

    async def write(self, data: bytes) -> None:
        """Write a piece of a body."""
        if data:
            await self.send(h11.Data(data=data))

    async def end(self) -> None:
        """Write the end of a body."""
        await self.send(h11.EndOfMessage())

    @property
    def unread(self) -> bytes:
        """What came after the message that was read; for a tunnel it is its first bytes."""
        return self._left or self._h11.trailing_data[0]

    def close(self) -> None:
        """Close the wire."""
        with contextlib.suppress(OSError):
            self.wire.close()


class ServerEnd(_End):
    """Our end of a connection that somebody made to us: ``request``, ``body``, ``begin``, ``write``, ``end``, again."""

    def __init__(self, wire: Wire, bounds: Bounds | None = None) -> None:
        super().__init__(wire, bounds or Bounds(), server=True)
        self._first = True

    async def request(self) -> h11.Request | None:
        """Return the head of the next request; None when the other side has closed.

        Raises:
            BadMessage: answer its status and close.
        """
        patience_s = self.bounds.head_s if self._first else self.bounds.idle_s
        self._first = False
        data = await self._read_head(patience_s)
        if not data:
            return None
        self._give(data)
        event = self._next_event()
        if not isinstance(event, h11.Request):
            raise BadMessage("not a request")
        check_framing(event)
        return event

    def is_left(self) -> bool:
        """Tell whether the other side has closed while it waits for an answer; what it has sent stays unread."""
        connection = getattr(self.wire, "socket", None)
        if connection is None:
            return False
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def go_on(self) -> None:
        """Tell a client that waits for it that its body is welcome."""
        if self._h11.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))

    async def begin(self, status: int, headers: Headers, reason: bytes = b"") -> None:
        """Write the head of an answer."""
        await self.send(h11.Response(status_code=status, headers=list(headers), reason=reason))

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Write a whole answer; ``Content-Length`` is added."""
        length = (b"content-length", b"%d" % len(body))
        await self.begin(status, [*headers, length])
        await self.write(body)
        await self.end()

    async def refuse(self, status: int, words: str) -> None:
        """Answer in plain text and say that the connection ends; a client that has gone is not minded."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            if self._h11.our_state is not h11.ERROR:
                return  # the answer has begun; only closing tells now
            self._h11 = self._new_cycle()
        with contextlib.suppress(OSError, h11.LocalProtocolError):
            await self.respond(status, headers, f"nightcrew: {words}\n".encode())

    def next_cycle(self) -> bool:
        """Get ready for another request on the same connection; False when it has to end."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._left = self._h11.trailing_data[0]
        self._h11 = self._new_cycle()
        return True


class ClientEnd(_End):
    """Our end of a connection we made: ``ask``, ``write``, ``end``, ``answer``, ``body``; for one exchange."""

    def __init__(self, wire: Wire, bounds: Bounds | None = None) -> None:
        super().__init__(wire, bounds or Bounds(), server=False)

    async def ask(self, method: bytes, target: bytes, headers: Headers) -> None:
        """Write the head of a request."""
        await self.send(h11.Request(method=method, target=target, headers=list(headers)))

    async def answer(self, patience_s: float) -> h11.Response:
        """Return the head of the answer; interim ones are left out.

        Raises:
            BadMessage: there is none, or not within ``patience_s``.
        """
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    event = self._next_event()
                    if isinstance(event, h11.Response):
                        self._check_size(event)
                        return event
                    if event is h11.NEED_DATA:
                        self._give(await self.wire.read())
                    elif not isinstance(event, h11.InformationalResponse):
                        raise BadMessage("the server closed without an answer", 502)
        except TimeoutError as slow:
            raise BadMessage("the server does not answer", 504) from slow

    def _check_size(self, answer: h11.Response) -> None:
        # h11 bounds only what is incomplete.
        if _size(answer.headers) > self.bounds.head_bytes or len(answer.headers) > self.bounds.head_fields:
            raise BadMessage("the head of the answer is too long", 502)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def check_framing(request: h11.Request) -> None:
    """Refuse what two readers could frame differently.

    Raises:
        BadMessage: a length beside a transfer coding, a transfer coding in HTTP/1.0, two hosts, two lengths,
            another version.
    """
    if request.http_version not in (b"1.0", b"1.1"):
        raise BadMessage("only HTTP/1.1 is spoken here", 505)
    names = [name for name, _ in request.headers]
    for name in (b"host", b"content-length", b"transfer-encoding"):
        if names.count(name) > 1:
            raise BadMessage(f"it has two {name.decode()} fields")
    if b"transfer-encoding" in names and (b"content-length" in names or request.http_version != b"1.1"):
        raise BadMessage("it has a length and a transfer coding")
    for name, value in request.headers:
        # h11 takes "5, 5" for 5.
        if name == b"content-length" and not value.isdigit():
            raise BadMessage("its length is no number")


def find(headers: Headers, name: bytes) -> bytes:
    """Return the first value of a field, ``name`` in small letters; empty when it is absent."""
    return next((value for key, value in headers if key.lower() == name), b"")


def passed_on(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields that go on to the other side: all but those about this connection."""
    fields = list(headers)
    named = {
        word.strip().lower()
        for key, value in fields
        if key.lower() == b"connection"
        for word in value.split(b",")
    }
    return [pair for pair in fields if pair[0].lower() not in HOP_BY_HOP and pair[0].lower() not in named]
