"""Packs of our own: one file per capture, visible complete or not at all, and a look into those that are there.

A pack is written aside, flushed, and named; its index comes last, and git sees a pack only through its index, so a
capture that is killed leaves nothing but a ``tmp_`` file. Formats: git's ``gitformat-pack``.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterable
from io import FileIO
from itertools import accumulate
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.objects import (
    checksum,
    identify,
    loose_path,
    read_pieces,
    start_hash,
)
from nightcrew.checkpoint.packrows import encode_rows, write_all, write_hashed
from nightcrew.host import crash, files, tokens

_INDEX_HEAD: Final = b"\xfftOc\x00\x00\x00\x02"
_FANOUT_AT: Final = 8
_HEAD: Final = struct.Struct(">4sII")
"""Of a pack: magic, version, number of objects."""
_NAMES_AT: Final = 8 + 256 * 4
# Offsets from here on do not fit into the 31 bits of the short table.
_FAR: Final = 1 << 31
# The ids of packs up to this size are kept in memory (some 80 bytes each): looking one up in all of them costs a
# microsecond, and a search in an index on disk ten.
_SMALL_OBJECTS: Final = 20_000
_AT_ONCE: Final = 64
"""So many ids of an index are searched as one piece of bytes: that is one step of the interpreter, halving them six."""
_HELD_BYTES: Final = 16 << 20
"""Contents that are held in memory until they are written."""


class PackWriter:
    """Collects objects; ``publish`` makes them visible in one act, ``abandon`` forgets them."""

    def __init__(self, objects: Path, id_length: int) -> None:
        self._directory = objects / "pack"
        self._id_length = id_length
        self._aside = self._directory / f"tmp_pack_{tokens.nonce()}"
        self._file: FileIO | None = None
        self._rows: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._waiting: dict[str, tuple[str, bytes]] = {}
        self._held = 0

    def __contains__(self, object_id: str) -> bool:
        return object_id in self._rows or object_id in self._waiting

    def add(self, kind: str, data: bytes, object_id: str = "") -> str:
        """Take in one object and return its id; an object that is in this pack already costs nothing.

        It is squeezed and written when it is published, or when there is much to hold: whoever waits for the files
        to be read need not wait for that.
        """
        object_id = object_id or identify(kind, data, self._id_length)
        if object_id not in self._waiting and object_id not in self._rows:
            self._waiting[object_id] = (kind, data)
            self._held += len(data)
            if self._held > _HELD_BYTES:
                self._write_waiting()
        return object_id

    def publish(self) -> None:
        """Make everything visible at once; of an empty pack nothing is written."""
        checksum = self._write_whole() if self._file is None else self._write_rest(self._file)
        if self._file is None:
            return
        name = f"pack-{checksum.hex()}"
        index = self._directory / f"tmp_idx_{tokens.nonce()}"
        try:
            with index.open("xb") as out:
                out.write(self._encode_index(checksum))
                out.flush()
                os.fchmod(out.fileno(), 0o444)
                files.sync_together(self._file.fileno(), out.fileno())
            self._file.close()
            crash.point("checkpoint.publish")
            self._aside.rename(self._directory / f"{name}.pack")
        except OSError:
            index.unlink(missing_ok=True)
            raise
        crash.point("checkpoint.half_published")
        index.rename(self._directory / f"{name}.idx")
        files.sync_directory(self._directory)
        self._file = None

    def abandon(self) -> None:
        """Forget what was collected; after ``publish`` this does nothing."""
        self._waiting = {}
        if self._file is not None:
            with contextlib.suppress(OSError):
                # A full disk: closing tries once more to write what nobody wants any more.
                self._file.close()
            self._aside.unlink(missing_ok=True)
            self._file = None

    def _write_waiting(self) -> None:
        """Write what is held, ahead of the rest: how many objects there will be is filled in at the end."""
        if self._file is None:
            self._file = self._aside.open("x+b", buffering=0)
            write_all(self._file, _HEAD.pack(b"PACK", 2, 0))
            self._end = _HEAD.size
        write_all(self._file, b"".join(self._take_waiting(self._end)))

    def _write_whole(self) -> bytes:
        """Write a pack of nothing but what is held, in one piece; return its checksum, empty when there is nothing."""
        if not self._waiting:
            return b""
        head = _HEAD.pack(b"PACK", 2, len(self._waiting))
        data = b"".join([head, *self._take_waiting(_HEAD.size)])
        self._file = self._aside.open("x+b", buffering=0)
        digest = start_hash(self._id_length)
        write_hashed(self._file, data, digest)
        return self._seal(self._file, digest.digest())

    def _write_rest(self, file: FileIO) -> bytes:
        """Write what is held, and fill in the count; return the checksum."""
        self._write_waiting()
        file.seek(8)
        write_all(file, struct.pack(">I", len(self._rows)))
        file.seek(0)
        digest = start_hash(self._id_length)
        for piece in read_pieces(file):
            digest.update(piece)
        return self._seal(file, digest.digest())

    def _seal(self, file: FileIO, checksum: bytes) -> bytes:
        write_all(file, checksum)
        os.fchmod(file.fileno(), 0o444)
        return checksum

    def _take_waiting(self, at: int) -> list[bytes]:
        """Return what is held as rows that will stand from an offset on, and hold it no longer."""
        ids: list[str] = []
        rows: list[bytes] = []
        for kind in ("commit", "blob", "tree"):
            chosen = {name: data for name, (each, data) in self._waiting.items() if each == kind}
            ids += chosen
            rows += encode_rows(kind, list(chosen.values()))
        *places, self._end = accumulate(map(len, rows), initial=at)
        self._rows.update(zip(ids, zip(places, map(checksum, rows), strict=True), strict=True))
        self._waiting = {}
        self._held = 0
        return rows

    def _encode_index(self, checksum: bytes) -> bytes:
        ordered = sorted(self._rows)
        names = bytes.fromhex("".join(ordered))
        counts = Counter(names[:: self._id_length // 2])
        fanout = accumulate(map(counts.__getitem__, range(256)))
        places, sums = zip(*map(self._rows.__getitem__, ordered), strict=True)
        far: list[int] = []
        if max(places) >= _FAR:
            far = [place for place in places if place >= _FAR]
            numbers = {place: _FAR | row for row, place in enumerate(far)}
            places = tuple(numbers.get(place, place) for place in places)
        body = b"".join(
            (
                _INDEX_HEAD,
                struct.pack(">256I", *fanout),
                names,
                struct.pack(f">{len(sums)}I", *sums),
                struct.pack(f">{len(places)}I", *places),
                struct.pack(f">{len(far)}Q", *far),
                checksum,
            )
        )
        return body + hashlib.new(start_hash(self._id_length).name, body, usedforsecurity=False).digest()


class LocalObjects:
    """Tells which objects this store holds itself, as opposed to the user's repository behind it.

    What only the user's repository holds may be collected there one day, so a capture leaves out an object only when
    the store has it, or the base tree names it. What it has is named as used (``freshen``), so that a collector
    leaves it where it is. Safe to use from several threads.
    """

    def __init__(self, objects: Path, id_length: int) -> None:
        self._objects = objects
        self._width = id_length // 2
        self._small: dict[str, frozenset[bytes]] = {}
        self._where: dict[bytes, str] = {}
        self._large: dict[str, mmap.mmap] = {}
        self._refreshing = threading.Lock()

    def __contains__(self, object_id: str) -> bool:
        self.refresh()
        return bool(self.find_pack(object_id)) or loose_path(self._objects, object_id).exists()

    def rely_on(self, object_id: str) -> bool:
        """Tell whether the object is there, packed or loose; if so, note on disk that it has just been relied on."""
        try:
            os.utime(loose_path(self._objects, object_id))
        except FileNotFoundError:
            pack = self.find_pack(object_id)
            self.freshen([pack] if pack else [])
            return bool(pack)
        return True

    def find_pack(self, object_id: str) -> str:
        """Return the name (without ending) of a pack that has the object, empty when none had it at ``refresh``."""
        wanted = bytes.fromhex(object_id)
        small = self._where.get(wanted)
        if small is not None:
            return small
        for name, index in self._large.items():
            if _find(index, wanted, self._width):
                return name
        return ""

    def freshen(self, packs: Iterable[str]) -> None:
        """Note on disk that these packs have just been relied on."""
        for name in packs:
            # Gone: put together with others this moment; the new pack is younger than that.
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._objects / "pack" / f"{name}.pack")

    def refresh(self) -> None:
        """Read what packs there are; of new ones what is in them.

        Not by the time of the directory: two changes within one tick of the clock show one time.
        """
        directory = self._objects / "pack"
        with self._refreshing:
            names = {entry.name[:-4] for entry in os.scandir(directory) if entry.name.endswith(".idx")}
            gone = self._small.keys() - names
            self._small = {name: ids for name, ids in self._small.items() if name in names}
            if gone:
                self._where = {each: name for name, ids in self._small.items() for each in ids}
            self._large = {name: index for name, index in self._large.items() if name in names}
            for name in sorted(names - self._small.keys() - self._large.keys()):
                self._read(name)

    def _read(self, name: str) -> None:
        try:
            with (self._objects / "pack" / f"{name}.idx").open("rb") as file:
                index = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            # Put together with others this moment; at worst an object is written twice.
            return
        if _count(index) > _SMALL_OBJECTS:
            # Another thread may be going through them.
            self._large = {**self._large, name: index}
            return
        with index:
            self._small[name] = ids = read_ids(index, self._width)
        self._where.update(dict.fromkeys(ids, name))


def read_ids(index: mmap.mmap | bytes, width: int) -> frozenset[bytes]:
    """Return the raw ids that a version 2 index lists."""
    (count,) = struct.unpack_from(">I", index, _NAMES_AT - 4)
    names = index[_NAMES_AT : _NAMES_AT + count * width]
    return frozenset([names[at : at + width] for at in range(0, len(names), width)])


def read_spans(index: bytes, width: int, end: int) -> dict[bytes, int]:
    """Return how many bytes each object takes in the pack of a version 2 index.

    Args:
        end: where the last object ends in the pack.
    """
    (count,) = struct.unpack_from(">I", index, _NAMES_AT - 4)
    names = [index[at : at + width] for at in range(_NAMES_AT, _NAMES_AT + count * width, width)]
    short_at = _NAMES_AT + count * (width + 4)
    far_at = short_at + count * 4
    places = [
        place if place < _FAR else struct.unpack_from(">Q", index, far_at + (place - _FAR) * 8)[0]
        for place in struct.unpack_from(f">{count}I", index, short_at)
    ]
    ordered = sorted(zip(places, names, strict=True))
    ends = [place for place, _ in ordered[1:]] + [end]
    return {name: after - place for (place, name), after in zip(ordered, ends, strict=True)}


def _find(index: mmap.mmap, wanted: bytes, width: int) -> bool:
    """Look an id up in a version 2 index."""
    first = wanted[0]
    (start,) = struct.unpack_from(">I", index, _FANOUT_AT + 4 * (first - 1)) if first else (0,)
    (end,) = struct.unpack_from(">I", index, _FANOUT_AT + 4 * first)
    while end - start > _AT_ONCE:
        middle = (start + end) // 2
        at = _NAMES_AT + middle * width
        if index[at : at + width] <= wanted:
            start = middle
        else:
            end = middle
    names = index[_NAMES_AT + start * width : _NAMES_AT + end * width]
    at = names.find(wanted)
    while at > 0 and at % width:
        # The same bytes across two ids.
        at = names.find(wanted, at + 1)
    return at >= 0


def _count(index: mmap.mmap) -> int:
    """Return how many objects an index lists."""
    return int(struct.unpack_from(">I", index, _NAMES_AT - 4)[0])
