"""Submodules of an export: those the user has checked out are there as files, the others as empty directories.

What is shown is the commit that the base commit names, not what the user's working tree of the submodule has. A task
can read, build and run it; what it changes in there is refused by name, because it would have to become a commit of
another repository.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from nightcrew.host.indexfile import IndexFile
from nightcrew.host.repository import discover
from nightcrew.model.errors import NightcrewError, NotFound
from nightcrew.model.trees import Entry
from nightcrew.shadow.exporting import Exporter
from nightcrew.shadow.layers import is_opaque, is_whiteout
from nightcrew.shadow.objects import Objects

_RULES: Final = ".gitmodules"


def check_out_submodules(
    root: Path, index: IndexFile, tree: Path, modified_s: int, env: Mapping[str, str]
) -> Iterator[str]:
    """Fill the directories of submodules in an export and yield their paths, those inside others too.

    Args:
        root: the user's working tree; index: of the export; tree: its files.
        modified_s: modification time for all files, seconds since the epoch; env: environment for git.

    Raises:
        GitError: git could not check one out.
    """
    if not (tree / _RULES).is_file():
        return
    for name, commit in index.submodules():
        path = os.fsdecode(name)
        place = root / path
        if not (place / ".git").exists() or os.path.realpath(place) != f"{os.path.realpath(root)}/{path}":
            continue
        try:
            repository = discover(place, env, need_commit=False)
            objects = Objects(repository, env)
            objects.find(commit)
        except NotFound:
            # Not fetched by the user either.
            continue
        except NightcrewError as error:
            raise NotFound(
                f"the submodule {path} cannot be read: {error.message}",
                code="shadow.submodule",
                hint=error.hint or f"git submodule update --init {path}",
            ) from error
        mini = tree.parent / "submodule"
        Exporter(objects, tree / path, own=False).check_out(mini, commit)
        inside = IndexFile(mini.read_bytes(), len(commit) // 2).with_times(tree / path, modified_s)
        mini.unlink()
        yield path
        below = check_out_submodules(place, inside, tree / path, modified_s, env)
        yield from (f"{path}/{further}" for further in below)


def refuse_inside(
    entries: Iterable[Entry], submodules: Collection[str], is_gone: Callable[[str], bool]
) -> Iterator[Entry]:
    """Yield the entries of a scan, with a refusal for what lies in a submodule, and one deletion for one that is gone."""
    if not submodules:
        yield from entries
        return
    told: set[str] = set()
    for entry in entries:
        around = next((path for path in submodules if entry.path.startswith(f"{path}/")), "")
        if not around:
            yield entry
        elif not is_gone(around):
            yield Entry(
                entry.path, "refused", detail="changed inside a submodule, which a task can only read"
            )
        elif around not in told:
            told.add(around)
            yield Entry(around, "deleted")


def is_below(path: str, others: Collection[str]) -> bool:
    """Tell whether a path is one of others or lies in one of them."""
    return any(path == other or path.startswith(f"{other}/") for other in others)


def is_gone_in_layer(upper: str, path: str) -> bool:
    """Tell whether a writable layer hides a directory that the layers under it have."""
    place = upper
    hidden = False
    for name in path.split("/"):
        place = f"{place}/{name}"
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return hidden
        if is_whiteout(found) or not stat.S_ISDIR(found.st_mode):
            return True
        hidden = hidden or is_opaque(place)
    return False
