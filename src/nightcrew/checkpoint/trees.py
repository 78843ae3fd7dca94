"""Trees with a few paths replaced: the cost is the directories on the way to those paths, not the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from nightcrew.checkpoint.objects import (
    MODE_GITLINK,
    MODE_TREE,
    Rows,
    TreeEntry,
    decode_row,
    encode_row,
    is_same_kind,
    join_rows,
    split_rows,
)

ReadObject = Callable[[str], bytes]
ReadObjects = Callable[[Sequence[str]], Sequence[bytes]]
WriteTree = Callable[[bytes], str]
Made = dict[bytes, tuple[bytes | None, dict[bytes, bytes | None], TreeEntry | None]]
"""Directory → (its row in the old tree, what became of the names touched in it, the row made of that)."""


class TreeReader:
    """Directories of git trees, each read once.

    Args:
        read: gives the content of one object.
        read_many: gives that of several at the price of one question; without it they are read one by one.
    """

    def __init__(self, read: ReadObject, read_many: ReadObjects | None = None) -> None:
        self._read = read
        self._read_many = read_many
        self._known: dict[str, Rows] = {}
        self._directories: dict[tuple[str, bytes], str] = {}

    def rows(self, tree: str) -> dict[bytes, TreeEntry]:
        """Return the entries of a tree object by name."""
        return {name: decode_row(row, len(tree)) for name, row in self.raw_rows(tree).items()}

    def raw_rows(self, tree: str) -> Rows:
        """Return the rows of a tree object by name, encoded, in git's order; not to be changed by the caller."""
        rows = self._known.get(tree)
        if rows is None:
            rows = self._known[tree] = split_rows(self._read(tree), len(tree))
        return rows

    def find(self, tree: str, path: bytes) -> TreeEntry | None:
        """Return what a tree has at a path, or None."""
        row = self.find_row(tree, path)
        return None if row is None else decode_row(row, len(tree))

    def find_row(self, tree: str, path: bytes) -> bytes | None:
        """Return the encoded row of a path, or None."""
        directory, _, name = path.rpartition(b"/")
        inside = self._find_directory(tree, directory) if directory else tree
        return self.raw_rows(inside).get(name) if inside else None

    def find_leaf(self, tree: str, path: bytes) -> TreeEntry | None:
        """Return what a tree has at a path that is not a directory, or None."""
        found = self.find(tree, path)
        return None if found is None or found.is_tree else found

    def _find_directory(self, tree: str, path: bytes) -> str:
        """Return the tree object of a directory, empty when there is none; each is looked for once."""
        found = self._directories.get((tree, path))
        if found is None:
            entry = self.find(tree, path)
            found = entry.id if entry is not None and entry.is_tree else ""
            self._directories[tree, path] = found
        return found

    def walk(self, tree: str, prefix: bytes = b"") -> Iterator[tuple[bytes, TreeEntry]]:
        """Yield every path of a tree that is not a directory."""
        for name, entry in self.rows(tree).items():
            if entry.is_tree:
                yield from self.walk(entry.id, prefix + name + b"/")
            else:
                yield prefix + name, entry

    def prepare(self, tree: str, paths: Collection[bytes]) -> None:
        """Read the directories above these paths, all of one depth with one question."""
        directories = {path.rpartition(b"/")[0] for path in paths}
        if (
            self._read_many is None
            or len(paths) < 2
            or all(not d or (tree, d) in self._directories for d in directories)
        ):
            return
        level: dict[tuple[bytes, ...], str] = {(): tree}
        wanted = {tuple(directory.split(b"/")) for directory in directories if directory}
        while level:
            missing = sorted({tree for tree in level.values() if tree not in self._known})
            for name, data in zip(missing, self._read_many(missing), strict=True):
                self._known[name] = split_rows(data, len(name))
            level = self._descend(level, wanted)
            wanted = {way for way in wanted if len(way) >= len(next(iter(level), ()))}

    def _descend(
        self, level: dict[tuple[bytes, ...], str], wanted: Collection[tuple[bytes, ...]]
    ) -> dict[tuple[bytes, ...], str]:
        depth = len(next(iter(level)))
        below: dict[tuple[bytes, ...], str] = {}
        for way in {way[: depth + 1] for way in wanted if len(way) > depth and way[:depth] in level}:
            row = self._known[level[way[:-1]]].get(way[-1])
            if row is not None:
                entry = decode_row(row, len(level[way[:-1]]))
                if entry.is_tree:
                    below[way] = entry.id
        return below


@dataclass(slots=True)
class _Node:
    """What happens at one path: new content, or nothing of the old, or only something further down.

    ``fresh``: not the same as in the edit before.
    """

    leaf: TreeEntry | None = None
    cleared: bool = False
    fresh: bool = False
    below: dict[bytes, _Node] = field(default_factory=dict)


