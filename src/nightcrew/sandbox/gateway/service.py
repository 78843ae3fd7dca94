"""Serving gateways: all of a host process in one thread of its own, each at the sockets of its attempt."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from nightcrew.model.isolation import Listen
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.http import SocketWire

LOG: Final = logging.getLogger("nightcrew.engine")
#: Inside: one port per provider, because not every client takes a path in its base URL. The address is the one that
#: clients take for this machine: some want TLS for any other.
ADDRESS: Final = "127.0.0.1"
FIRST_PORT: Final = 8791
#: Connections of one attempt at once; more wait in the kernel's queue.
_MOST: Final = 64
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
    """Runs gateways; one per host process. Its thread begins with the first of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def serving(self, gateway: Gateway, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        """Answer at listening, non-blocking sockets, by the names of providers, until the end of the block.

        What is under way at the end is broken off; what it took until then is recorded by then.
        """
        loop = self._find_loop()
        serving = asyncio.run_coroutine_threadsafe(_begin(gateway, sockets), loop).result(_STOP_S)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(_end(serving), loop).result(_STOP_S)

    def close(self) -> None:
        """End the thread; may be called twice."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_S)

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="nightcrew-gateway", daemon=True
                )
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _begin(gateway: Gateway, sockets: Mapping[str, socket.socket]) -> asyncio.Task[None]:
    return asyncio.create_task(_accept_all(gateway, sockets))


async def _end(serving: asyncio.Task[None]) -> None:
    serving.cancel()
    await asyncio.wait([serving])


async def _accept_all(gateway: Gateway, sockets: Mapping[str, socket.socket]) -> None:
    room = asyncio.Semaphore(_MOST)
    async with asyncio.TaskGroup() as group:
        for name, listening in sockets.items():
            group.create_task(_accept(group, gateway, name, listening, room))


async def _accept(
    group: asyncio.TaskGroup,
    gateway: Gateway,
    name: str,
    listening: socket.socket,
    room: asyncio.Semaphore,
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await room.acquire()
        try:
            connected, _ = await loop.sock_accept(listening)
        except OSError:
            # Out of descriptors for a moment, or the other side was faster: the next one is not worse for it.
            room.release()
            await asyncio.sleep(0.05)
            continue
        except BaseException:
            room.release()
            raise
        connected.setblocking(False)
        task = group.create_task(_talk(gateway, name, connected))
        task.add_done_callback(lambda _: room.release())


async def _talk(gateway: Gateway, name: str, connected: socket.socket) -> None:
    try:
        await gateway.talk(name, SocketWire(connected))
    except Exception:
        # A defect in one conversation must not end the others; without an answer the agent cannot go on either.
        LOG.exception("a conversation with %s broke off", name)
    finally:
        connected.close()
