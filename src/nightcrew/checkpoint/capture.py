"""From entries of a shadow to edits of a tree: hash what is there, keep what the base does not have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.amending import Amendment
from nightcrew.checkpoint.conversions import Conversions, FilterRefused
from nightcrew.checkpoint.memory import TICKS_NS, CaptureMemory, Seen, Signature, read_file_clock, sign
from nightcrew.checkpoint.objects import (
    LARGE_BYTES,
    MODE_FILE,
    MODE_LINK,
    TreeEntry,
    identify,
    identify_each,
    identify_stream,
    write_loose,
)
from nightcrew.checkpoint.packs import LocalObjects, PackWriter
from nightcrew.checkpoint.reading import Batch, Place, Taken, check_regular, read_all
from nightcrew.checkpoint.trees import Made, TreeEdit, TreeReader
from nightcrew.host.leases import is_at_rest
from nightcrew.model.errors import StaleError
from nightcrew.model.trees import Captured, Entry
from nightcrew.model.units import format_size

# Far beyond real projects; keeps the recursion over directories bounded whatever an agent builds.
MAX_DEPTH: Final = 400


class Capture:
    """One run over the entries of a shadow. All that it writes becomes visible at its end, or never.

    Args:
        reader: reads the base tree.
        objects: the store's object directory; local: tells what is in it.
        conversions: of the base tree.
        memory: of earlier captures, started for this base tree and limit.
    """

    def __init__(
        self,
        reader: TreeReader,
        objects: Path,
        local: LocalObjects,
        conversions: Conversions,
        memory: CaptureMemory,
    ) -> None:
        self._base_tree = memory.base_tree
        self._reader = reader
        self._objects = objects
        self._local = local
        self._conversions = conversions
        self._memory = memory
        self._edit = TreeEdit(reader, memory.base_tree, memory.made)
        self._batch = Batch()
        self._pack = PackWriter(objects, len(memory.base_tree))
        self._relied: set[str] = set()
        self._refused: list[str] = []
        self._changing: list[str] = []
        # Put into the edit when it turns out that it takes one.
        self._amends = False
        self._put_off: list[tuple[bytes, TreeEntry, bool]] = []
        self._seen: dict[bytes, Seen] = {}
        self._edited: dict[bytes, str] = {}
        self._made: Made = {}
        self._began_ns = 0
        self._read_files = self._read_bytes = 0

    def take(self, entries: Iterable[Entry], when_read: Callable[[], None] | None = None) -> Captured:
        """Store the entries and return the tree they make of the base tree.

        Args:
            when_read: called once nothing of the shadow is needed any more, before all of it is made to last.

        Raises:
            StaleError: something still writes to the shadow; nothing was stored.
        """
        found = list(entries)
        new = self._memory.find_new(found)
        self._amends = new is not None
        self._local.refresh()
        self._began_ns = read_file_clock(self._objects)
        try:
            waiting = found if new is None else new
            self._take_content([(entry, path) for entry in waiting if (path := self._sort_out(entry))])
            if when_read is not None:
                when_read()
            tree = "" if new is None else self._amend()
            if not tree:
                waiting, known = found, self._memory.entries
                tree = self._build([] if new is None else [e for e in found if known.get(e.path) is e])
            self._pack.publish()
            self._local.freshen(self._relied)
        finally:
            self._pack.abandon()
        self._learn(waiting, whole=waiting is found)
        return Captured(
            tree,
            tuple(sorted(self._refused)),
            changing=tuple(sorted(self._changing)),
            read_files=self._read_files,
            read_bytes=self._read_bytes,
        )

    def _amend(self) -> str:
        """Return the tree of the last capture with what is new; empty when it takes more than that."""
        if self._refused:
            # Stored before, perhaps: then it is gone from the tree.
            return ""
        leaves = {path: seen.entry for path, seen in self._seen.items() if seen.entry is not None}
        amendment = Amendment(self._reader, self._base_tree, self._memory.made)
        tree = amendment.write(leaves, self._write_tree)
        self._made = amendment.made
        return tree

    def _build(self, rest: Sequence[Entry]) -> str:
        """Return the tree of all entries; ``rest`` are those that have not been sorted out, none of which must be read."""
        for path, leaf, fresh in self._put_off:
            self._edit.put(path, leaf, fresh=fresh)
        self._amends = False
        for entry in rest:
            self._sort_out(entry)
        for path in self._memory.edited.keys() - self._edited.keys():
            self._edit.leave(path)
        tree = self._edit.write(self._write_tree)
        self._made = self._edit.made
        return tree

    def _learn(self, entries: Sequence[Entry], *, whole: bool) -> None:
        """Remember what was found, which holds only now that it is stored.

        Args:
            whole: these are all entries, otherwise those that were new.
        """
        memory = self._memory
        if whole:
            memory.seen, memory.edited, memory.entries = self._seen, self._edited, {}
        else:
            memory.seen = memory.seen | self._seen
            memory.edited = memory.edited | self._edited
        # What is inside a submodule is told by walking there, every time.
        memory.made = {} if self._edit.blocked else self._made
        self._refused += [f"{path}: inside a submodule" for path in self._edit.blocked]
        if self._refused:
            # To be told each time, by going through everything.
            memory.entries = {}
        else:
            memory.keep(entries)

    def _sort_out(self, entry: Entry) -> bytes:
        """Deal with an entry that has no content to be read; return the path of one that has."""
        path = os.fsencode(entry.path)
        if entry.kind == "refused":
            self._refuse(entry, entry.detail)
        elif path.count(b"/") >= MAX_DEPTH:
            self._refuse(entry, f"more than {MAX_DEPTH} directories deep")
        elif entry.kind in ("deleted", "opaque"):
            self._edit.clear(path, fresh=self._memory.edited.get(path) != entry.kind)
            self._edited[path] = entry.kind
        elif not self._recall(entry, path):
            return path
        return b""

    def _recall(self, entry: Entry, path: bytes) -> bool:
        """Take over what an earlier capture found, when the file is as it was then."""
        if path not in self._memory.seen:
            return False
        try:
            # As it was when it was found, if that is known: the capture shows the files of one moment.
            signature = entry.signature or sign(os.lstat(entry.source))
        except FileNotFoundError:
            return False
        seen = self._memory.recall(path, signature)
        if seen is None:
            return False
        self._keep(entry, path, seen, fresh=self._memory.edited.get(path) != entry.kind)
        return True

    def _take_content(self, waiting: list[tuple[Entry, bytes]]) -> None:
        paths = [path for _, path in waiting]
        self._reader.prepare(self._base_tree, paths)
        self._conversions.learn([path for entry, path in waiting if entry.kind == "file"])
        with closing(Place()) as place:
            for entry, path in waiting:
                try:
                    if entry.kind == "symlink":
                        self._keep(entry, path, self._take_link(place, entry, path), fresh=True)
                    else:
                        self._take_file(place, entry, path)
                except PermissionError:
                    self._refuse(entry, "its mode forbids reading it")
                except FileNotFoundError as error:
                    raise StaleError(
                        f"{entry.path} vanished while its shadow was captured; nothing was stored",
                        hint="something still writes to the shadow",
                    ) from error
        self._store_batch()

    def _keep(self, entry: Entry, path: bytes, seen: Seen, *, fresh: bool) -> None:
        self._seen[path] = seen
        if seen.entry is None:
            self._refuse(entry, seen.refused)
        else:
            self._edited[path] = entry.kind
            if self._amends:
                self._put_off.append((path, seen.entry, fresh))
            else:
                self._edit.put(path, seen.entry, fresh=fresh)

    def _refuse(self, entry: Entry, why: str) -> None:
        self._refused.append(f"{entry.path}: {why}")

    def _take_link(self, place: Place, entry: Entry, path: bytes) -> Seen:
        found, target = place.read_link(entry)
        signature = sign(found)
        new = TreeEntry(MODE_LINK, self._store(target, self._reader.find_row(self._base_tree, path)))
        return Seen(signature, new, "", certain=self._is_old(signature))

    def _take_file(self, place: Place, entry: Entry, path: bytes) -> None:
        """Read a file; what is ordinary is stored together with others."""
        fd = place.open(entry)
        try:
            # First the question: who maps the file only after it moves its times at the first store.
            at_rest = is_at_rest(fd)
            found = os.fstat(fd)
            check_regular(found, entry)
            signature = sign(found)
            # Its mode is the one that was found with the other signature.
            certain = at_rest and self._is_old(signature) and entry.signature in ((), signature)
            why = self._find_refusal(path, signature)
            if why:
                self._keep(entry, path, Seen(signature, None, why, certain), fresh=True)
                return
            self._read_files += 1
            self._read_bytes += signature[1]
            data, object_id = b"", ""
            if signature[1] < LARGE_BYTES:
                data = read_all(fd, signature[1])
                object_id = self._conversions.convert(path, data)
            else:
                object_id = self._store_large(fd, signature[1], path)
            if sign(os.fstat(fd)) != signature:
                self._changing.append(entry.path)
        finally:
            os.close(fd)
        if object_id:
            seen = Seen(signature, TreeEntry(entry.mode or MODE_FILE, object_id), "", certain)
            self._keep(entry, path, seen, fresh=True)
        elif self._batch.add(Taken(entry, path, signature, certain, data)):
            self._store_batch()

    def _find_refusal(self, path: bytes, signature: Signature) -> str:
        """Return why a file is not stored, empty when it is."""
        if 0 < self._memory.limit_bytes < signature[1]:
            limit = format_size(self._memory.limit_bytes)
            return f"larger than {limit}, the limit for one file (checkpoints.max_file)"
        try:
            self._conversions.check(path)
        except FilterRefused as refusal:
            return str(refusal)
        return ""

    def _store_batch(self) -> None:
        """Store the contents that were read."""
        batch = self._batch.empty()
        ids = identify_each("blob", [taken.data for taken in batch], len(self._base_tree))
        for (entry, path, signature, certain, data), object_id in zip(batch, ids, strict=True):
            if not _is_named(object_id, self._reader.find_row(self._base_tree, path)):
                self._add("blob", data, object_id)
            seen = Seen(signature, TreeEntry(entry.mode or MODE_FILE, object_id), "", certain)
            self._keep(entry, path, seen, fresh=True)

    def _store_large(self, fd: int, size: int, path: bytes) -> str:
        """Store the content of a large file as it is, and return its id."""
        with open(fd, "rb", closefd=False) as source:
            object_id = identify_stream(source, size, len(self._base_tree))
            old = self._reader.find_row(self._base_tree, path)
            if not (_is_named(object_id, old) or self._local.rely_on(object_id)):
                source.seek(0)
                write_loose(self._objects, "blob", source, size, object_id)
        return object_id

    def _is_old(self, signature: Signature) -> bool:
        """Tell whether a later change of the file is bound to give it another time."""
        return signature[3] < self._began_ns - TICKS_NS

    def _store(self, data: bytes, old: bytes | None) -> str:
        object_id = identify("blob", data, len(self._base_tree))
        if not _is_named(object_id, old):
            self._add("blob", data, object_id)
        return object_id

    def _write_tree(self, data: bytes) -> str:
        object_id = identify("tree", data, len(self._base_tree))
        self._add("tree", data, object_id)
        return object_id

    def _add(self, kind: str, data: bytes, object_id: str) -> None:
        """Write an object unless a pack of this store has it."""
        pack = self._local.find_pack(object_id)
        if pack:
            self._relied.add(pack)
        else:
            self._pack.add(kind, data, object_id)


def _is_named(object_id: str, old: bytes | None) -> bool:
    """Tell whether a row of the base tree names this very object."""
    return old is not None and old.endswith(bytes.fromhex(object_id))
