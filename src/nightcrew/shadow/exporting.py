"""Writing the files of a commit, all of them or a layer with what differs, as the user's git checks them out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from nightcrew.host import files
from nightcrew.host.git import Git
from nightcrew.host.indexfile import IndexFile
from nightcrew.shadow.export import Base
from nightcrew.shadow.layering import Difference
from nightcrew.shadow.layers import Stack, white_out
from nightcrew.shadow.objects import Objects

_TIMEOUT_S: Final = 1800.0
_PATHS_AT_ONCE: Final = 500

# An index of our own: in one file, complete, in the form that `indexfile` understands; submodules stay empty.
_CHECKOUT: Final = (
    ("core.splitIndex", "false"),
    ("index.version", "2"),
    ("index.sparse", "false"),
    ("index.skipHash", "false"),
    ("core.untrackedCache", "false"),
    ("submodule.recurse", "false"),
    ("checkout.workers", "0"),
)


class Exporter:
    """Writes into one directory.

    Args:
        objects: where the commit is.
        target: empty directory for the files.
        own: the commit is in our own objects.
    """

    def __init__(self, objects: Objects, target: Path, *, own: bool) -> None:
        self._objects = objects
        self._target = target
        self._own = own

    def check_out(self, index: Path, treeish: str, *more: str) -> None:
        """Write all files of a commit or tree and an index of them; ``more``: further object directories."""
        extra = self._objects.alternates(*more, own=self._own)
        self._run(index, "read-tree", "-m", "-u", treeish, extra=extra)

    def write_layer(self, difference: Difference, under: Base, modified_s: int) -> dict[bytes, bytes | None]:
        """Write a difference as an overlay layer and return what it changes in the index.

        Git checks out what is new and, so that attributes are found, the rule files beside and above it. Thus
        filters, line endings and sparse patterns are those of a whole checkout.
        """
        present = dict(difference.present)
        present |= self._find_rules(difference.tree, present)
        changes: dict[bytes, bytes | None] = dict.fromkeys(difference.deleted)
        if present:
            changes.update(self._check_out_some(present, modified_s))
        gone = [os.fsdecode(path) for path in difference.deleted]
        white_out(self._target, gone, Stack(under.lowers))
        return changes

    def _check_out_some(
        self, present: Mapping[bytes, tuple[int, str]], modified_s: int
    ) -> dict[bytes, bytes]:
        """Check out nothing but these paths and return their index entries."""
        mini = self._target.with_name("mini")
        rows = [b"%o %s\t%s\0" % (mode, oid.encode(), path) for path, (mode, oid) in present.items()]
        self._run(mini, "update-index", "-z", "--index-info", data=b"".join(rows), extra={})
        if self._objects.repository.sparse:
            self._check_out_sparsely(mini)
        else:
            extra = self._objects.alternates(own=self._own)
            self._run(mini, "checkout-index", "--all", "--index", "--force", "--quiet", extra=extra)
        id_bytes = len(next(iter(present.values()))[1]) // 2
        made = IndexFile(mini.read_bytes(), id_bytes).with_times(self._target, modified_s)
        mini.unlink()
        return made.entries()

    def _check_out_sparsely(self, mini: Path) -> None:
        """Check out what the sparse patterns leave of an index: only ``read-tree`` heeds them, and it wants a tree."""
        scratch = self._target.with_name("scratch")
        scratch.mkdir()
        # No alternates here: git would touch an object of the user's that it finds there already.
        extra = {"GIT_OBJECT_DIRECTORY": str(scratch)}
        tree = self._run(mini, "write-tree", "--missing-ok", extra=extra).decode().strip()
        mini.unlink()
        self.check_out(mini, tree, str(scratch))
        files.remove_tree(scratch, inside=self._target.parent)

    def _find_rules(self, tree: str, paths: Iterable[bytes]) -> dict[bytes, tuple[int, str]]:
        """Return mode and id of every ``.gitattributes`` that has a say over one of the paths."""
        wanted = sorted({b".gitattributes", *(_join(d) for path in paths for d in _above(path))})
        extra = self._objects.alternates(own=self._own) | {"GIT_LITERAL_PATHSPECS": "1"}
        git = Git(self._objects.repository.git_dir, env=self._objects.env, trusted=True)
        found = {}
        for start in range(0, len(wanted), _PATHS_AT_ONCE):
            names = wanted[start : start + _PATHS_AT_ONCE]
            words = ("ls-tree", "-z", "--full-tree", tree, "--", *map(os.fsdecode, names))
            for row in git.run(*words, extra=extra).stdout.split(b"\0"):
                if row:
                    head, _, path = row.partition(b"\t")
                    mode, kind, object_id = head.split(b" ")
                    if kind == b"blob":
                        found[path] = int(mode, 8), object_id.decode()
        return found

    def _run(self, index: Path, *words: str, extra: dict[str, str], data: bytes = b"") -> bytes:
        repository = self._objects.repository
        git = Git(
            repository.git_dir,
            env=self._objects.env,
            work_tree=str(self._target),
            index_file=str(index),
            trusted=True,
        )
        settings = [word for key, value in _CHECKOUT for word in ("-c", f"{key}={value}")]
        return git.run(*settings, *words, input=data, extra=extra, timeout_s=_TIMEOUT_S).stdout


def _above(path: bytes) -> Iterator[bytes]:
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def _join(directory: bytes) -> bytes:
    return directory + b"/.gitattributes"
