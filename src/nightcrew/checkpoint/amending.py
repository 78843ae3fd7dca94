"""Some more paths on top of trees that an earlier edit made: the cost is that of those paths, however many were edited before."""

from __future__ import annotations

from collections.abc import Mapping

from nightcrew.checkpoint.objects import MODE_TREE, TreeEntry, decode_row, encode_row
from nightcrew.checkpoint.trees import Made, TreeReader, WriteTree, combine


class _Unfit(Exception):
    """What is edited does not only add to what was edited before."""


class Amendment:
    """Files and links that are new or other than in an edit before, while all else of that edit stays.

    Args:
        reader: reads trees.
        tree: what was edited.
        before: ``made`` of the edit before, whose directories were stored. Left as it is.
    """

    def __init__(self, reader: TreeReader, tree: str, before: Made) -> None:
        self._reader = reader
        self._tree = tree
        self._before = before
        self.made: Made = dict(before)
        """After ``write``: what became of every directory that was touched, in this edit or before."""

    def write(self, leaves: Mapping[bytes, TreeEntry], write: WriteTree) -> str:
        """Write the directories that differ now, deepest first, and return the id of the new tree.

        Returns:
            Empty when these paths are in the way of others; then the whole edit has to be made anew.
        """
        levels: dict[int, dict[bytes, dict[bytes, bytes | None]]] = {0: {b"": {}}}
        for path, entry in leaves.items():
            _touch(levels, path, entry)
        try:
            for depth in range(max(levels), 0, -1):
                for directory, edits in levels.get(depth, {}).items():
                    _touch(levels, directory[:-1], self._make(directory, edits, write))
            made = self._make(b"", levels[0][b""], write)
        except _Unfit:
            return ""
        return write(b"") if made is None else made.id

    def _make(self, directory: bytes, edits: dict[bytes, bytes | None], write: WriteTree) -> TreeEntry | None:
        """Return what a directory becomes; its path ends with a slash, that of the top directory is empty."""
        before = self._before.get(directory)
        if before is None:
            old = self._find_old(directory)
            key = None if old is None else encode_row(b"", old)
        else:
            key = before[0]
            old = None if key is None else decode_row(key, len(self._tree))
        if old is not None and not old.is_tree:
            raise _Unfit
        rows = {} if old is None else self._reader.raw_rows(old.id)
        if before is not None:
            edits = before[1] | edits
        made = combine(old, rows, edits, write)
        self.made[directory] = (key, edits, made)
        return made

    def _find_old(self, directory: bytes) -> TreeEntry | None:
        """Return what the tree has at a directory, None where it has nothing, or nothing of it is to be seen."""
        before = self._before.get(directory)
        if before is not None:
            return None if before[0] is None else decode_row(before[0], len(self._tree))
        if not directory:
            return TreeEntry(MODE_TREE, self._tree)
        above, _, name = directory[:-1].rpartition(b"/")
        parent = self._find_old(above + b"/" if above else b"")
        if parent is None:
            return None
        if not parent.is_tree:
            raise _Unfit
        row = self._reader.raw_rows(parent.id).get(name)
        return None if row is None else decode_row(row, len(self._tree))


def _touch(
    levels: dict[int, dict[bytes, dict[bytes, bytes | None]]], path: bytes, entry: TreeEntry | None
) -> None:
    """Note what a path becomes with the directory that it is in."""
    above, _, name = path.rpartition(b"/")
    directory = above + b"/" if above else b""
    level = levels.setdefault(directory.count(b"/"), {})
    level.setdefault(directory, {})[name] = None if entry is None else encode_row(name, entry)
