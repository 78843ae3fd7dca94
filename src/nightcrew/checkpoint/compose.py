"""Several tasks' trees put together, one after the other, by git's own three-way merge."""

from __future__ import annotations

import os
from collections.abc import Sequence

from nightcrew.checkpoint.compare import list_differences
from nightcrew.host.git import Git, GitError
from nightcrew.model.trees import Composition, Conflict

Part = tuple[str, str, str]
"""Name, tree it started from, tree it ended with."""

# Commits that only exist to tell git which tree is the merge base; the same trees give the same commits.
_NOBODY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "nightcrew"), ("EMAIL", "nightcrew@localhost"), ("DATE", "@1 +0000"))
}


class Composer:
    """Merges in our store; nothing is checked out, nothing of the user is touched."""

    def __init__(self, git: Git) -> None:
        self._git = git

    def compose(self, base_tree: str, parts: Sequence[Part]) -> Composition:
        """Put the change of every part on top of the base; a part that collides is left out and named."""
        tree = base_tree
        touched: dict[bytes, list[str]] = {}
        conflicts: list[Conflict] = []
        for name, start, end in parts:
            merged, collisions = self._merge(start, tree, end)
            if collisions:
                conflicts.append(_describe(name, collisions, touched))
                continue
            tree = merged
            for difference in list_differences(self._git, start, end):
                touched.setdefault(difference.path, []).append(name)
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
        words = [word for parent in parents for word in ("-p", parent)]
        done = self._git.run("commit-tree", tree, *words, "-m", "side of a merge", extra=_NOBODY)
        return done.stdout.decode().strip()


def _describe(name: str, collisions: Sequence[bytes], touched: dict[bytes, list[str]]) -> Conflict:
    others = {other for path in collisions for other in touched.get(path, ())}
    return Conflict(name, tuple(os.fsdecode(path) for path in collisions), tuple(sorted(others)))
