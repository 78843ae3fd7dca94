"""Removing what nothing needs from the store, while others go on using it.

What is needed is found from roots that the caller names (rows of the journal, refs). A capture may at any moment rely
on an object that nothing refers to yet. So whatever was written or relied on lately stays, and the removal itself,
which takes a moment, is done under a lock that every writer shares, after a second look at the roots and the files.
A kill at any point leaves everything that is needed; some of it twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.compaction import remove_packs, repack
from nightcrew.checkpoint.inventory import (
    StoredFile,
    find_pack,
    list_leftovers,
    list_loose,
    list_packs,
    spans_of,
)
from nightcrew.checkpoint.layout import id_width
from nightcrew.checkpoint.objects import loose_path
from nightcrew.host import crash
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable

FindRoots = Callable[[], Collection[str]]

# A pack is written anew when at least this share of it (one part in so many) would become free.
WORTH: Final = 10
_WAIT_S: Final = 60.0
_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection freed, or would free.

    Attributes:
        bytes: on disk.
        packs: packs that were removed, or written anew without what nobody needs.
        loose: loose objects; leftovers: files of interrupted writers.
    """

    bytes: int = 0
    packs: int = 0
    loose: int = 0
    leftovers: int = 0


@dataclass(slots=True)
class _Found:
    """What can go: packs with their dead bytes, and what of them is needed; loose objects; leftovers."""

    packs: dict[str, tuple[StoredFile, int]] = field(default_factory=dict)
    needed: set[str] = field(default_factory=set)
    loose: list[StoredFile] = field(default_factory=list)
    leftovers: dict[Path, os.stat_result] = field(default_factory=dict)


def collect_store(
    git: Git, store: Path, find_roots: FindRoots, *, unused_since_ns: int, dry_run: bool
) -> Collected:
    """Remove the objects that no root reaches.

    Args:
        git: git on the store.
        store: its directory.
        find_roots: returns commits and trees that are needed, as it is now; called twice.
        unused_since_ns: what was written or relied on after this moment stays; in the clock of the file system.
        dry_run: only tell.

    Raises:
        EngineUnavailable: somebody else puts packs together, or writes, for too long; nothing was removed.
        GitError: git failed (a full disk); nothing was removed.
    """
    tidying = FileLock(store / "compact.lock")
    _take(tidying, "puts packs together")
    try:
        files = _list_unused(store, unused_since_ns)
        roots = set(find_roots())
        found = _find_dead(git, store, files, roots)
        if dry_run:
            return _count(found.packs.values(), found.loose, found.leftovers)
        if found.needed:
            repack(git, store, found.needed)
            crash.point("checkpoint.collect_repacked")
        return _remove(git, store, found, lambda: set(find_roots()) - roots)
    finally:
        tidying.release()


def mark(git: Git, roots: Collection[str], among: Collection[str]) -> set[str]:
    """Return which of the objects ``among`` the roots reach; a root that is gone reaches nothing."""
    if not roots or not among:
        return set()
    listed = git.run(
        "rev-list",
        "--objects",
        "--no-object-names",
        "--no-walk=unsorted",
        "--missing=allow-any",
        "--ignore-missing",
        "--stdin",
        input="".join(f"{root}\n" for root in sorted(roots)).encode(),
        timeout_s=_TIMEOUT_S,
    )
    return {name for line in listed.stdout.split() if (name := line.decode()) in among}


def using(store: Path) -> FileLock:
    """Return the lock that everybody shares who relies on objects that nothing refers to yet; take it with ``acquire``."""
    return FileLock(store / "use.lock", shared=True)


def _list_unused(store: Path, unused_since_ns: int) -> _Found:
    objects = store / "objects"
    found = _Found()
    # Before the roots are read: what comes later is not in these lists.
    found.packs = {p.name: (p, 0) for p in list_packs(objects) if p.used_ns < unused_since_ns}
    found.loose = [each for each in list_loose(objects) if each.used_ns < unused_since_ns]
    found.leftovers = {path: s for path, s in list_leftovers(objects) if s.st_mtime_ns < unused_since_ns}
    return found


def _find_dead(git: Git, store: Path, files: _Found, roots: Collection[str]) -> _Found:
    """Keep of the listed files those that are not needed, or not as they are."""
    width = id_width(store)
    spans = {
        name: {raw.hex(): size for raw, size in spans_of(store / "objects", name, width).items()}
        for name in files.packs
    }
    among = {each for rows in spans.values() for each in rows} | {each.name for each in files.loose}
    live = mark(git, roots, among)
    found = _Found(leftovers=files.leftovers, loose=[each for each in files.loose if each.name not in live])
    for name, (pack, _) in files.packs.items():
        dead = sum(size for each, size in spans[name].items() if each not in live)
        total = sum(spans[name].values())
        if dead and dead * WORTH >= total:
            found.packs[name] = (pack, dead if dead < total else pack.bytes)
            found.needed |= live & spans[name].keys()
    return found


def _remove(git: Git, store: Path, found: _Found, find_late: Callable[[], Collection[str]]) -> Collected:
    """Remove what is still as it was when it was looked at, and not needed by now either."""
    objects = store / "objects"
    lock = FileLock(store / "use.lock")
    _take(lock, "writes to the store")
    try:
        width = id_width(store)
        inside = {name: {raw.hex() for raw in spans_of(objects, name, width)} for name in found.packs}
        among = {each for ids in inside.values() for each in ids} | {each.name for each in found.loose}
        late = mark(git, find_late(), among - found.needed)
        packs = [
            (pack, dead)
            for name, (pack, dead) in found.packs.items()
            if find_pack(objects, name) == pack and not inside[name] & late
        ]
        loose = [each for each in found.loose if each.name not in late and _is_unchanged(objects, each)]
        now = dict(list_leftovers(objects))
        leftovers = {
            path: status
            for path, status in found.leftovers.items()
            if path in now and now[path].st_mtime_ns == status.st_mtime_ns
        }
        crash.point("checkpoint.collect_remove")
        remove_packs(objects, [pack.name for pack, _ in packs])
        for each in loose:
            loose_path(objects, each.name).unlink(missing_ok=True)
        for path in leftovers:
            path.unlink(missing_ok=True)
    finally:
        lock.release()
    return _count(packs, loose, leftovers)


def _count(
    packs: Iterable[tuple[StoredFile, int]],
    loose: Collection[StoredFile],
    leftovers: Mapping[Path, os.stat_result],
) -> Collected:
    freed = [dead for _, dead in packs]
    sizes = [*freed, *(each.bytes for each in loose), *(each.st_blocks * 512 for each in leftovers.values())]
    return Collected(sum(sizes), len(freed), len(loose), len(leftovers))


def _is_unchanged(objects: Path, file: StoredFile) -> bool:
    try:
        return os.stat(loose_path(objects, file.name)).st_mtime_ns == file.used_ns  # noqa: PTH116
    except FileNotFoundError:
        return False


def _take(lock: FileLock, what: str) -> None:
    if not lock.acquire(_WAIT_S):
        raise EngineUnavailable(
            f"{lock.holder() or 'another process'} {what}; nothing was removed",
            code="store.busy",
            hint="nightcrew gc, a little later",
        )
