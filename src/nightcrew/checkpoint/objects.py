"""Git objects as bytes: ids, headers, trees, and the loose form for large blobs."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from nightcrew.host import files, tokens

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
# Level 1 costs a third of level 6 and keeps the store below the bytes of the changed contents (budgets.md).
COMPRESSION: Final = 1

WRITER: Final = "nightcrew <nightcrew@localhost>"


@dataclass(frozen=True, slots=True)
class TreeEntry:
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
    digest = start_hash(id_length)
    digest.update(b"%s %d\0" % (kind.encode(), len(data)))
    digest.update(data)
    return digest.hexdigest()


def parse_tree(data: bytes, id_length: int) -> dict[bytes, TreeEntry]:
    """Return the rows of a tree object by name.

    Raises:
        ValueError: the data is not a tree object.
    """
    width = id_length // 2
    rows: dict[bytes, TreeEntry] = {}
    at = 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        rows[data[space + 1 : end]] = TreeEntry(int(data[at:space], 8), data[end + 1 : end + 1 + width].hex())
        at = end + 1 + width
    return rows


def encode_tree(rows: Mapping[bytes, TreeEntry]) -> bytes:
    """Return the tree object of these rows, in git's order (a directory sorts as if its name ended with a slash)."""
    ordered = sorted(rows.items(), key=lambda row: row[0] + b"/" if row[1].is_tree else row[0])
    return b"".join(b"%o %s\0%s" % (row.mode, name, bytes.fromhex(row.id)) for name, row in ordered)


def encode_commit(tree: str, parents: Sequence[str], message: str, at_s: int) -> bytes:
    """Return a commit object written by us at a time in seconds since the epoch."""
    who = f"{WRITER} {at_s} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {who}", f"committer {who}"]
    text = "\n".join([*lines, "", message])
    return text.encode("utf-8", "surrogateescape") + (b"" if text.endswith("\n") else b"\n")


def read_pieces(source: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a stream in pieces of at most PIECE_BYTES."""
    while piece := source.read(PIECE_BYTES):
        yield piece


def identify_stream(source: BinaryIO, size: int, id_length: int) -> str:
    """Return the blob id of a stream of ``size`` bytes without holding it.

    Raises:
        OSError: the stream has another length than announced.
    """
    digest = start_hash(id_length)
    digest.update(b"blob %d\0" % size)
    seen = 0
    for piece in read_pieces(source):
        digest.update(piece)
        seen += len(piece)
    if seen != size:
        raise OSError(f"the file changed while it was read ({size} bytes announced, {seen} found)")
    return digest.hexdigest()


def loose_path(objects: Path, object_id: str) -> Path:
    """Return where an object lies in loose form."""
    return objects / object_id[:2] / object_id[2:]


def write_loose(objects: Path, kind: str, source: BinaryIO, size: int, object_id: str) -> None:
    """Write one object in pieces; it becomes visible by a rename, complete and on disk.

    Raises:
        OSError: the content does not give ``object_id`` (it changed between two readings), or the disk is full.
    """
    target = loose_path(objects, object_id)
    target.parent.mkdir(exist_ok=True)
    aside = objects / f"tmp_obj_{tokens.nonce()}"
    digest = start_hash(len(object_id))
    squeeze = zlib.compressobj(COMPRESSION)
    header = b"%s %d\0" % (kind.encode(), size)
    digest.update(header)
    try:
        with aside.open("xb") as out:
            out.write(squeeze.compress(header))
            for piece in read_pieces(source):
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
