"""What is handed over to the user's object database, read on the way: the same bytes need not be asked for twice."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Collection
from typing import Final

from nightcrew.promote.site import algorithm_of

#: A larger pack is handed on as it is; its contents are read in groups then, so that they are not all in memory.
READ_AT_MOST: Final = 32 << 20
_BLOB: Final = 3
_PLAIN: Final = (1, 2, 3, 4)  # commit, tree, blob, tag
_OFFSET_DELTA, _NAMED_DELTA = 6, 7
_SLACK: Final = 64


def read_blobs(pack: bytes, wanted: Collection[str]) -> dict[str, bytes]:
    """Return those of the wanted blobs that stand in a pack as they are, by id.

    What stands there as a difference to something else is left out, and so is everything when the pack is not understood:
    whoever wants it asks git. Each content is known by the hash of its bytes, so nothing here can be mistaken for another.
    """
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    algorithm = algorithm_of(next(iter(wanted)))
    width = 32 if algorithm == "sha256" else 20
    try:
        (count,) = struct.unpack_from(">I", pack, 8)
        view, position = memoryview(pack), 12
        for _ in range(count):
            kind, size, position = _read_head(pack, position)
            position += _skip_base(pack, position, kind, width)
            data, position = _inflate(view, position, size)
            if kind == _BLOB:
                name = hashlib.new(
                    algorithm, b"blob %d\0%b" % (len(data), data), usedforsecurity=False
                ).hexdigest()
                if name in wanted:
                    found[name] = data
    except (IndexError, ValueError, struct.error, zlib.error):
        return {}
    return found


def _read_head(pack: bytes, position: int) -> tuple[int, int, int]:
    """Return kind and size of an object, and where what follows begins."""
    byte = pack[position]
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        position += 1
        byte = pack[position]
        size |= (byte & 0x7F) << shift
        shift += 7
    return kind, size, position + 1


def _skip_base(pack: bytes, position: int, kind: int, width: int) -> int:
    """Return how many bytes say what a difference is one to."""
    if kind in _PLAIN:
        return 0
    if kind == _NAMED_DELTA:
        return width
    if kind != _OFFSET_DELTA:
        raise ValueError(f"an object of kind {kind}")
    length = 1
    while pack[position + length - 1] & 0x80:
        length += 1
    return length


def _inflate(view: memoryview, position: int, size: int) -> tuple[bytes, int]:
    """Return ``size`` inflated bytes, and where they end in the pack."""
    inflate, pieces = zlib.decompressobj(), []
    while not inflate.eof:
        # Not the whole rest: what is not used of it is copied.
        piece = view[position : position + size + (size >> 8) + _SLACK]
        if not piece:
            raise ValueError("cut short")
        pieces.append(inflate.decompress(piece))
        position += len(piece) - len(inflate.unused_data)
    data = b"".join(pieces)
    if len(data) != size:
        raise ValueError("another size than announced")
    return data, position
