"""The user's own edits at promoted paths: merged three ways where they are elsewhere in the file, refused where they are not."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.promote.content import find_converted
from nightcrew.promote.objects import compare_trees, try_merge, write_tree
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.standing import Standing

_AT_MOST_BYTES: Final = 16 << 20
"""Larger files are not merged with an edit of the user's; git would hardly do it better."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A file that a person has changed and that shall change.

    Attributes:
        path: where.
        base: entry that both changes started from.
        found: fingerprint of what stands there.
        new: entry that was to come.
    """

    path: str
    base: str
    found: str
    new: str


def can_merge(edit: Edit) -> bool:
    """Tell whether all three sides are regular files."""
    return all(side.startswith("100") for side in (edit.base, edit.found, edit.new))


def merge_edits(site: Site, tree: Standing, edits: Sequence[Edit], configured: Configured) -> dict[str, str]:
    """Merge what people wrote with what comes, in our store.

    Returns:
        path → entry of the merged file. What is not in it collides, or is nothing that can be merged: binary content,
        a file that goes through a filter or conversion, one that is being written right now.
    """
    converted = find_converted(site, [edit.path for edit in edits], configured)
    plain = [edit for edit in edits if edit.path not in converted]
    ours = {edit.path: entry for edit in plain if (entry := _store(site, tree, edit, configured))}
    sides = [edit for edit in plain if edit.path in ours]
    while sides:
        trees = [
            write_tree(site, {edit.path: edit.base for edit in sides}),
            write_tree(site, {edit.path: ours[edit.path] for edit in sides}),
            write_tree(site, {edit.path: edit.new for edit in sides}),
        ]
        merged, conflicts = try_merge(site.store, *trees)
        if not conflicts:
            changed = {each.path: each.new for each in compare_trees(site.store, trees[1], merged)}
            return {edit.path: changed.get(edit.path, ours[edit.path]) for edit in sides}
        sides = [edit for edit in sides if edit.path not in conflicts]
    return {}


def _store(site: Site, tree: Standing, edit: Edit, configured: Configured) -> str:
    """Put what stands at a path into our store; return its entry, empty when it is not what was seen."""
    data = _read(tree, edit.path)
    if data is None or tree.blob_id(data) != edit.found[7:]:
        return ""
    done = site.store.run("hash-object", "-w", "--stdin", "--no-filters", input=data)
    mode = edit.found[:6] if configured.file_mode else edit.base[:6]
    return f"{mode} {done.stdout.decode('ascii').strip()}"


def _read(tree: Standing, path: str) -> bytes | None:
    with tree.parent(path) as (directory, name):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _AT_MOST_BYTES:
            return None
        return file.read(_AT_MOST_BYTES + 1)
