"""Bytes from one socket to another and back, until both ends are done, nothing goes any more, or somebody says stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

#: Called with every piece before it is passed on; raising ends the relay.
Look = Callable[[memoryview], None]

_CHUNK_BYTES: Final = 256 << 10
#: One buffer for all: a piece is passed on before the next one is read, and what does not fit is copied.
_BUFFER: Final = bytearray(_CHUNK_BYTES)


class Pump:
    """One direction. Its source stays registered with the loop while there is nothing left over to write."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        look: Look,
        done: Callable[[BaseException | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source, self._sink = source, sink
        # By number: asked about a socket that it does not know, the loop describes it in words, which costs more.
        self._from, self._to = source.fileno(), sink.fileno()
        self._look, self._done = look, done
        self._rest = b""
        self.active_at = self._loop.time()
        self.over = False
        self._loop.add_reader(self._from, self._read)

    def _read(self) -> None:
        try:
            count = self._source.recv_into(_BUFFER)
            if not count:
                self._finish(None)
                return
            piece = memoryview(_BUFFER)[:count]
            self._look(piece)
            self.active_at = self._loop.time()
            written = self._send(piece)
            if written < count:
                self._rest = bytes(piece[written:])
                self._loop.remove_reader(self._from)
                self._loop.add_writer(self._to, self._write)
        except BlockingIOError:
            return
        except Exception as problem:  # noqa: BLE001 - handed to whoever waits for the relay
            self._finish(problem)

    def _send(self, piece: memoryview | bytes) -> int:
        try:
            return self._sink.send(piece)
        except BlockingIOError:
            return 0

    def _write(self) -> None:
        try:
            self._rest = self._rest[self._send(self._rest) :]
        except OSError as problem:
            self._finish(problem)
            return
        self.active_at = self._loop.time()
        if not self._rest:
            self._loop.remove_writer(self._to)
            self._loop.add_reader(self._from, self._read)

    def _finish(self, problem: BaseException | None) -> None:
        self.stop()
        if problem is None:
            try:
                self._sink.shutdown(socket.SHUT_WR)
            except OSError:
                problem = None  # it is closed already: there is nobody to tell
        self._done(problem)

    def stop(self) -> None:
        """Let go of both sockets; may be called twice."""
        if not self.over:
            self.over = True
            self._loop.remove_reader(self._from)
            self._loop.remove_writer(self._to)


async def relay(inside: socket.socket, outside: socket.socket, out: Look, back: Look, idle_s: float) -> None:
    """Relay both directions between two non-blocking sockets until both have ended.

    Args:
        inside, outside: stay open; who called closes them.
        out, back: see ``Look``, for what goes outside and what comes back.
        idle_s: without a byte in any direction.

    Raises:
        TimeoutError: nothing went for ``idle_s``.
        Exception: whatever a look raised, or a socket.
    """
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    pumps: list[Pump] = []

    def done(problem: BaseException | None) -> None:
        if over.done():
            return
        if problem is not None:
            over.set_exception(problem)
        elif all(pump.over for pump in pumps):
            over.set_result(None)

    pumps += [Pump(inside, outside, out, done), Pump(outside, inside, back, done)]
    try:
        while not over.done():
            quiet_s = loop.time() - max(pump.active_at for pump in pumps)
            if quiet_s >= idle_s:
                raise TimeoutError(f"nothing went for {idle_s:g} s")
            await asyncio.wait([over], timeout=idle_s - quiet_s)
        over.result()
    finally:
        for pump in pumps:
            pump.stop()
        over.cancel()
