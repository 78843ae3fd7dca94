"""Connecting outside: a name is resolved once, its addresses are looked at, and one of those is connected to.

Resolving a second time would let a name answer well when it is looked at and badly when it is used (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from nightcrew.model.network import Internal, NetRequest
from nightcrew.policy.hosts import Address, as_address, is_inward, is_metadata

#: A name and a port → its addresses, in order of preference.
Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]

_MOST_ADDRESSES: Final = 6
_ANY_PORT: Final = 9


class CannotReach(Exception):
    """A host cannot be reached, in words; ``refused`` when it is we who do not let it be."""

    def __init__(self, words: str, *, refused: bool = False) -> None:
        super().__init__(words)
        self.words, self.refused = words, refused


async def resolve(name: str, port: int) -> Sequence[Address]:
    """Return the addresses of a name, as this machine's own resolver gives them.

    Raises:
        CannotReach: it has none.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError as problem:
        raise CannotReach(f"{name} has no address: {problem.strerror}") from problem
    return tuple(dict.fromkeys(ip_address(str(place[0]).partition("%")[0]) for *_, place in found))


async def dial(
    request: NetRequest, internal: Internal | None, patience_s: float, look_up: Resolve
) -> socket.socket:
    """Return a connected, non-blocking socket.

    Args:
        request: what was allowed.
        internal: where it is, when the policy names it as a host of the user's own network.
        patience_s: for all of it.
        look_up: the resolver.

    Raises:
        CannotReach: it has no address that a sandbox may reach, or nobody answers there.
    """
    try:
        async with asyncio.timeout(patience_s):
            if internal is not None:
                if is_metadata(internal.address):
                    raise CannotReach(f"{request.host} is a metadata service", refused=True)
                return await connect_to(ip_address(internal.address), internal.address_port)
            return await _connect_one(await find_outward(request, look_up), request)
    except TimeoutError as slow:
        raise CannotReach(f"{request.target} did not answer within {patience_s:g} s") from slow


async def find_outward(request: NetRequest, look_up: Resolve) -> Sequence[Address]:
    """Return the addresses of a host outside of this machine and its networks.

    Raises:
        CannotReach: it has none; ``refused`` when it has one inside.
    """
    literal = as_address(request.host)
    found = [literal] if literal is not None else await look_up(request.host, request.port)
    for address in found:
        # One address inside is enough: a name that has both is one that somebody has prepared.
        if is_inward(address) or _is_own(address):
            raise CannotReach(
                f"{request.host} is {address}: an address of this machine, of a private network or of a metadata"
                " service, which no sandbox may reach",
                refused=True,
            )
    if not found:
        raise CannotReach(f"{request.host} has no address")
    return found[:_MOST_ADDRESSES]


def _is_own(address: Address) -> bool:
    """Tell whether an address is one of this machine's own: the kernel would send from it to it."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as trying:
        try:
            trying.connect((str(address), _ANY_PORT))  # sends nothing
        except OSError:
            return False  # no way there at all; connecting will say so
        return ip_address(str(trying.getsockname()[0])) == address


async def _connect_one(addresses: Sequence[Address], request: NetRequest) -> socket.socket:
    problem: CannotReach | None = None
    for address in addresses:
        try:
            return await connect_to(address, request.port)
        except CannotReach as failed:
            problem = problem or failed
    raise problem or CannotReach(f"{request.host} has no address")


async def connect_to(address: Address, port: int) -> socket.socket:
    """Return a connected, non-blocking socket.

    Raises:
        CannotReach: nobody answers there.
    """
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(made, (str(address), port))
        with contextlib.suppress(OSError):
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as problem:
        made.close()
        reason = os.strerror(problem.errno or errno.EIO)
        raise CannotReach(f"{address} port {port}: {reason}") from problem
    except BaseException:
        made.close()
        raise
    return made
