"""Git's index as a file: a new one out of an older one, for the price of what changes; fixed times for an export.

A fresh checkout is "racy" for git: files as young as the index are read again on every ``git status``, and an edit
within the same second with the same size goes unseen. Times in the past, the same in index and files, end both.

An index is derived from an older one by copying what stays, byte for byte, and putting changed entries between. Git's
own way to pay only for what changed, the split index, is no way here: libgit2 and what builds on it (cargo, for one)
refuse an index in two parts.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from nightcrew.host.cachetree import TreeIds, counts, renew, root_of

_HEAD: Final = struct.Struct(">4sII")
_EXTENSION: Final = struct.Struct(">4sI")
_STATUS: Final = struct.Struct(">10I")
_ID_AT: Final = 40
_EXTENDED: Final = 0x4000
_LONGEST_NAME: Final = 0xFFF
_SAFE_NAME: Final = 0xFF
_SUBMODULE: Final = 0o160000
_LINK: Final = 0o120000
_MODE_AT: Final = 24

# So far apart are the places that are kept for searching: about a dozen entries, which are then walked one by one.
_MARK_BYTES: Final = 1024


class IndexFile:
    """An index of version 2 or 3 with every entry at stage 0, as git writes it for a checkout.

    Args:
        data: the whole file.
        id_bytes: 20 or 32, by the object format.
        marks: offsets of some entries, ascending, and last where the entries end; found by a walk when not known.
        end: where the entries end, when that is known (see ``find_end``): the walk is then put off until it is needed.

    Attributes:
        id_bytes: of one object id, and of the hash at the end.

    Raises:
        ValueError: another version, or no index at all.
    """

    def __init__(
        self, data: bytes | bytearray, id_bytes: int, marks: array[int] | None = None, end: int = 0
    ) -> None:
        magic, self._version, self.count = _HEAD.unpack_from(data)
        if magic != b"DIRC" or self._version not in (2, 3):
            raise ValueError(f"index version {self._version} is not understood")
        self._data = data
        self.id_bytes = id_bytes
        self._placed: Mapping[bytes, int] = {}
        self._found = marks if marks is not None or end else self._mark()
        self._end = end or (self._found[-1] if self._found else 0)

    @classmethod
    def read(cls, index: Path, marks: Path, id_bytes: int) -> IndexFile:
        """Read an index together with its marks; a missing or foreign file of marks costs a walk."""
        try:
            kept = array("Q", marks.read_bytes())
        except (FileNotFoundError, ValueError):
            return cls(index.read_bytes(), id_bytes)
        return cls(index.read_bytes(), id_bytes, kept)

    @property
    def marks(self) -> bytes:
        """What ``read`` wants to find again; only for this machine."""
        return self._marks.tobytes()

    @property
    def _marks(self) -> array[int]:
        if self._found is None:
            self._found = self._mark()
        return self._found

    @property
    def data(self) -> bytes | bytearray:
        """The whole file."""
        return self._data

    @property
    def extensions(self) -> frozenset[bytes]:
        """Names of what stands behind the entries."""
        return frozenset(name for name, _ in self._extensions())

    @property
    def root(self) -> str:
        """Id of the tree that all entries make, empty when it is not remembered, or is of more or fewer entries."""
        found = (root_of(it, self.id_bytes, self.count) for name, it in self._extensions() if name == b"TREE")
        return next(found, "")

    def holds(self, name: bytes) -> bool:
        """Tell whether there is an entry of a name, in whatever form."""
        at, end, _ = self._locate(name)
        return end > at

    def entries(self) -> dict[bytes, bytes]:
        """Return every entry by its name."""
        return {
            name: bytes(self._data[at:end])
            for at, name, end in self._walk(_HEAD.size, self.count, array("Q"))
        }

    def submodules(self) -> Iterator[tuple[bytes, str]]:
        """Yield path and commit of every submodule."""
        for at, name, _ in self._walk(_HEAD.size, self.count, array("Q")):
            if struct.unpack_from(">I", self._data, at + _MODE_AT)[0] == _SUBMODULE:
                yield name, self._data[at + _ID_AT : at + _ID_AT + self.id_bytes].hex()

    def with_times(self, tree: Path, modified_s: int) -> IndexFile:
        """Set the modification time of every file the index names, and return an index with the status of each as it is then.

        Args:
            tree: its working tree; modified_s: seconds since the epoch.
        """
        data = bytearray(self._data)
        # From here the way to a file is short, and what is done for every one of them is as little as can be.
        root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        times, put, low = (modified_s, modified_s), _STATUS.pack_into, 0xFFFFFFFF
        mode_of = struct.Struct(">I").unpack_from
        try:
            for at, name, _ in self._walk(_HEAD.size, self.count, array("Q")):
                (mode,) = mode_of(data, at + _MODE_AT)
                if mode == _SUBMODULE:
                    continue
                try:
                    os.utime(name, times, dir_fd=root, follow_symlinks=False)
                    _, inode, device, _, uid, gid, size, _, _, _ = found = os.lstat(name, dir_fd=root)
                except (FileNotFoundError, NotADirectoryError):
                    # Outside the sparse checkout: the entry has no file.
                    continue
                seconds, ns = divmod(found.st_ctime_ns, 1_000_000_000)
                words = (inode & low, mode, uid & low, gid & low, size & low)
                put(data, at, seconds & low, ns, modified_s & low, 0, device & low, *words)
        finally:
            os.close(root)
        data[-self.id_bytes :] = self._digest([memoryview(data)[: -self.id_bytes]])
        return IndexFile(bytes(data), self.id_bytes, self._marks)

    def with_status(self, found: Mapping[bytes, os.stat_result]) -> bytes:
        """Return the whole file with the status of some files in their entries, which git takes as unmodified then.

        Args:
            found: by name; a name without an entry is passed over.
        """
        data = bytearray(self._data)
        self._put_status(data, found)
        return bytes(data)

    def seal(self, found: Mapping[bytes, os.stat_result]) -> bytearray:
        """Return what ``with_status`` does without a copy of it, for one that was derived unsealed; only once."""
        data = self._data if isinstance(self._data, bytearray) else bytearray(self._data)
        self._put_status(data, found)
        return data

    def _put_status(self, data: bytearray, found: Mapping[bytes, os.stat_result]) -> None:
        near = 0
        for name, status in sorted(found.items()):
            at = self._placed.get(name, 0)
            if not at:
                at, end, near = self._locate(name, near)
                if end == at:
                    continue
            (mode,) = struct.unpack_from(">I", data, at + _MODE_AT)
            _STATUS.pack_into(data, at, *_status_words(status, mode))
        data[-self.id_bytes :] = self._digest([memoryview(data)[: -self.id_bytes]])

    def derive(
        self,
        changes: Mapping[bytes, bytes | None],
        known: Mapping[bytes, int] | None = None,
        *,
        trees: Mapping[bytes, TreeIds] | None = None,
        sealed: bool = True,
    ) -> IndexFile:
        """Return this index with some entries put in or replaced, and those with None taken out.

        The cost is that of copying and hashing the file (10 MB for 100,000 entries), not that of its entries.

        Args:
            changes: whole entries by name; a name that is to go need not be there.
            known: where entries of these names begin (see ``find_entries``); others are searched for.
            trees: ids of directories before and after (see ``cachetree.renew``); what is not known of them is forgotten.
            sealed: with the hash at its end; without it for ``with_status`` and ``seal``, which hash anew.
        """
        if not changes:
            return self
        known = known or {}
        if all(entry is not None and name in known for name, entry in changes.items()):
            return self._replace(changes, known, trees or {}, sealed=sealed)
        placed: dict[bytes, int] = {}
        more: dict[bytes, int] = {}
        view = memoryview(self._data)
        out = _Pieces()
        at, count, version, near = _HEAD.size, self.count, self._version, 0
        marks = iter(self._marks[:-1])
        mark = next(marks, None)
        for name in sorted(changes):
            entry = changes[name]
            if name in known:
                start, end = known[name], self._name_at(known[name])[1]
            else:
                start, end, near = self._locate(name, near)
            while mark is not None and mark < start:
                out.mark(mark + out.size - at)
                mark = next(marks, None)
            out.add(view[at:start])
            if entry is not None:
                out.mark(out.size, sparsely=True)
                placed[name] = out.size
                out.add(entry)
                if struct.unpack_from(">H", entry, _ID_AT + self.id_bytes)[0] & _EXTENDED:
                    version = 3
            while mark is not None and mark < end:
                mark = next(marks, None)
            more[name] = (entry is not None) - (end > start)
            at = end
        for left in (mark, *marks) if mark is not None else ():
            out.mark(left + out.size - at)
        out.add(view[at : self._marks[-1]])
        out.mark(out.size)
        head = _HEAD.pack(b"DIRC", version, count + sum(more.values()))
        data = bytearray().join([head, *out.pieces, *self._remembered(more, trees or {})])
        return self._finish(data, out.marks, out.size, placed, sealed=sealed)

    def _replace(
        self,
        changes: Mapping[bytes, bytes | None],
        known: Mapping[bytes, int],
        trees: Mapping[bytes, TreeIds],
        *,
        sealed: bool,
    ) -> IndexFile:
        """Put entries in the place of others of the same names, which are as long."""
        data = bytearray(self._data)
        del data[self._end :]
        for name, entry in changes.items():
            if entry is None or self._name_at(known[name]) != (name, known[name] + len(entry)):
                raise ValueError("an entry is not where it is said to be")
            data[known[name] : known[name] + len(entry)] = entry
        _HEAD.pack_into(data, 0, b"DIRC", self._version, self.count)
        placed = {name: known[name] for name in changes}
        for piece in self._remembered(dict.fromkeys(changes, 0), trees):
            data += piece
        return self._finish(data, self._found, self._end, placed, sealed=sealed)

    def _remembered(self, changes: Mapping[bytes, int], trees: Mapping[bytes, TreeIds]) -> Iterator[bytes]:
        """Yield the extensions that stay."""
        for name, content in self._extensions():
            # Others speak of offsets, of what is untracked, or of conflicts: of no use or wrong after a change.
            if name == b"TREE" and counts(content, self.count):
                kept = renew(content, self.id_bytes, changes, trees)
                yield _EXTENSION.pack(name, len(kept)) + kept

    def _finish(
        self,
        data: bytearray,
        marks: array[int] | None,
        end: int,
        placed: Mapping[bytes, int],
        *,
        sealed: bool,
    ) -> IndexFile:
        data += self._digest([data]) if sealed else bytes(self.id_bytes)
        made = IndexFile(bytes(data) if sealed else data, self.id_bytes, marks, end)
        made._placed = placed
        return made

    def _extensions(self) -> Iterator[tuple[bytes, bytes]]:
        at, end = self._end, len(self._data) - self.id_bytes
        while at < end:
            name, size = _EXTENSION.unpack_from(self._data, at)
            at += _EXTENSION.size
            yield name, bytes(self._data[at : at + size])
            at += size

    def _digest(self, pieces: Iterable[bytes | bytearray | memoryview]) -> bytes:
        digest = hashlib.sha256() if self.id_bytes == 32 else hashlib.sha1(usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
        return digest.digest()

    def _locate(self, name: bytes, near: int = 0) -> tuple[int, int, int]:
        """Return where the entry of a name is, or twice where it would be, and which mark is before it.

        Args:
            near: a mark that is not behind the entry; names asked for in their order find their neighbours quickly.
        """
        marks, last, names = self._marks, len(self._marks) - 1, self._name_at
        step = 1
        while near + step < last and names(marks[near + step])[0] <= name:
            near += step
            step *= 2
        over = min(near + step, last)
        while over - near > 1:
            middle = (near + over) // 2
            if names(marks[middle])[0] <= name:
                near = middle
            else:
                over = middle
        at = marks[near] if last and names(marks[near])[0] <= name else _HEAD.size
        while at < marks[last]:
            found, end = names(at)
            if found >= name:
                return at, end if found == name else at, near
            at = end
        return at, at, near

    def _mark(self) -> array[int]:
        """Find the marks in one pass, from entry to entry by the lengths of the names that stand in them."""
        words = memoryview(self._data)[: len(self._data) // 2 * 2].cast("H")
        steps = _steps(_ID_AT + self.id_bytes)
        flags_at = (_ID_AT + self.id_bytes) // 2
        at, before, marks = _HEAD.size // 2, -_MARK_BYTES, array("Q")
        for _ in range(self.count):
            if at - before >= _MARK_BYTES // 2:
                marks.append(at * 2)
                before = at
            # Zero: flags, or a name that is longer than the field for its length can tell.
            at += steps[words[at + flags_at]] or self._name_at(at * 2)[1] // 2 - at
        marks.append(at * 2)
        return marks

    def _walk(self, at: int, count: int, marks: array[int]) -> Iterator[tuple[int, bytes, int]]:
        last = -_MARK_BYTES
        for _ in range(count):
            name, end = self._name_at(at)
            if at - last >= _MARK_BYTES:
                marks.append(at)
                last = at
            yield at, name, end
            at = end
        marks.append(at)

    def _name_at(self, at: int) -> tuple[bytes, int]:
        """Return the name of the entry at an offset, and where the next one begins."""
        data, flags_at = self._data, at + _ID_AT + self.id_bytes
        name_at = flags_at + (4 if data[flags_at] & (_EXTENDED >> 8) else 2)
        end = data.index(0, name_at)
        # Entries are padded with one to eight NULs to a multiple of eight bytes.
        return bytes(data[name_at:end]), at + ((end - at) // 8 + 1) * 8


def find_entries(content: bytes, entries: Mapping[bytes, str]) -> dict[bytes, int] | None:
    """Return where entries without a flag begin in an index file, by name; None when one is not found in just this form.

    One pass over its bytes: an entry of versions 2 and 3 is ``... id, 16 bits of flags with the length of the name, name, NUL``
    in the order of the names. What is not there in exactly this form (compressed names of version 4, a split index) is not
    known to be ordinary. Up to 255 bytes the length has a NUL, which no name has: so no other name can pretend to be the entry.

    Args:
        entries: ids by name.
    """
    found: dict[bytes, int] = {}
    position = 0
    for name, object_id in sorted(entries.items()):
        if len(name) > _SAFE_NAME:
            return None
        length = len(name).to_bytes(2, "big")
        position = content.find(bytes.fromhex(object_id) + length + name + b"\0", position)
        if position < _HEAD.size + _ID_AT:
            return None
        found[name] = position - _ID_AT
    return found


def find_end(content: bytes, id_bytes: int, near: int) -> int:
    """Return where the entries of an index end in which nothing but remembered trees comes after them; 0 when that is not certain.

    From the last extension that looks like those trees and reaches to the end of the file, it is walked to from an entry before it:
    another extension between the two would be walked over as entries, which it does not look like.

    Args:
        near: where an entry begins.
    """
    end = _find_last(content, id_bytes, near)
    words = memoryview(content)[: len(content) // 2 * 2].cast("H")
    steps, modes = _steps(_ID_AT + id_bytes), _modes()
    flags_at, mode_at = (_ID_AT + id_bytes) // 2, _MODE_AT // 2
    at, stop = near // 2, end // 2
    last = min(stop, len(words) - flags_at)
    while at < last:
        step = steps[words[at + flags_at]]
        if not step or words[at + mode_at] or words[at + mode_at + 1] not in modes:
            return 0
        at += step
    return end if at == stop else 0


def guess_root(content: bytes, id_bytes: int) -> str:
    """Return the id of the tree that all entries seem to make, empty when none is remembered; ``find_end`` makes it certain."""
    at = _find_last(content, id_bytes, _HEAD.size)
    return root_of(content[at + _EXTENSION.size :], id_bytes, _HEAD.unpack_from(content)[2]) if at else ""


def _find_last(content: bytes, id_bytes: int, near: int) -> int:
    """Return where the last thing begins that looks like remembered trees and reaches to the hash at the end; 0 for none."""
    last = len(content) - id_bytes
    at = content.rfind(b"TREE", near, last)
    if at < 0 or at % 4 or last - at < _EXTENSION.size:
        return 0
    return at if at + _EXTENSION.size + _EXTENSION.unpack_from(content, at)[1] == last else 0


@cache
def _modes() -> frozenset[int]:
    """Return the lower half of the modes that an entry can have, as words in the order of this machine."""
    modes = (0o100644, 0o100755, _LINK, _SUBMODULE)
    return frozenset(int.from_bytes(mode.to_bytes(2, "big"), sys.byteorder) for mode in modes)


@cache
def _steps(flags_at: int) -> array[int]:
    """Return how far it is to the next entry, in words of two bytes, by the word that holds an entry's flags."""
    steps = array("I", bytes(4 << 16))
    for length in range(_LONGEST_NAME):
        # The name and one to eight NULs, to a multiple of eight bytes. The word is in the order of this machine.
        word = int.from_bytes(length.to_bytes(2, "big"), sys.byteorder)
        steps[word] = ((flags_at + 2 + length) // 8 + 1) * 4
    return steps


class _Pieces:
    """The entries of a new index while it is put together; offsets count its head, which comes last."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.size = _HEAD.size
        self.marks: array[int] = array("Q")

    def add(self, piece: bytes | memoryview) -> None:
        self.pieces.append(piece)
        self.size += len(piece)

    def mark(self, at: int, *, sparsely: bool = False) -> None:
        if not sparsely or not self.marks or at - self.marks[-1] >= _MARK_BYTES:
            self.marks.append(at)


def _status_words(found: os.stat_result, mode: int) -> tuple[int, ...]:
    seconds_ns = (*divmod(found.st_ctime_ns, 1_000_000_000), *divmod(found.st_mtime_ns, 1_000_000_000))
    words = (*seconds_ns, found.st_dev, found.st_ino, mode, found.st_uid, found.st_gid, found.st_size)
    return tuple(word & 0xFFFFFFFF for word in words)


def make_bare_entry(name: bytes, mode: int, object_id: str) -> bytes:
    """Return an index entry of which nothing but kind and content is known: git looks at the file when it is asked."""
    return _put_together(name, (0, 0, 0, 0, 0, 0, mode, 0, 0, 0), object_id)


def make_entry(name: bytes, found: os.stat_result, object_id: str, modified_s: int) -> bytes:
    """Return an index entry for a file or link on disk.

    Of its status only what git compares under ``core.checkstat=minimal`` is filled in: kind, size, time.

    Args:
        name: its path in the repository; found: its status.
        object_id: of its content; modified_s: seconds since the epoch.
    """
    mode = _LINK if stat.S_ISLNK(found.st_mode) else 0o100755 if found.st_mode & stat.S_IXUSR else 0o100644
    status = (0, 0, modified_s, 0, 0, 0, mode, 0, 0, found.st_size & 0xFFFFFFFF)
    return _put_together(name, status, object_id)


def _put_together(name: bytes, status: tuple[int, ...], object_id: str) -> bytes:
    flags = struct.pack(">H", min(len(name), _LONGEST_NAME))
    head = _STATUS.pack(*status) + bytes.fromhex(object_id) + flags + name
    return head + bytes(8 - len(head) % 8)
