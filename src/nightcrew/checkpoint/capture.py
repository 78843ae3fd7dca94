"""From entries of a shadow to edits of a tree: hash what is there, keep what the base does not have."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.conversions import Conversions, FilterRefused
from nightcrew.checkpoint.objects import (
    LARGE_BYTES,
    MODE_FILE,
    MODE_LINK,
    TreeEntry,
    identify,
    identify_stream,
    write_loose,
)
from nightcrew.checkpoint.packs import LocalObjects, PackWriter
from nightcrew.checkpoint.trees import TreeEdit, TreeReader
from nightcrew.model.errors import StaleError
from nightcrew.model.trees import Captured, Entry

# Far beyond real projects; keeps the recursion over directories bounded whatever an agent builds.
MAX_DEPTH: Final = 400


class Capture:
    """One run over the entries of a shadow. All that it writes becomes visible at its end, or never."""

    def __init__(
        self,
        base_tree: str,
        reader: TreeReader,
        objects: Path,
        local: LocalObjects,
        conversions: Conversions,
    ) -> None:
        self._base_tree = base_tree
        self._reader = reader
        self._objects = objects
        self._local = local
        self._conversions = conversions
        self._edit = TreeEdit(reader, base_tree)
        self._pack = PackWriter(objects, len(base_tree))
        self._refused: list[str] = []

    def take(self, entries: Iterable[Entry]) -> Captured:
        """Store the entries and return the tree they make of the base tree.

        Raises:
            StaleError: something still writes to the shadow; nothing was stored.
        """
        found = list(entries)
        try:
            self._conversions.learn([os.fsencode(entry.path) for entry in found if entry.kind == "file"])
            for entry in found:
                self._take_one(entry)
            tree = self._edit.write(self._write_tree)
            self._pack.publish()
        finally:
            self._pack.abandon()
            self._conversions.close()
        self._refused += [f"{path}: inside a submodule" for path in self._edit.blocked]
        return Captured(tree, tuple(sorted(self._refused)))

    def _take_one(self, entry: Entry) -> None:
        path = os.fsencode(entry.path)
        if entry.kind == "refused":
            self._refuse(entry, entry.detail)
        elif path.count(b"/") >= MAX_DEPTH:
            self._refuse(entry, f"more than {MAX_DEPTH} directories deep")
        elif entry.kind in ("deleted", "opaque"):
            self._edit.clear(path)
        else:
            self._take_content(entry, path)

    def _refuse(self, entry: Entry, why: str) -> None:
        self._refused.append(f"{entry.path}: {why}")

    def _take_content(self, entry: Entry, path: bytes) -> None:
        old = self._reader.find(self._base_tree, path)
        try:
            if entry.kind == "symlink":
                new = TreeEntry(MODE_LINK, self._store(os.fsencode(os.readlink(entry.source)), old))  # noqa: PTH115
            else:
                self._conversions.check(path)
                new = self._take_file(entry, path, old)
        except PermissionError:
            self._refuse(entry, "its mode forbids reading it")
        except FilterRefused as refusal:
            self._refuse(entry, str(refusal))
        except FileNotFoundError as error:
            raise StaleError(
                f"{entry.path} vanished while its shadow was captured; nothing was stored",
                hint="something still writes to the shadow",
            ) from error
        else:
            self._edit.put(path, new)

    def _take_file(self, entry: Entry, path: bytes, old: TreeEntry | None) -> TreeEntry:
        with open(entry.source, "rb", opener=_open_regular) as source:
            size = os.fstat(source.fileno()).st_size
            if size < LARGE_BYTES:
                data = source.read()
                object_id = self._conversions.convert(path, data, old) or self._store(data, old)
                return TreeEntry(entry.mode or MODE_FILE, object_id)
            object_id = identify_stream(source, size, len(self._base_tree))
            if not self._is_known(object_id, old):
                source.seek(0)
                write_loose(self._objects, "blob", source, size, object_id)
            return TreeEntry(entry.mode or MODE_FILE, object_id)

    def _store(self, data: bytes, old: TreeEntry | None) -> str:
        object_id = identify("blob", data, len(self._base_tree))
        if not self._is_known(object_id, old):
            self._pack.add("blob", data, object_id)
        return object_id

    def _is_known(self, object_id: str, old: TreeEntry | None) -> bool:
        """Tell whether the base tree names this object, or the store holds it."""
        return (old is not None and old.id == object_id) or object_id in self._local

    def _write_tree(self, data: bytes) -> str:
        object_id = identify("tree", data, len(self._base_tree))
        if object_id not in self._local:
            self._pack.add("tree", data, object_id)
        return object_id


def _open_regular(path: str, flags: int) -> int:
    """Open without following a link and without waiting on a FIFO that took the file's place."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(path)
    return fd
