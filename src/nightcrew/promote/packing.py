"""What is handed over to the user's object database, read on the way: the same bytes need not be asked for twice."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Callable, Collection
from typing import Final, cast

from nightcrew.promote.site import algorithm_of

try:
    # The same zlib streams in half of the time.
    from isal import isal_zlib as squeezing
except ImportError:
    # A machine it is not made for, see pyproject.toml.
    import zlib as squeezing  # type: ignore[no-redef]

#: A larger pack is handed on as it is; its contents are read in groups then, so that they are not all in memory.
READ_AT_MOST: Final = 32 << 20
_INFLATED_AT_MOST: Final = 128 << 20
"""Contents of one pack that are held in memory at the same time."""
_BLOB: Final = 3
_PLAIN: Final = (1, 2, 3, 4)  # commit, tree, blob, tag
_OFFSET_DELTA, _NAMED_DELTA = 6, 7
_SLACK: Final = 64
_BROKEN: Final = (IndexError, ValueError, struct.error, zlib.error, cast("type[Exception]", squeezing.error))


class Pack:
    """A pack in memory, as a file without a name: git writes it and reads it, and nobody in between copies it.

    Args:
        write: is given the descriptor to write to.
    """

    def __init__(self, write: Callable[[int], object]) -> None:
        self._fd = os.memfd_create("pack", os.MFD_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._fd)
        write(self._fd)
        self.size = os.fstat(self._fd).st_size

    def rewind(self) -> int:
        """Return the descriptor, to be read from the beginning by one program."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        return self._fd

    def copy_to(self, fd: int) -> None:
        """Write it to a file.

        Raises:
            OSError: disk full.
        """
        at = 0
        while at < self.size:
            at += os.sendfile(fd, self._fd, at, self.size - at)

    def checksum(self, width: int) -> bytes:
        """Return the hash of so many bytes that it ends with, and that it is called by."""
        return os.pread(self._fd, width, self.size - width)

    def read_blobs(self, wanted: Collection[str]) -> dict[str, bytes]:
        """Return the wanted blobs, see ``read_blobs``; nothing when it is more than should be in memory twice."""
        if not 0 < self.size <= READ_AT_MOST:
            return {}
        with mmap.mmap(self._fd, self.size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
            return read_blobs(view, wanted)


def read_blobs(pack: bytes | memoryview, wanted: Collection[str]) -> dict[str, bytes]:
    """Return those of the wanted blobs that stand in a pack as they are, by id.

    What stands there as a difference to something else is left out, and so is everything when the pack is not understood or
    holds more than should be in memory: whoever wants it asks git. Each content is known by the hash of its bytes, so nothing here can be mistaken for another.
    """
    found: dict[str, bytes] = {}
    if not wanted:
        return found
    algorithm = algorithm_of(next(iter(wanted)))
    digest = hashlib.sha256 if algorithm == "sha256" else hashlib.sha1
    left = _INFLATED_AT_MOST
    width = digest(usedforsecurity=False).digest_size
    try:
        (count,) = struct.unpack_from(">I", pack, 8)
        position = 12
        with memoryview(pack) as view:
            for _ in range(count):
                kind, size, position = _read_head(pack, position)
                position += _skip_base(pack, position, kind, width)
                left -= size
                if left < 0:
                    return {}
                data, position = _inflate(view, position, size)
                if kind == _BLOB:
                    name = digest(b"blob %d\0%b" % (size, data), usedforsecurity=False).hexdigest()
                    if name in wanted:
                        found[name] = data
    except _BROKEN:
        return {}
    return found


def _read_head(pack: bytes | memoryview, position: int) -> tuple[int, int, int]:
    """Return kind and size of an object, and where what follows begins."""
    byte = pack[position]
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        position += 1
        byte = pack[position]
        size |= (byte & 0x7F) << shift
        shift += 7
    return kind, size, position + 1


def _skip_base(pack: bytes | memoryview, position: int, kind: int, width: int) -> int:
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
    inflate, pieces = squeezing.decompressobj(), []
    while True:
        # Not the whole rest: what is not used of it is copied.
        with view[position : position + size + (size >> 8) + _SLACK] as piece:
            if not piece:
                raise ValueError("cut short")
            pieces.append(inflate.decompress(piece))
            position += len(piece) - len(inflate.unused_data)
        if inflate.eof:
            break
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(data) != size:
        raise ValueError("another size than announced")
    return data, position
