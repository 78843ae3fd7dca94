"""What leaves in pieces: a stream searched for canaries as it goes by, also where it is compressed or a git pack. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from nightcrew.policy.canary import Canary, find, overlap

MAX_UNPACKED_BYTES: Final = 32 << 20
"""Unpacked of one stream in all; what is beyond is only searched as it is."""

_ZLIB_HEADS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_GZIP_HEAD: Final = b"\x1f\x8b"
_PACK_HEAD: Final = b"PACK\x00\x00\x00"
_PACK_HEAD_SIZE: Final = 12
_OFFSET_DELTA: Final = 6
_REFERENCE_DELTA: Final = 7
_LONGEST_ENTRY_HEAD: Final = 64


class Unpacker(Protocol):
    """Turns packed bytes into what they say, piece by piece."""

    def feed(self, data: bytes, room: int) -> bytes:
        """Return what is known by now and was not given before, at most about ``room`` bytes."""


class Stream:
    """One direction of one connection, or one body.

    Args:
        canaries: what to look for.
    """

    def __init__(self, canaries: Sequence[Canary]) -> None:
        self._canaries = tuple(canaries)
        self._kept = overlap(canaries)
        self._tail = b""
        self._head = b""
        self._unpacked_tail = b""
        self._unpacker: Unpacker | None = None
        self._room = MAX_UNPACKED_BYTES

    def feed(self, data: bytes) -> str | None:
        """Return the name of a canary that has gone by once ``data`` has; None when there is none."""
        if not self._canaries or not data:
            return None
        seen = self._tail + data
        self._tail = seen[-self._kept :]
        return find(seen, self._canaries) or self._look_inside(seen, data)

    def _look_inside(self, seen: bytes, data: bytes) -> str | None:
        if self._unpacker is None:
            self._head, before = (self._head + data)[:2], len(self._head)
            self._unpacker, packed = _choose(self._head if before < 2 else b"", seen, data)
            if self._unpacker is None:
                return None
            data = packed
        said = self._unpacker.feed(data, self._room) if self._room > 0 else b""
        self._room -= len(said)
        whole = self._unpacked_tail + said
        self._unpacked_tail = whole[-self._kept :]
        return find(whole, self._canaries) if said else None


def find_in(data: bytes, canaries: Sequence[Canary]) -> str | None:
    """Return the name of a canary in one whole content, also where that is compressed or a git pack."""
    return Stream(canaries).feed(data)


def _choose(head: bytes, seen: bytes, data: bytes) -> tuple[Unpacker | None, bytes]:
    """Return what unpacks a stream, and its packed bytes that are there by now."""
    if head == _GZIP_HEAD or head in _ZLIB_HEADS:
        return _Squeezed(), seen if len(seen) > len(data) else data
    place = seen.find(_PACK_HEAD)
    return (_Pack(), seen[place:]) if place >= 0 else (None, b"")


class _Squeezed:
    """gzip or zlib; members behind each other too."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=47)
        self._broken = False

    def feed(self, data: bytes, room: int) -> bytes:
        said = b""
        while data and len(said) < room and not self._broken:
            try:
                said += self._inflate.decompress(data, room - len(said))
            except zlib.error:
                # It only began like one, or is cut: as far as it could be read it was searched.
                self._broken = True
                break
            data = self._inflate.unused_data if self._inflate.eof else b""
            if self._inflate.eof:
                self._inflate = zlib.decompressobj(wbits=47)
        return said


class _Pack:
    """A git pack: a head, and behind it entries of a short head and a zlib stream each."""

    def __init__(self) -> None:
        self._pending = b""
        self._to_skip = _PACK_HEAD_SIZE
        self._inflate: zlib._Decompress | None = None
        self._broken = False

    def feed(self, data: bytes, room: int) -> bytes:
        said: list[bytes] = []
        self._pending += data
        while self._pending and room > 0 and not self._broken:
            piece = self._step(room)
            if piece is None:
                break
            said.append(piece)
            room -= len(piece)
        return b"".join(said)

    def _step(self, room: int) -> bytes | None:
        """Read one more piece; None when more must come first."""
        if self._to_skip:
            skipped = min(self._to_skip, len(self._pending))
            self._pending, self._to_skip = self._pending[skipped:], self._to_skip - skipped
            return b""
        if self._inflate is None:
            size = _measure_head(self._pending)
            if size is None:
                self._broken = len(self._pending) > _LONGEST_ENTRY_HEAD
                return None
            self._pending, self._inflate = self._pending[size:], zlib.decompressobj()
            return b""
        try:
            said = self._inflate.decompress(self._pending, room)
        except zlib.error:
            # The trailing digest, or no pack at all.
            self._broken = True
            return None
        self._pending = self._inflate.unused_data if self._inflate.eof else b""
        if self._inflate.eof:
            self._inflate = None
        return said


def _measure_head(data: bytes) -> int | None:
    """Return the length of an entry's head; None when it is not all there."""
    kind = (data[0] >> 4) & 7
    size = _measure_number(data, 0)
    if size is None:
        return None
    if kind == _REFERENCE_DELTA:
        size += 20
    elif kind == _OFFSET_DELTA:
        end = _measure_number(data, size)
        if end is None:
            return None
        size = end
    return size if len(data) > size else None


def _measure_number(data: bytes, first: int) -> int | None:
    """Return where a number of seven bits per byte ends."""
    for place in range(first, min(len(data), first + 10)):
        if not data[place] & 0x80:
            return place + 1
    return None
