"""What lies in the store's object directory, file by file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.packs import read_ids, read_spans

_BLOCK_BYTES: Final = 512
"""Unit of st_blocks (stat(2))."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store takes on disk.

    Attributes:
        bytes: allocated by all its files; packs, loose: how many packs and loose objects there are.
    """

    bytes: int
    packs: int
    loose: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A pack (with its index) or a loose object.

    Attributes:
        name: of a pack without ending, or the id of a loose object.
        bytes: allocated on disk.
        used_ns: when something last relied on it, in the clock of the file system.
    """

    name: str
    bytes: int
    used_ns: int


def list_packs(objects: Path) -> list[StoredFile]:
    """Return the packs that are published (have an index), sorted by name."""
    directory = objects / "pack"
    names = sorted(item.name[:-4] for item in os.scandir(directory) if item.name.endswith(".idx"))
    return [pack for name in names if (pack := find_pack(objects, name)) is not None]


def find_pack(objects: Path, name: str) -> StoredFile | None:
    """Return what a pack takes now, None when it is gone (put together with others this moment)."""
    place = f"{objects}/pack/{name}"
    try:
        data, index = os.stat(f"{place}.pack"), os.stat(f"{place}.idx")  # noqa: PTH116
    except FileNotFoundError:
        return None
    return StoredFile(name, (data.st_blocks + index.st_blocks) * _BLOCK_BYTES, data.st_mtime_ns)


def list_loose(objects: Path) -> Iterator[StoredFile]:
    """Yield the loose objects."""
    for folder in sorted(item.name for item in os.scandir(objects) if len(item.name) == 2):
        for item in os.scandir(objects / folder):
            if item.name.startswith("tmp_"):
                continue
            try:
                found = item.stat()
            except FileNotFoundError:
                # Put into a pack this moment.
                continue
            yield StoredFile(folder + item.name, found.st_blocks * _BLOCK_BYTES, found.st_mtime_ns)


def list_leftovers(objects: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield what interrupted writers left: never visible to git."""
    for place, pattern in (
        (objects, "tmp_obj_*"),
        (objects / "pack", "tmp_*"),
        (objects / "pack", ".tmp-*"),
        (objects / "pack", "*.pack"),
    ):
        for path in place.glob(pattern):
            # A pack without an index is one whose publication was interrupted, or is going on.
            if path.suffix != ".pack" or not path.with_suffix(".idx").exists():
                try:
                    status = path.stat()
                except FileNotFoundError:
                    # Its writer has come to its end this moment.
                    continue
                yield path, status


def measure_store(objects: Path) -> Usage:
    """Return what a store takes on disk; a look at some hundred files."""
    packs, loose = list_packs(objects), list(list_loose(objects))
    return Usage(sum(each.bytes for each in (*packs, *loose)), len(packs), len(loose))


def ids_of(objects: Path, pack: str, width: int) -> frozenset[bytes]:
    """Return the raw ids of the objects in a pack."""
    return read_ids((objects / "pack" / f"{pack}.idx").read_bytes(), width)


def spans_of(objects: Path, pack: str, width: int) -> dict[bytes, int]:
    """Return how many bytes each object of a pack takes."""
    directory = objects / "pack"
    end = (directory / f"{pack}.pack").stat().st_size - width
    return read_spans((directory / f"{pack}.idx").read_bytes(), width, end)