class TreeEdit:
    """Edits on top of a base tree, written as new tree objects by ``write``.

    ``put`` wins over whatever the base has at and below its path; ``clear`` removes that; both may be followed by
    edits below the same path (a file that became a directory).

    Args:
        reader: reads trees.
        tree: what is edited.
        before: ``made`` of an earlier edit of the *same* tree whose directories were stored; those with the same
            edits are not made again.
    """

    def __init__(self, reader: TreeReader, tree: str, before: Made | None = None) -> None:
        self._reader = reader
        self._tree = tree
        self._root = _Node()
        self._before = before or {}
        self.made: Made = {}
        """After ``write``: what became of every directory that was touched."""
        self.blocked: list[str] = []
        """After ``write``: paths that lie inside a submodule and were left out."""

    def put(self, path: bytes, entry: TreeEntry, *, fresh: bool = True) -> None:
        """Have this entry at this path; ``fresh`` is False when the edit before had the very same."""
        self._node(path, fresh).leaf = entry

    def clear(self, path: bytes, *, fresh: bool = True) -> None:
        """Have nothing that the base tree has at or below this path; ``fresh`` as for ``put``."""
        node = self._node(path, fresh)
        node.cleared, node.leaf = True, None

    def leave(self, path: bytes) -> None:
        """Have at this path what the base tree has; said of every path that the edit before changed and this one does not."""
        self._node(path, fresh=True)

    def write(self, write: WriteTree) -> str:
        """Write the directories that differ from the base, deepest first, and return the id of the new tree."""
        self.blocked.clear()
        self.made = dict(self._before)
        base = TreeEntry(MODE_TREE, self._tree)
        made = self._make(self._root, base, b"", write)
        return write(b"") if made is None else made.id

    def _node(self, path: bytes, fresh: bool) -> _Node:
        node = self._root
        node.fresh |= fresh
        for name in path.split(b"/"):
            below = node.below.get(name)
            if below is None:
                below = node.below[name] = _Node()
            node = below
            node.fresh |= fresh
        return node

    def _make(self, node: _Node, old: TreeEntry | None, path: bytes, write: WriteTree) -> TreeEntry | None:
        """Return what stands at ``path`` in the new tree, None for nothing."""
        if node.leaf is not None:
            self._forget(node, path)
            return node.leaf
        if node.cleared:
            old = None
        key = None if old is None else encode_row(b"", old)
        before = self._before.get(path)
        if before is not None and before[0] == key and not node.fresh:
            return before[2]
        if old is not None and old.mode == MODE_GITLINK and node.below:
            self._forget(node, path)
            self._block(node, path)
            return old
        rows = self._reader.raw_rows(old.id) if old is not None and old.is_tree else {}
        edits = self._make_below(node, rows, path, write)
        if before is not None and before[:2] == (key, edits):
            made = before[2]
        else:
            made = combine(old, rows, edits, write)
        self.made[path] = (key, edits, made)
        return made

    def _make_below(
        self, node: _Node, rows: Rows, path: bytes, write: WriteTree
    ) -> dict[bytes, bytes | None]:
        """Return the new row of every name that is touched in a directory, None for one that is not there."""
        edits: dict[bytes, bytes | None] = {}
        for name, child in node.below.items():
            row = rows.get(name)
            entry = None if row is None else decode_row(row, len(self._tree))
            made = self._make(child, entry, path + name + b"/", write)
            edits[name] = None if made is None else encode_row(name, made)
        return edits

    def _forget(self, node: _Node, path: bytes) -> None:
        """Keep nothing of what was made below a path that is not looked into: its edits may have changed unseen."""
        if node.below:
            self.made = {place: made for place, made in self.made.items() if not place.startswith(path)}

    def _block(self, node: _Node, path: bytes) -> None:
        for name, child in node.below.items():
            if child.leaf is not None:
                self.blocked.append(os.fsdecode(path + name))
            self._block(child, path + name + b"/")


def combine(
    old: TreeEntry | None, rows: Rows, edits: dict[bytes, bytes | None], write: WriteTree
) -> TreeEntry | None:
    """Return the directory that these edits make of these rows, None when nothing is left in it."""
    merged = rows | edits
    if None in edits.values():
        new = {name: row for name, row in merged.items() if row is not None}
    else:
        new = cast("Rows", merged)
    if new == rows and old is not None:
        # Nothing changed; or only deletions below something that is not a directory.
        return old
    if not new:
        return None
    # The order of rows is another one only where a name is new, or has become a directory or ceased to be one.
    in_place = True
    for name, row in edits.items():
        if row is not None and not is_same_kind(row, rows.get(name, b"")):
            in_place = False
            break
    return TreeEntry(MODE_TREE, write(b"".join(new.values()) if in_place else join_rows(new)))
