"""What earlier captures of one shadow learned, so that the next one reads only what has changed since."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from nightcrew.checkpoint.conversions import Attributes
from nightcrew.checkpoint.objects import TreeEntry
from nightcrew.checkpoint.trees import Made, TreeReader
from nightcrew.model.trees import Entry

# Two ticks of the slowest kernel clock (100 Hz): within that time a file can be changed twice and show one time.
TICKS_NS: Final = 20_000_000

Signature = tuple[int, ...]
"""Of a file or link: see ``Entry.signature``."""


class Seen(NamedTuple):
    """What was found at one path.

    Attributes:
        signature: of the file when it was read.
        entry: what it is in the tree, None when it was refused.
        refused: why, in words.
        certain: nothing could have changed the file later without changing its signature.
    """

    signature: Signature
    entry: TreeEntry | None
    refused: str
    certain: bool


@dataclass(slots=True)
class CaptureMemory:
    """The memory of one shadow's captures, for ``Store.capture``; made empty, kept as long as the shadow is open.

    ``seen`` is what was found at each path, ``edited`` which paths were changed and in which way (kind of entry), ``made``
    what became of the directories above them, ``attributes`` what the base tree's rules say of files, ``ruleless`` in which
    directories they say nothing of any. ``entries`` are those of the last capture by path, None for one that must be looked at again; empty when that capture could not be built upon.

    It holds no content and may be thrown away at any time: a capture without it reads everything again and gives
    the same tree. Captures that share a memory take their turn.
    """

    base_tree: str = ""
    limit_bytes: int = -1
    seen: dict[bytes, Seen] = field(default_factory=dict)
    edited: dict[bytes, str] = field(default_factory=dict)
    made: Made = field(default_factory=dict)
    entries: dict[str, Entry | None] = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    ruleless: set[bytes] = field(default_factory=set)
    reader: TreeReader | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def start(self, base_tree: str, limit_bytes: int) -> None:
        """Forget everything when the memory is of another tree, or of another limit."""
        if (self.base_tree, self.limit_bytes) != (base_tree, limit_bytes):
            self.base_tree, self.limit_bytes = base_tree, limit_bytes
            self.seen = {}
            self.edited = {}
            self.made = {}
            self.entries = {}
            self.attributes = {}
            self.ruleless = set()
            self.reader = None

    def recall(self, path: bytes, signature: Signature) -> Seen | None:
        """Return what is known of a path when it still holds."""
        seen = self.seen.get(path)
        return seen if seen is not None and seen.certain and seen.signature == signature else None

    def find_new(self, found: Sequence[Entry]) -> list[Entry] | None:
        """Return which entries are not as they were in the last capture; None when all of them must be gone through.

        A scan tells what is as it was by the very same entry (see ``ScanMemory``). Of what is new only files and links can be
        put on top of the trees that were made then: a path that is gone, or hides others, has effects on its neighbours.
        """
        before = self.entries
        new = [entry for entry in found if before.get(entry.path) is not entry]
        known = sum(entry.path in before for entry in new)
        whole = before and len(found) - len(new) + known == len(before)
        return new if whole and all(entry.kind in ("file", "symlink") for entry in new) else None

    def keep(self, entries: Iterable[Entry]) -> None:
        """Remember entries of a capture that was stored, on top of those that it was built upon."""
        kept: dict[str, Entry | None] = dict(self.entries)
        for entry in entries:
            seen = self.seen.get(os.fsencode(entry.path))
            same = seen is None or (seen.certain and seen.signature == entry.signature)
            kept[entry.path] = entry if same else None
        self.entries = kept


def sign(found: os.stat_result) -> Signature:
    """Return what tells a file from what it was before: nobody but the kernel sets the time of its last change."""
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def read_file_clock(directory: Path) -> int:
    """Return what time the file system has, in nanoseconds: the clock that the times of files are taken from."""
    os.utime(directory)
    return directory.stat().st_ctime_ns
