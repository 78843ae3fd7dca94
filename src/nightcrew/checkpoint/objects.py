"""Git objects as bytes: ids, headers, trees, and the loose form for large blobs."""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from nightcrew.host import files, tokens

try:
    # The same zlib streams in a third of the time, and smaller.
    from isal import isal_zlib as squeezing
except ImportError:
    # A machine it is not made for, see pyproject.toml.
    import zlib as squeezing  # type: ignore[no-redef]

if TYPE_CHECKING:
    from hashlib import _Hash

    from _typeshed import WriteableBuffer

MODE_FILE: Final = 0o100644
MODE_EXECUTABLE: Final = 0o100755
MODE_LINK: Final = 0o120000
MODE_TREE: Final = 0o040000
MODE_GITLINK: Final = 0o160000

# Blobs from this size on are never held in memory: hashed and compressed in pieces, kept as loose objects because a
# loose object can be read back in pieces without git.
LARGE_BYTES: Final = 8 << 20
PIECE_BYTES: Final = 1 << 20
# Of either library: fast, and keeps the store below the bytes of the changed contents (budgets.md).
COMPRESSION: Final = 1
# The longest piece of a stored (uncompressed) block of a zlib stream.
_STORED_BYTES: Final = 0xFFFF
_CHECKSUM: Final = struct.Struct(">I")

Rows = dict[bytes, bytes]
"""Name → encoded row of a tree object."""

