"""Which export a newer one is laid on as a difference, and when it is made whole instead.

It is made whole when a difference could be wrong (a rule file changed, so files look different whose blobs are the
same), or would cost more than it saves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nightcrew.host.git import Git
from nightcrew.shadow.export import Base
from nightcrew.shadow.objects import Objects

# Files that decide how others look, or whether they are there.
_RULES: Final = frozenset({".gitattributes", ".gitmodules"})

# So many exports are compared with, unless one is so near (a hundredth of the paths) that looking on is not worth it.
_LOOKED_AT: Final = 4
_NEAR: Final = 0.01

_DELETED: Final = b"D"
_SUBMODULE: Final = 0o160000


@dataclass(frozen=True, slots=True)
class Layering:
    """When an export may be a difference.

    Attributes:
        max_layers: layers of files in a stack. Every one is looked into for a name that the ones above do not have: a
            hundred of them make the first look at a file a third slower (measured), sixteen a twentieth.
        max_share: largest part of the whole tree's paths that may lie in the layers above the whole export. Above
            a fifth, making it whole costs little more than the layers, and those of later commits get small again.
    """

    max_layers: int = 16
    max_share: float = 0.2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An export that another one could be laid on.

    Attributes:
        base: the export.
        entries: paths in it.
        changed: of those, how many lie in layers above the whole export.
    """

    base: Base
    entries: int
    changed: int


@dataclass(frozen=True, slots=True)
class Difference:
    """What a tree has otherwise than the one of an export.

    Attributes:
        tree: the newer tree.
        present: git mode and object id of what was added or changed, by path.
        deleted: what is not there any more.
    """

    tree: str
    present: Mapping[bytes, tuple[int, str]]
    deleted: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.present) + len(self.deleted)


def choose(
    objects: Objects, layering: Layering, tree: str, candidates: Iterable[Candidate], *, own: bool
) -> tuple[Base, Difference] | None:
    """Return the export with the smallest difference, of the few asked for last; None to make a whole one.

    Args:
        candidates: usable exports, the one asked for last first.
        own: the tree is in our own objects.
    """
    room = (c for c in candidates if len(c.base.lowers) < layering.max_layers)
    best: tuple[Base, Difference] | None = None
    for candidate in islice(room, _LOOKED_AT):
        found = find_difference(objects, candidate.base.tree, tree, own=own)
        fits = len(found) + candidate.changed <= layering.max_share * candidate.entries
        if fits and not _changes_rules(found) and (best is None or len(found) < len(best[1])):
            best = candidate.base, found
            if len(found) <= _NEAR * candidate.entries:
                break
    return best


def find_difference(objects: Objects, old_tree: str, new_tree: str, *, own: bool) -> Difference:
    """Ask git what differs between two trees."""
    git = Git(objects.repository.git_dir, env=objects.env, trusted=True)
    words = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none")
    # Our own objects always: the older export may be one of a snapshot.
    extra = objects.alternates(own=own or bool(objects.own))
    fields = git.run(*words, old_tree, new_tree, extra=extra).stdout.split(b"\0")
    present: dict[bytes, tuple[int, str]] = {}
    deleted = []
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        _, mode, _, object_id, kind = head.split(b" ")
        if kind == _DELETED:
            deleted.append(path)
        else:
            present[path] = int(mode, 8), object_id.decode()
    return Difference(new_tree, present, tuple(deleted))


def _changes_rules(difference: Difference) -> bool:
    if any(mode == _SUBMODULE for mode, _ in difference.present.values()):
        # The files of the older one would shine through.
        return True
    paths = (*difference.present, *difference.deleted)
    return any(os.fsdecode(path.rpartition(b"/")[2]).lower() in _RULES for path in paths)
