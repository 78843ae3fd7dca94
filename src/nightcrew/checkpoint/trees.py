"""Trees with a few paths replaced: the cost is the directories on the way to those paths, not the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nightcrew.checkpoint.objects import MODE_GITLINK, MODE_TREE, TreeEntry, encode_tree, parse_tree

ReadObject = Callable[[str], bytes]
WriteTree = Callable[[bytes], str]


class TreeReader:
    """Directories of git trees, each read once."""

    def __init__(self, read: ReadObject) -> None:
        self._read = read
        self._known: dict[str, dict[bytes, TreeEntry]] = {}

    def rows(self, tree: str) -> dict[bytes, TreeEntry]:
        """Return the rows of a tree object; not to be changed by the caller."""
        rows = self._known.get(tree)
        if rows is None:
            rows = self._known[tree] = parse_tree(self._read(tree), len(tree))
        return rows

    def find(self, tree: str, path: bytes) -> TreeEntry | None:
        """Return what a tree has at a path, or None."""
        entry: TreeEntry | None = TreeEntry(MODE_TREE, tree)
        for name in path.split(b"/"):
            if entry is None or not entry.is_tree:
                return None
            entry = self.rows(entry.id).get(name)
        return entry

    def walk(self, tree: str, prefix: bytes = b"") -> Iterator[tuple[bytes, TreeEntry]]:
        """Yield every path of a tree that is not a directory."""
        for name, entry in self.rows(tree).items():
            if entry.is_tree:
                yield from self.walk(entry.id, prefix + name + b"/")
            else:
                yield prefix + name, entry


@dataclass(slots=True)
class _Node:
    """What happens at one path: new content, or nothing of the old, or only something further down."""

    leaf: TreeEntry | None = None
    cleared: bool = False
    below: dict[bytes, _Node] = field(default_factory=dict)


class TreeEdit:
    """Edits on top of a base tree, written as new tree objects by ``write``.

    ``put`` wins over whatever the base has at and below its path; ``clear`` removes that; both may be followed by
    edits below the same path (a file that became a directory).
    """

    def __init__(self, reader: TreeReader, tree: str) -> None:
        self._reader = reader
        self._tree = tree
        self._root = _Node()
        self.blocked: list[str] = []
        """After ``write``: paths that lie inside a submodule and were left out."""

    def put(self, path: bytes, entry: TreeEntry) -> None:
        """Have this entry at this path."""
        self._node(path).leaf = entry

    def clear(self, path: bytes) -> None:
        """Have nothing that the base tree has at or below this path."""
        node = self._node(path)
        node.cleared, node.leaf = True, None

    def write(self, write: WriteTree) -> str:
        """Write the directories that differ from the base, deepest first, and return the id of the new tree."""
        self.blocked.clear()
        base = TreeEntry(MODE_TREE, self._tree)
        made = self._make(self._root, base, b"", write)
        return write(b"") if made is None else made.id

    def _node(self, path: bytes) -> _Node:
        node = self._root
        for name in path.split(b"/"):
            node = node.below.setdefault(name, _Node())
        return node

    def _make(self, node: _Node, old: TreeEntry | None, path: bytes, write: WriteTree) -> TreeEntry | None:
        """Return what stands at ``path`` in the new tree, None for nothing."""
        if node.leaf is not None:
            return node.leaf
        if node.cleared:
            old = None
        if old is not None and old.mode == MODE_GITLINK and node.below:
            self._block(node, path)
            return old
        rows = dict(self._reader.rows(old.id)) if old is not None and old.is_tree else {}
        before = dict(rows)
        self._fill(node, rows, path, write)
        if rows == before and old is not None:
            # Nothing changed; or only deletions below something that is not a directory.
            return old
        return TreeEntry(MODE_TREE, write(encode_tree(rows))) if rows else None

    def _fill(self, node: _Node, rows: dict[bytes, TreeEntry], path: bytes, write: WriteTree) -> None:
        for name, child in node.below.items():
            made = self._make(child, rows.get(name), path + name + b"/", write)
            if made is None:
                rows.pop(name, None)
            else:
                rows[name] = made

    def _block(self, node: _Node, path: bytes) -> None:
        for name, child in node.below.items():
            if child.leaf is not None:
                self.blocked.append(os.fsdecode(path + name))
            self._block(child, path + name + b"/")
