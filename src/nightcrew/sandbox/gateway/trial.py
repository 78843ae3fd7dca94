"""Trying a key: the one question to a provider that is free, asked outside of any sandbox."""

from __future__ import annotations

import asyncio
from typing import Final

from nightcrew.model.usage import Fault, Wire
from nightcrew.sandbox.gateway.faults import classify
from nightcrew.sandbox.gateway.server import send
from nightcrew.sandbox.gateway.upstream import (
    Unreached,
    Upstream,
    connect,
    make_context,
    read_address,
    read_bounded,
)
from nightcrew.sandbox.gateway.wires import sign

#: Whole trial.
TRIAL_S: Final = 40.0
_TARGETS: Final[dict[Wire, str]] = {
    "anthropic": "/v1/models",
    "openai": "/v1/models",
    "gemini": "/v1beta/models",
}
#: Version of the format, which its provider wants to be named; of the documentation.
_ANTHROPIC_VERSION: Final = (b"anthropic-version", b"2023-06-01")
_ENOUGH_BYTES: Final = 64 << 10


def try_key(upstream: Upstream) -> Fault | None:
    """Ask a provider which models it has; return what is wrong, None when it answers."""
    return asyncio.run(_try_key(upstream))


async def _try_key(upstream: Upstream) -> Fault | None:
    wire, address = upstream.provider.wire, read_address(upstream.provider.url)
    fields = [(b"host", address.authority.encode()), (b"accept-encoding", b"identity"), _ANTHROPIC_VERSION]
    target = (address.path + _TARGETS[wire]).encode("latin-1")
    try:
        async with asyncio.timeout(TRIAL_S), connect(address, make_context(), upstream.relay) as out:
            response = await send(out, b"GET", target, [*fields, *sign(wire, upstream.key)], b"")
            body = await read_bounded(out, _ENOUGH_BYTES)
    except (Unreached, TimeoutError) as problem:
        return Fault("network", said=str(problem) or "it does not answer")
    if response.status_code < 300:
        return None
    headers = {name.lower(): value for name, value in response.headers}
    return classify(response.status_code, headers, body, secret=upstream.key)
