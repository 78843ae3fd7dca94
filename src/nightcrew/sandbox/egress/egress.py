"""The network of one sandbox: its exits, what stands in its environment, and who answers at them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from nightcrew.model.isolation import Listen
from nightcrew.model.leaving import LeavingWatch
from nightcrew.model.network import NetLimits, NetRequest, Ruling, Tally
from nightcrew.sandbox.egress import names
from nightcrew.sandbox.egress.dialing import Resolve, resolve
from nightcrew.sandbox.egress.proxy import serve_proxy, serve_tls, serve_web
from nightcrew.sandbox.egress.relaying import Relay
from nightcrew.sandbox.egress.traffic import Traffic
from nightcrew.sandbox.loop import Loop

LOG: Final = logging.getLogger("nightcrew.engine")

Rule = Callable[[NetRequest], Ruling]

PROXY_PORT: Final = 3128
_PROXY: Final = "proxy"
_TLS: Final = "tls"
_WEB: Final = "web"
_NAMES: Final = "names"
EXITS: Final = (
    Listen("tcp", "127.0.0.1", PROXY_PORT, _PROXY),
    Listen("tcp", "0.0.0.0", 443, _TLS),  # noqa: S104 - of a sandbox's own loopback
    Listen("tcp", "0.0.0.0", 80, _WEB),  # noqa: S104
    Listen("udp", "127.0.0.1", 53, _NAMES),
)
_URL: Final = f"http://127.0.0.1:{PROXY_PORT}"
_DIRECT: Final = "localhost,127.0.0.1,::1"
#: In both cases of letters: programs differ in which of them they read.
ENVIRONMENT: Final[Mapping[str, str]] = {
    name: value
    for key, value in (
        ("http_proxy", _URL), ("https_proxy", _URL), ("all_proxy", _URL), ("no_proxy", _DIRECT),
    )
    for name in (key, key.upper())
} | {"NODE_USE_ENV_PROXY": "1"}  # fmt: skip

_TELL_FIRST_S: Final = 2.0
_TELL_EVERY_S: Final = 60.0
_BETWEEN_NAMES_S: Final = 0.001
_CLOSE_S: Final = 20.0


class Egress:
    """The way out of one sandbox.

    Args:
        loop: runs it.
        rule: decides on a request, in a thread; what it says is in the journal by then. Of what it allows it is asked
            once, so it bounds how many places there are.
        known: tells whether a name may be reached without a question; pure and quick.
        tell: takes what went, from time to time and at the end; in a thread.
        limits: see NetLimits.
        watch: looks at what leaves in clear.
        look_up: the resolver.
        upstream: the proxy that everything but hosts of the user's own network goes through; None to connect by ourselves.
    """

    exits = EXITS
    env = ENVIRONMENT

    def __init__(
        self,
        loop: Loop,
        rule: Rule,
        *,
        known: Callable[[str], bool],
        tell: Callable[[Sequence[Tally]], None],
        limits: NetLimits | None = None,
        watch: LeavingWatch | None = None,
        look_up: Resolve = resolve,
        upstream: Relay | None = None,
    ) -> None:
        self._loop = loop
        self._rule = rule
        self._known = known
        self._tell = tell
        self.limits = limits or NetLimits()
        self.traffic = Traffic(self.limits)
        self.watch = watch
        self.look_up = look_up
        self.upstream = upstream
        self._names = names.Names()
        self._allowed: dict[NetRequest, Ruling] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[asyncio.Future[Ruling]] = set()

    @contextmanager
    def serve(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        """Answer at the exits until the end of the block; what has been asked is answered by then, and all is told."""
        self._loop.run(self._begin(sockets))
        try:
            yield
        finally:
            self._loop.submit(self._end()).result(_CLOSE_S)
            self._tell_all()

    async def ask(self, request: NetRequest) -> Ruling:
        """Return the answer to a request; waits in a thread, and is waited for when the sandbox ends meanwhile.

        A yes holds as long as the sandbox: the next connection to the same place does not wait for a thread.
        """
        known = self._allowed.get(request)
        if known is not None:
            return known
        asked = asyncio.get_running_loop().run_in_executor(None, self._rule, request)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        ruling = await asyncio.shield(asked)
        if ruling.verdict == "allow":
            self._allowed[request] = ruling
        return ruling

    async def _begin(self, sockets: Mapping[str, socket.socket]) -> None:
        room = asyncio.Semaphore(self.limits.connections)
        for name in (_PROXY, _TLS, _WEB):
            self._start(self._accept(sockets[name], name, room))
        self._start(self._answer_names(sockets[_NAMES]))
        self._start(self._keep_telling())

    def _start(
        self, work: Coroutine[Any, Any, None], then: Callable[[asyncio.Task[None]], None] | None = None
    ) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        if then is not None:
            task.add_done_callback(then)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        problem = None if task.cancelled() else task.exception()
        if problem is not None:
            # The connection is closed, nothing was let through; whoever reads the log should know why.
            LOG.error("a connection of a sandbox failed", exc_info=problem)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        # Answers first: a question that is being journaled is part of the attempt that asks it.
        await asyncio.gather(*tasks, *self._asked, return_exceptions=True)

    async def _accept(self, listener: socket.socket, name: str, room: asyncio.Semaphore) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.1)  # out of descriptors, or gone before we took it
                continue
            try:
                # Beyond the limits one waits here, the others in the kernel's queue, which is bounded too.
                await room.acquire()
                await self._loop.room.acquire()
            except BaseException:
                connection.close()
                raise
            # Let go of not in the coroutine: one that is cancelled before its first step never gets there.
            self._start(self._serve(connection, name), partial(self._let_go, connection, room))

    def _let_go(self, connection: socket.socket, room: asyncio.Semaphore, _: asyncio.Task[None]) -> None:
        connection.close()
        room.release()
        self._loop.room.release()

    async def _serve(self, connection: socket.socket, name: str) -> None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if name == _PROXY:
            await serve_proxy(connection, self)
            return
        host = self._names.name_of(connection.getsockname()[0])
        if host:
            await (serve_tls if name == _TLS else serve_web)(connection, host, self)

    async def _answer_names(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # A flood of queries is answered slowly, and never keeps the loop from other sandboxes.
            await asyncio.sleep(_BETWEEN_NAMES_S)
            try:
                data, sender = await loop.sock_recvfrom(listener, names.LONGEST_QUERY + 1)
                reply = self._answer_name(data)
                if reply:
                    await loop.sock_sendto(listener, reply, sender)
            except OSError:
                await asyncio.sleep(0.01)  # an answer that nobody waits for any more

    def _answer_name(self, data: bytes) -> bytes:
        query = names.read_query(data)
        if isinstance(query, bytes):
            return query
        host = names.find_host(query)
        leaves = self.watch is not None and self.watch.inspect(query.name.encode(), "DNS")
        if leaves or not host or not self._known(host):
            if host and not leaves:
                self.traffic.note(NetRequest("NAME", host, 53), "deny", "a name that may not be reached")
            return names.answer(query, None)
        return names.answer(query, self._names.address_of(host))

    async def _keep_telling(self) -> None:
        pause_s = _TELL_FIRST_S
        while True:
            await asyncio.sleep(pause_s)
            # What goes on for long is told in ever longer sums.
            pause_s = min(2 * pause_s, _TELL_EVERY_S)
            tallies = self.traffic.take_tallies()
            if tallies:
                await asyncio.get_running_loop().run_in_executor(None, self._tell, tallies)

    def _tell_all(self) -> None:
        tallies = self.traffic.take_tallies()
        if tallies:
            self._tell(tallies)
