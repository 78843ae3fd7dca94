"""What differs between two trees, read out of git's own diff."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from nightcrew.checkpoint.objects import MODE_LINK
from nightcrew.host.git import Git
from nightcrew.model.actions import PathChange

Counts = dict[bytes, tuple[int, int] | None]

_KINDS = {b"A": "added", b"D": "deleted", b"M": "modified", b"T": "typechange"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One path that differs, as git reports it; modes and ids of an absent side are 0 and empty."""

    path: bytes
    kind: str
    old_mode: int
    new_mode: int
    old_id: str
    new_id: str


def list_differences(git: Git, old_tree: str, new_tree: str) -> list[Difference]:
    """Return every differing path, sorted by name as bytes; renames are a deletion and an addition."""
    if old_tree == new_tree:
        return []
    done = git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", old_tree, new_tree)
    fields = done.stdout.split(b"\0")[:-1]
    return [_parse_raw(head, path) for head, path in zip(fields[::2], fields[1::2], strict=True)]


def list_with_counts(git: Git, old_tree: str, new_tree: str) -> tuple[list[Difference], Counts]:
    """Return every differing path with added and deleted lines by path, None for binary content."""
    if old_tree == new_tree:
        return [], {}
    done = git.run(
        "diff-tree", "-r", "-z", "--raw", "--numstat", "--no-renames", "--full-index", old_tree, new_tree
    )
    fields = iter(done.stdout.split(b"\0")[:-1])
    differences: list[Difference] = []
    counts: Counts = {}
    for field in fields:
        # Rows of --raw begin with a colon and have their path in the next field; counts never begin with one.
        if field.startswith(b":"):
            differences.append(_parse_raw(field, next(fields)))
        else:
            added, deleted, path = field.split(b"\t", 2)
            counts[path] = None if added == b"-" else (int(added), int(deleted))
    return differences, counts


def describe_changes(
    differences: Collection[Difference],
    counts: Counts,
    ignored: Collection[bytes],
    sizes: Mapping[str, int],
    read: Callable[[str], bytes],
) -> Iterator[PathChange]:
    """Turn differences into the values that policy and review look at.

    Args:
        differences, counts: from ``list_with_counts``.
        ignored: added paths that are not promoted.
        sizes: from ``measure``; read: content of a blob (asked for symbolic links only).
    """
    for difference in differences:
        counted = counts.get(difference.path, (0, 0))
        is_link = difference.new_mode == MODE_LINK
        yield PathChange(
            path=os.fsdecode(difference.path),
            kind=difference.kind,
            old_mode=difference.old_mode,
            new_mode=difference.new_mode,
            old_id=difference.old_id,
            new_id=difference.new_id,
            size_bytes=sizes[difference.new_id] if is_blob(difference) else 0,
            lines_added=counted[0] if counted else 0,
            lines_deleted=counted[1] if counted else 0,
            binary=counted is None,
            ignored=difference.path in ignored,
            link_target=os.fsdecode(read(difference.new_id)) if is_link else "",
        )


def is_blob(difference: Difference) -> bool:
    """Tell whether the new side is a file or a link (not a submodule, not nothing)."""
    return difference.new_mode & 0o170000 in (0o100000, 0o120000)


def _parse_raw(head: bytes, path: bytes) -> Difference:
    old_mode, new_mode, old_id, new_id, status = head.removeprefix(b":").split(b" ")
    modes = int(old_mode, 8), int(new_mode, 8)
    return Difference(
        path=path,
        kind=_KINDS[status[:1]],
        old_mode=modes[0],
        new_mode=modes[1],
        old_id=old_id.decode() if modes[0] else "",
        new_id=new_id.decode() if modes[1] else "",
    )
