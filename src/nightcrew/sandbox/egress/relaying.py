"""Going out through a proxy of the user's own network, where this machine reaches the internet in no other way.

It is asked by the name of the host: what it resolves that name to is its own affair. So whatever this machine can look up
itself is looked at before, as without such a proxy, and what leads inside is refused; what only the proxy can look up is
left to it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from dataclasses import dataclass, field
from typing import Final

from nightcrew.model.network import NetRequest
from nightcrew.policy.hosts import as_address
from nightcrew.sandbox.egress.dialing import CannotReach, Resolve, connect_to, find_outward

_HEAD_AT_MOST: Final = 16 << 10
_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r\n")


@dataclass(frozen=True, slots=True)
class Relay:
    """A proxy to go through.

    Attributes:
        host, port: where it is.
        login: ``user:password`` that it wants, empty for none; shown nowhere.
    """

    host: str
    port: int
    login: str = field(default="", repr=False)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """What stands in the head of each request to it."""
        if not self.login:
            return []
        word = base64.b64encode(self.login.encode("utf-8", "surrogateescape"))
        return [(b"Proxy-Authorization", b"Basic " + word)]


async def dial_through(
    relay: Relay, request: NetRequest, patience_s: float, look_up: Resolve
) -> socket.socket:
    """Return a connected, non-blocking socket: a tunnel to the host, or, for a plain request, to the proxy itself.

    Raises:
        CannotReach: the host leads inside, the proxy does not answer, or it refuses.
    """
    try:
        async with asyncio.timeout(patience_s):
            await _look_first(request, look_up)
            if request.method == "CONNECT":
                return await open_tunnel(relay, request.target, look_up)
            return await _reach(relay, look_up)
    except TimeoutError as slow:
        raise CannotReach(
            f"the proxy {relay.host}:{relay.port} did not open a way within {patience_s:g} s"
        ) from slow


async def open_tunnel(relay: Relay, target: str, look_up: Resolve) -> socket.socket:
    """Return a socket behind which is ``host:port``.

    Raises:
        CannotReach: the proxy does not answer, or it refuses.
    """
    made = await _reach(relay, look_up)
    try:
        fields = [(b"Host", target.encode()), *relay.fields]
        head = b"".join(b"%b: %b\r\n" % pair for pair in fields)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(made, b"CONNECT %b HTTP/1.1\r\n%b\r\n" % (target.encode(), head))
        _check(await _read_head(made), relay, target)
    except OSError as problem:
        made.close()
        raise CannotReach(f"the proxy {relay.host}:{relay.port} broke off: {problem.strerror}") from problem
    except BaseException:
        made.close()
        raise
    return made


async def _look_first(request: NetRequest, look_up: Resolve) -> None:
    """Refuse what leads inside, as far as this machine can tell."""
    try:
        await find_outward(request, look_up)
    except CannotReach as problem:
        if problem.refused or as_address(request.host) is not None:
            raise
        # Behind such a proxy the names of the world are often not known at all.


async def _reach(relay: Relay, look_up: Resolve) -> socket.socket:
    literal = as_address(relay.host)
    problem: CannotReach | None = None
    for address in [literal] if literal is not None else await look_up(relay.host, relay.port):
        try:
            return await connect_to(address, relay.port)
        except CannotReach as failed:
            problem = problem or failed
    said = problem.words if problem else f"{relay.host} has no address"
    raise CannotReach(f"the proxy of this machine cannot be reached: {said}")


async def _read_head(made: socket.socket) -> bytes:
    """Return the head of the answer, and not one byte of what comes behind it."""
    loop = asyncio.get_running_loop()
    head = bytearray()
    while not head.endswith(_END):
        more = await loop.sock_recv(made, 1)
        if not more or len(head) > _HEAD_AT_MOST:
            return bytes(head)
        head += more
    return bytes(head)


def _check(head: bytes, relay: Relay, target: str) -> None:
    found = _STATUS.match(head)
    if found is not None and head.endswith(_END) and found[1].startswith(b"2"):
        return
    said = "what is no answer of a proxy"
    if found is not None:
        said = f"{found[1].decode()} {(found[2] or b'').decode('ascii', 'replace')[:80]}".strip()
    raise CannotReach(f"the proxy {relay.host}:{relay.port} answers for {target}: {said}")
