"""Our end towards a provider: one connection per question, TLS with the host's own authorities, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from nightcrew.model.usage import Provider
from nightcrew.sandbox.egress.dialing import CannotReach, resolve
from nightcrew.sandbox.egress.relaying import Relay, open_tunnel
from nightcrew.sandbox.http import BadMessage, Bounds, ClientEnd, StreamWire

#: Until a connection stands, TLS included.
CONNECT_S: Final = 20.0
#: Until the first byte of an answer: a model may think for long before it says anything.
ANSWER_S: Final = 900.0
#: Between two pieces of an answer.
IDLE_S: Final = 300.0

_BOUNDS: Final = Bounds(head_bytes=64 << 10, head_fields=200, idle_s=IDLE_S)


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider with its real key, which is shown nowhere.

    Attributes:
        provider: as the user's settings say.
        key: the real one; empty for a provider that needs none.
        relay: the proxy to go through; None to connect directly.
    """

    provider: Provider
    key: str = field(default="", repr=False)
    relay: Relay | None = None


class Unreached(Exception):
    """There is no connection to a provider; says why in words, without any of its content."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a provider is.

    Attributes:
        host, port: to connect to. tls: always, but for an address of this machine.
        path: what its URL has before the paths of the wire format. authority: for the Host field.
    """

    host: str
    port: int
    tls: bool
    path: str
    authority: str


def read_address(url: str) -> Address:
    """Return the address in a provider's URL; checked when the settings were read.

    Raises:
        ValueError: it has no host, or a port that is none.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Address(parts.hostname, port, tls, parts.path.rstrip("/"), parts.netloc)


def make_context() -> ssl.SSLContext:
    """Return what TLS connections are checked by: the authorities of this machine, names, TLS 1.2 or later."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@asynccontextmanager
async def connect(
    address: Address, context: ssl.SSLContext, relay: Relay | None = None
) -> AsyncIterator[ClientEnd]:
    """Give a connection for one question, closed at the end of the block.

    Args:
        relay: the proxy to go through, unless the provider is on this machine.

    Raises:
        Unreached: there is none; nothing was asked.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await _open(address, context if address.tls else None, relay)
    except CannotReach as problem:
        raise Unreached(problem.words) from None
    except TimeoutError:
        raise Unreached("it does not answer") from None
    except ssl.SSLCertVerificationError as problem:
        raise Unreached(f"its certificate is not good: {problem.verify_message}") from None
    except OSError as problem:
        raise Unreached(problem.strerror or str(problem)) from None
    end = ClientEnd(StreamWire(reader, writer), _BOUNDS)
    try:
        yield end
    finally:
        end.close()
        with contextlib.suppress(OSError, TimeoutError):
            # It is closed whatever they say; waiting keeps a warning about an open socket away.
            async with asyncio.timeout(1.0):
                await writer.wait_closed()


async def _open(
    address: Address, context: ssl.SSLContext | None, relay: Relay | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if relay is None or context is None:
        return await asyncio.open_connection(
            address.host, address.port, ssl=context, happy_eyeballs_delay=0.25
        )
    host = f"[{address.host}]" if ":" in address.host else address.host
    tunnel = await open_tunnel(relay, f"{host}:{address.port}", resolve)
    try:
        return await asyncio.open_connection(sock=tunnel, ssl=context, server_hostname=address.host)
    except BaseException:
        tunnel.close()
        raise


async def read_bounded(end: ClientEnd, limit: int) -> bytes:
    """Return the body of an answer, at most about ``limit`` bytes of it; what is beyond is not waited for."""
    data = bytearray()
    with contextlib.suppress(BadMessage, OSError):
        # A broken error page is as good as a whole one.
        async for piece in end.body():
            data += piece
            if len(data) > limit:
                break
    return bytes(data)
