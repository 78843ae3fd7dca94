"""Serving gateways: all of a host process in one loop, each at the sockets of its attempt."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from nightcrew.model.isolation import Listen
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.http import SocketWire
from nightcrew.sandbox.loop import Loop

LOG: Final = logging.getLogger("nightcrew.engine")
#: Inside: one port per provider, because not every client takes a path in its base URL. The address is the one that
#: clients take for this machine: some want TLS for any other.
ADDRESS: Final = "127.0.0.1"
FIRST_PORT: Final = 8791
#: Connections of one attempt at once; more wait in the kernel's queue, and keep nobody else's waiting.
_MOST: Final = 32
#: With what the network takes that is half of the process's; see Loop.
_DESCRIPTORS_PER_CONNECTION: Final = 12
_STOP_S: Final = 20.0
_PREFIX: Final = "model-"


def list_exits(names: tuple[str, ...]) -> tuple[Listen, ...]:
    """Return where the providers of these names are reached inside."""
    return tuple(
        Listen("tcp", ADDRESS, FIRST_PORT + number, f"{_PREFIX}{name}") for number, name in enumerate(names)
    )


def name_provider(exit_: Listen) -> str:
    """Return the name of the provider that is reached there."""
    return exit_.name.removeprefix(_PREFIX)


class Services:
    """Runs gateways; one per host process. Its loop begins with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Loop | None = None

    @contextmanager
    def serving(self, gateway: Gateway, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        """Answer at listening, non-blocking sockets, by the names of providers, until the end of the block.

        What is under way at the end is broken off; what it took until then is recorded by then.
        """
        loop = self._find_loop()
        serving = loop.submit(_begin(gateway, sockets, loop.room)).result(_STOP_S)
        try:
            yield
        finally:
            loop.submit(_end(serving)).result(_STOP_S)

    def close(self) -> None:
        """End the loop; may be called twice."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _find_loop(self) -> Loop:
        with self._lock:
            if self._loop is None:
                self._loop = Loop(_DESCRIPTORS_PER_CONNECTION)
            return self._loop


async def _begin(
    gateway: Gateway, sockets: Mapping[str, socket.socket], room: asyncio.Semaphore
) -> asyncio.Task[None]:
    return asyncio.create_task(_accept_all(gateway, sockets, room))


async def _end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait([serving])


async def _accept_all(
    gateway: Gateway, sockets: Mapping[str, socket.socket], room: asyncio.Semaphore
) -> None:
    own = asyncio.Semaphore(_MOST)
    async with asyncio.TaskGroup() as group:
        for name, listening in sockets.items():
            group.create_task(_accept(group, partial(_talk, gateway, name, room), listening, own))


async def _accept(
    group: asyncio.TaskGroup,
    talk: Callable[[socket.socket], Coroutine[None, None, None]],
    listening: socket.socket,
    own: asyncio.Semaphore,
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await own.acquire()
        try:
            connected, _ = await loop.sock_accept(listening)
        except OSError:
            # Out of descriptors for a moment, or the other side was faster: the next one is not worse for it.
            own.release()
            await asyncio.sleep(0.05)
            continue
        connected.setblocking(False)
        # An answer comes in small pieces; without this each waits 40 ms for the one before to be acknowledged.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = group.create_task(talk(connected))
        # Not in the coroutine: one that is cancelled before its first step never gets there.
        task.add_done_callback(partial(_let_go, connected, own))


def _let_go(connected: socket.socket, own: asyncio.Semaphore, _: asyncio.Task[None]) -> None:
    connected.close()
    own.release()


async def _talk(gateway: Gateway, name: str, room: asyncio.Semaphore, connected: socket.socket) -> None:
    try:
        async with room:
            await gateway.talk(name, SocketWire(connected))
    except Exception:
        # A defect in one conversation must not end the others; without an answer the agent cannot go on either.
        LOG.exception("a conversation with %s broke off", name)
