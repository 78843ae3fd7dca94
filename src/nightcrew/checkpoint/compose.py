"""Several tasks' trees put together, one after the other, by git's own three-way merge."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from nightcrew.checkpoint.compare import list_differences
from nightcrew.checkpoint.objects import COMPRESSION, encode_commit, identify, loose_path
from nightcrew.host.git import Git, GitError
from nightcrew.host.tokens import nonce
from nightcrew.model.trees import Composition, Conflict

Part = tuple[str, str, str]
"""Name, tree it started from, tree it ended with."""


class Composer:
    """Merges in our store; nothing is checked out, nothing of the user is touched.

    Args:
        git: git on the store. objects: the store's object directory.
    """

    def __init__(self, git: Git, objects: Path) -> None:
        self._git = git
        self._objects = objects

    def compose(self, base_tree: str, parts: Sequence[Part]) -> Composition:
        """Put the change of every part on top of the base; a part that collides is left out and named."""
        tree = base_tree
        there: list[Part] = []
        conflicts: list[Conflict] = []
        for name, start, end in parts:
            merged, collisions = self._merge(start, tree, end)
            if collisions:
                conflicts.append(self._describe(name, collisions, there))
            else:
                tree = merged
                there.append((name, start, end))
        return Composition("" if conflicts else tree, tuple(conflicts))

    def _merge(self, start: str, ours: str, theirs: str) -> tuple[str, list[bytes]]:
        """Return the merged tree and the colliding paths (then the tree means nothing)."""
        if start in (ours, theirs) or ours == theirs:
            return (theirs if start == ours else ours), []
        origin = self._commit(start)
        sides = self._commit(ours, origin), self._commit(theirs, origin)
        # Moving files into directories that somebody renamed is a guess; a person did not review that place.
        done = self._git.run(
            "-c",
            "merge.directoryRenames=false",
            "merge-tree",
            "--write-tree",
            "--name-only",
            "--no-messages",
            "-z",
            *sides,
            check=False,
        )
        fields = done.stdout.split(b"\0")
        if done.code not in (0, 1):
            raise GitError(done)
        return fields[0].decode(), sorted({path for path in fields[1:] if path}) if done.code else []

    def _commit(self, tree: str, *parents: str) -> str:
        """Write a commit that only exists to tell git which tree the merge base is, and return its id.

        Nothing refers to it after the merge, so it is not flushed; it is written anew each time, which also mends one that
        a power loss cut short and keeps it away from the collector. Asking git for it would cost more than the merge.
        """
        data = encode_commit(tree, parents, "side of a merge", 1)
        name = identify("commit", data, len(tree))
        target = loose_path(self._objects, name)
        target.parent.mkdir(exist_ok=True)
        aside = self._objects / f"tmp_obj_{nonce()}"
        aside.write_bytes(zlib.compress(b"commit %d\0" % len(data) + data, COMPRESSION))
        aside.rename(target)
        return name

    def _describe(self, name: str, collisions: Sequence[bytes], there: Sequence[Part]) -> Conflict:
        """Name a part that collides, and those before it that changed one of the paths."""
        wanted = set(collisions)
        others = {
            other
            for other, start, end in there
            if any(each.path in wanted for each in list_differences(self._git, start, end))
        }
        return Conflict(name, tuple(os.fsdecode(path) for path in collisions), tuple(sorted(others)))
