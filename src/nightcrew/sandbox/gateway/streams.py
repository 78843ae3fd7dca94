"""Bodies on their way: packed ones unpacked within a bound, a secret taken out of what comes back. Pure."""

from __future__ import annotations

import zlib
from typing import Final

#: What may come out of a packed body.
MAX_UNPACKED_BYTES: Final = 64 << 20
#: A shorter secret stands in too many places by chance to be looked for.
_SHORTEST: Final = 8
_BITS: Final = {b"gzip": 31, b"x-gzip": 31, b"deflate": 47}


class Unreadable(ValueError):
    """A body that cannot be looked into, and so does not go on."""


class Unpacker:
    """Unpacks a body piece by piece.

    Args:
        coding: value of its ``content-encoding``.
        limit: bytes that may come out.

    Raises:
        Unreadable: nobody here knows the coding.
    """

    def __init__(self, coding: bytes, limit: int = MAX_UNPACKED_BYTES) -> None:
        name = coding.strip().lower()
        if name not in (b"", b"identity", *_BITS):
            raise Unreadable(
                f"the body is packed as {name.decode('latin-1')[:20]}, which cannot be looked into"
            )
        self._inflate = zlib.decompressobj(wbits=_BITS[name]) if name in _BITS else None
        self._left = limit

    def feed(self, data: bytes) -> bytes:
        """Return what ``data`` unpacks to.

        Raises:
            Unreadable: it is broken, or too long.
        """
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, self._left + 1)
            except zlib.error:
                raise Unreadable("the body is not packed as it says") from None
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("the body is too long")
        return data


class Scrubber:
    """Takes a secret out of a stream, also where it is cut in two; everything else goes by at once.

    Args:
        secret: what must not get through; one that is too short to be told from other text does.
        instead: what stands in its place.
    """

    def __init__(self, secret: str, instead: str) -> None:
        self._secret = secret.encode() if len(secret) >= _SHORTEST else b""
        self._instead = instead.encode()
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return what may go on by now."""
        if not self._secret:
            return data
        data = (self._held + data).replace(self._secret, self._instead)
        kept = next(
            (
                size
                for size in range(min(len(self._secret) - 1, len(data)), 0, -1)
                if self._ends_in(data, size)
            ),
            0,
        )
        self._held = data[len(data) - kept :] if kept else b""
        return data[: len(data) - kept] if kept else data

    def finish(self) -> bytes:
        """Return what was held back."""
        held, self._held = self._held, b""
        return held

    def _ends_in(self, data: bytes, size: int) -> bool:
        return data.endswith(self._secret[:size])