# The second is how some old programs wrote it.
_TREE_ROW: Final = (b"40000 ", b"040000 ")
_ROWS: Final = {length: re.compile(rb"(?s)([0-7]+ ([^\0]+)\0.{%d})" % (length // 2)) for length in (40, 64)}

WRITER: Final = "nightcrew <nightcrew@localhost>"


class TreeEntry(NamedTuple):
    """One row of a tree object."""

    mode: int
    id: str

    @property
    def is_tree(self) -> bool:
        """Tell whether it is a directory."""
        return self.mode == MODE_TREE


def start_hash(id_length: int) -> _Hash:
    """Return an empty hash of the repository's object format: SHA-1 for ids of 40 characters, SHA-256 for 64."""
    return hashlib.sha256() if id_length == 64 else hashlib.sha1(usedforsecurity=False)


def identify(kind: str, data: bytes, id_length: int) -> str:
    """Return the id that git gives an object of this kind with this content."""
    head = b"%s %d\0" % (kind.encode(), len(data))
    digest = (
        hashlib.sha256(head, usedforsecurity=False)
        if id_length == 64
        else hashlib.sha1(head, usedforsecurity=False)
    )
    digest.update(data)
    return digest.hexdigest()


def identify_each(kind: str, contents: Sequence[bytes], id_length: int) -> list[str]:
    """Return the ids that git gives objects of one kind; cheaper than asking for each."""
    heads = map(f"{kind} %d\0".encode().__mod__, map(len, contents))
    whole = map(b"".join, zip(heads, contents, strict=True))
    start = partial(hashlib.sha256 if id_length == 64 else hashlib.sha1, usedforsecurity=False)
    return [digest.hexdigest() for digest in map(start, whole)]


def split_rows(data: bytes, id_length: int) -> Rows:
    """Return the rows of a tree object by name, each as it is encoded, in git's order.

    Raises:
        ValueError: the data is not a tree object.
    """
    rows = {name: row for row, name in _ROWS[id_length].findall(data)}
    if sum(map(len, rows.values())) != len(data):
        raise ValueError("not a tree object")
    return rows


def join_rows(rows: Mapping[bytes, bytes]) -> bytes:
    """Return the tree object of encoded rows, in git's order (a directory sorts as if its name ended with a slash)."""
    ordered = sorted(
        rows.items(), key=lambda item: item[0] + b"/" if item[1].startswith(_TREE_ROW) else item[0]
    )
    return b"".join([row for _, row in ordered])


def is_same_kind(row: bytes, old: bytes) -> bool:
    """Tell whether a row can take the place of an old one of the same name without changing the order."""
    return bool(old) and row.startswith(_TREE_ROW) == old.startswith(_TREE_ROW)


def encode_row(name: bytes, entry: TreeEntry) -> bytes:
    """Return one row of a tree object."""
    return b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.id))


def decode_row(row: bytes, id_length: int) -> TreeEntry:
    """Return mode and id of an encoded row."""
    return TreeEntry(int(row[: row.index(b" ")], 8), row[-(id_length // 2) :].hex())


def parse_tree(data: bytes, id_length: int) -> dict[bytes, TreeEntry]:
    """Return the rows of a tree object by name.

    Raises:
        ValueError: the data is not a tree object.
    """
    return {name: decode_row(row, id_length) for name, row in split_rows(data, id_length).items()}


def encode_tree(rows: Mapping[bytes, TreeEntry]) -> bytes:
    """Return the tree object of these rows."""
    return join_rows({name: encode_row(name, entry) for name, entry in rows.items()})


def encode_commit(tree: str, parents: Sequence[str], message: str, at_s: int) -> bytes:
    """Return a commit object written by us at a time in seconds since the epoch."""
    who = f"{WRITER} {at_s} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
    text = "\n".join([*lines, "", message])
    return text.encode("utf-8", "surrogateescape") + (b"" if text.endswith("\n") else b"\n")


def compress(data: bytes) -> bytes:
    """Return data as a zlib stream.

    With zlib's own window: a smaller one costs more in shorter chains than it saves.
    """
    return squeezing.compress(data, COMPRESSION)


def compress_each(contents: Iterable[bytes]) -> list[bytes]:
    """Return what ``compress`` makes of each; the loop stays in C, so that two threads do not wait for each other."""
    return list(map(squeezing.compress, contents, repeat(COMPRESSION)))


def checksum(data: bytes) -> int:
    """Return the CRC-32 of data, as the index of a pack has it."""
    return squeezing.crc32(data)


def store_plain(data: bytes) -> bytes:
    """Return data as a zlib stream that is not compressed.

    For directories: two thirds of them are hashes, which do not shrink, and when packs are put together nearly all
    of them become differences to one another.
    """
    pieces = [b"\x78\x01"]
    for at in range(0, len(data), _STORED_BYTES) or (0,):
        piece = data[at : at + _STORED_BYTES]
        last = at + _STORED_BYTES >= len(data)
        pieces += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    return b"".join([*pieces, struct.pack(">I", zlib.adler32(data))])


def store_plain_each(contents: Sequence[bytes]) -> list[bytes]:
    """Return what ``store_plain`` makes of each; the loop stays in C, as nearly all fit into one block."""
    if any(len(data) > _STORED_BYTES for data in contents):
        return list(map(store_plain, contents))
    ends = map(_CHECKSUM.pack, map(squeezing.adler32, contents))
    return list(map(b"".join, zip(map(_stored_head, map(len, contents)), contents, ends, strict=True)))


@lru_cache(maxsize=8192)
def _stored_head(size: int) -> bytes:
    return struct.pack("<3sHH", b"\x78\x01\x01", size, size ^ 0xFFFF)


def read_pieces(source: BinaryIO, size: int = sys.maxsize) -> Iterator[bytes]:
    """Yield the rest of a stream, or its next ``size`` bytes, in pieces of at most PIECE_BYTES."""
    while piece := source.read(min(size, PIECE_BYTES)):
        size -= len(piece)
        yield piece


def identify_stream(source: BinaryIO, size: int, id_length: int) -> str:
    """Return the blob id of the first ``size`` bytes of a stream without holding them.

    Raises:
        OSError: the stream is shorter than announced.
    """
    digest = start_hash(id_length)
    digest.update(b"blob %d\0" % size)
    seen = 0
    for piece in read_pieces(source, size):
        digest.update(piece)
        seen += len(piece)
    if seen != size:
        raise OSError(f"the file changed while it was read ({size} bytes announced, {seen} found)")
    return digest.hexdigest()


def loose_path(objects: Path, object_id: str) -> Path:
    """Return where an object lies in loose form."""
    return objects / object_id[:2] / object_id[2:]


def read_loose_size(path: Path) -> int:
    """Return the size of the content of a loose object in bytes, from its first bytes.

    Raises:
        FileNotFoundError: it is not there (any more).
    """
    with path.open("rb") as file:
        head = zlib.decompressobj().decompress(file.read(128), 64)
    return int(head[head.index(b" ") + 1 : head.index(b"\0")])


def write_loose(objects: Path, kind: str, source: BinaryIO, size: int, object_id: str) -> None:
    """Write one object of ``size`` bytes in pieces; it becomes visible by a rename, complete and on disk.

    Raises:
        OSError: the content does not give ``object_id`` (it changed between two readings), or the disk is full.
    """
    target = loose_path(objects, object_id)
    target.parent.mkdir(exist_ok=True)
    aside = objects / f"tmp_obj_{tokens.nonce()}"
    digest = start_hash(len(object_id))
    squeeze = squeezing.compressobj(COMPRESSION)
    header = b"%s %d\0" % (kind.encode(), size)
    digest.update(header)
    try:
        with aside.open("xb") as out:
            out.write(squeeze.compress(header))
            for piece in read_pieces(source, size):
                digest.update(piece)
                out.write(squeeze.compress(piece))
            out.write(squeeze.flush())
            if digest.hexdigest() != object_id:
                raise OSError("the file changed while it was read")
            out.flush()
            os.fchmod(out.fileno(), 0o444)
            os.fsync(out.fileno())
        aside.rename(target)
    finally:
        aside.unlink(missing_ok=True)
    files.sync_directory(target.parent)


class _LooseContent(io.RawIOBase):
    """The content of a loose blob, inflated a piece at a time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._inflate = zlib.decompressobj()
        self._ready = b""
        while b"\0" not in self._ready:
            self._ready += self._next_piece()
        self._ready = self._ready[self._ready.index(b"\0") + 1 :]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._ready:
            self._ready = self._next_piece()
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        self._file.close()
        super().close()

    def _next_piece(self) -> bytes:
        """Inflate on; zlib may hold output back even when it has taken all input, so ask it first."""
        while True:
            piece = self._inflate.decompress(self._inflate.unconsumed_tail, PIECE_BYTES)
            if piece or self._inflate.eof:
                return piece
            raw = self._file.read(PIECE_BYTES)
            if not raw:
                raise OSError(f"a stored object is cut short: {self._file.name}")
            piece = self._inflate.decompress(raw, PIECE_BYTES)
            if piece:
                return piece


def open_loose_blob(path: Path) -> BinaryIO:
    """Open a loose blob as a stream of its content."""
    return io.BufferedReader(_LooseContent(path), PIECE_BYTES)
