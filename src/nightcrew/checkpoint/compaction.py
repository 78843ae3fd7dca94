"""Many small packs into one: each capture leaves a pack, and most of what is in it is nearly like the last one's.

A capture stores whole directories, for speed. Put together, the versions of one directory, or of one file, become
differences to one another: git does that well when it is told the path of each object.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.inventory import StoredFile, ids_of, list_loose, list_packs
from nightcrew.checkpoint.layout import id_width
from nightcrew.checkpoint.objects import LARGE_BYTES, loose_path, read_loose_size
from nightcrew.host import crash
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import NightcrewError

LOG: Final = logging.getLogger("nightcrew.checkpoint")

# Looking an object up costs git a few microseconds per pack; at 64 that is still below one start of git.
MAX_SMALL_PACKS: Final = 64
# Larger packs are left as they are, so that what was packed once is not copied again and again.
SMALL_BYTES: Final = 64 << 20
# What waits to be put together may take this much, or this share of the store: with the goal of 1.3 times the
# changed contents (budgets.md) it must stay well below 0.3.
MAX_WAITING_BYTES: Final = 4 << 20
WAITING_SHARE: Final = 8
_TIMEOUT_S: Final = 600.0
_QUIET_S: Final = 5.0
_MOST_WAITS: Final = 12
"""So often it is put off while checkpoints keep coming; each of them adds about what it changed."""


class Tidying:
    """Puts the packs of one store together once no checkpoint has come for a moment: meanwhile it would take a core from them.

    Args:
        store: its directory.
        git: makes a git on it.
    """

    def __init__(self, store: Path, git: Callable[[], Git]) -> None:
        self._store = store
        self._git = git
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        self._noted = False
        self._hurry = threading.Event()

    def note(self) -> None:
        """Take note of a checkpoint: what there is to do is looked for when it has become quiet."""
        with self._turn:
            self._noted = True
            if self._thread is None or not self._thread.is_alive():
                # A process that ends leaves it: nothing is lost, and the next one begins anew.
                thread = threading.Thread(target=self._run, name="nightcrew-tidying", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    # No thread is to be had any more. The checkpoint is stored all the same; the next one tries again.
                    LOG.warning("packs of %s were not put together: %s", self._store, error)
                    return
                self._thread = thread

    def wait(self) -> None:
        """Do at once what is to be done, and come back when nothing is being put together."""
        with self._turn:
            thread = self._thread
            if thread is not None:
                self._hurry.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            for _ in range(_MOST_WAITS):
                self._noted = False
                if self._hurry.wait(_QUIET_S) or not self._noted:
                    break
            # What is noted from here on may have come too late to be seen.
            self._noted = False
            try:
                compact(self._git(), self._store)
            except (NightcrewError, OSError) as error:
                # A full disk, most likely. The checkpoint that began this is stored; the next one tries again.
                LOG.warning("packs of %s were not put together: %s", self._store, error)
            with self._turn:
                if not self._noted:
                    self._thread = None
                    self._hurry.clear()
                    return


def is_due(objects: Path, *, limit: int = MAX_SMALL_PACKS) -> bool:
    """Tell whether packs should be put together."""
    packs = list_packs(objects)
    small = _sort_small(packs)
    # The largest of them is what came out the last time.
    waiting = sum(pack.bytes for pack in small[:-1])
    total = sum(pack.bytes for pack in packs)
    return len(small) > limit or waiting > max(MAX_WAITING_BYTES, total // WAITING_SHARE)


def compact(git: Git, store: Path, *, limit: int = MAX_SMALL_PACKS) -> bool:
    """Put small packs, small loose objects and refs together when it is due; tell whether that was done.

    Nothing is dropped, reachable or not: a tree is captured before a commit names it. The new pack is on disk and
    visible before the first old one goes, so a kill in between leaves every object there, some twice. When another
    process is at it, nothing is done.

    Raises:
        GitError: git failed (a full disk); nothing is lost.
    """
    objects = store / "objects"
    if not is_due(objects, limit=limit):
        return False
    lock = FileLock(store / "compact.lock")
    if not lock.acquire():
        return False
    try:
        old = _sort_small(list_packs(objects))
        loose = _list_small_loose(objects)
        width = id_width(store)
        ids = {raw.hex() for pack in old for raw in ids_of(objects, pack.name, width)} | set(loose)
        kept = repack(git, store, ids)
        crash.point("checkpoint.compacted")
        remove_packs(objects, {pack.name for pack in old} - {kept})
        for name in loose:
            loose_path(objects, name).unlink(missing_ok=True)
        git.run("pack-refs", "--all", "--prune", timeout_s=_TIMEOUT_S)
    finally:
        lock.release()
    return True


def repack(git: Git, store: Path, ids: Collection[str]) -> str:
    """Write these objects into one pack, on disk and visible when this comes back; return its name without ending."""
    names = name_objects(git, ids)
    rows = b"".join(each.encode() + b" " + names.get(each, b"") + b"\n" for each in sorted(ids))
    made = git.run(
        "-c",
        "pack.compression=1",
        "pack-objects",
        "-q",
        "--delta-base-offset",
        str(store / "objects" / "pack" / "pack"),
        input=rows,
        timeout_s=_TIMEOUT_S,
    )
    return f"pack-{made.stdout.decode().strip()}"


def name_objects(git: Git, ids: Collection[str]) -> Mapping[str, bytes]:
    """Return at which path each object is, as far as commits among them tell; what is not found has no name.

    A name only decides which objects are compared with each other, so any problem here costs space and nothing else.
    """
    listed = git.run("for-each-ref", "--format=%(objectname)", timeout_s=_TIMEOUT_S).stdout.split()
    commits = [name for name in listed if name.decode() in ids]
    done = git.run(
        "diff-tree",
        "--stdin",
        "-r",
        "-t",
        "-m",
        "-z",
        "--raw",
        "--no-renames",
        "--full-index",
        "--no-commit-id",
        input=b"".join(name + b"\n" for name in commits),
        check=False,
        timeout_s=_TIMEOUT_S,
    )
    return dict(_read_names(done.stdout.split(b"\0")))


def remove_packs(objects: Path, names: Iterable[str]) -> None:
    """Remove packs; the index first: without it git does not see the pack."""
    for name in sorted(names):
        for ending in ("idx", "rev", "bitmap", "pack"):
            (objects / "pack" / f"{name}.{ending}").unlink(missing_ok=True)


def _list_small_loose(objects: Path) -> list[str]:
    """Return the loose objects that need not stay loose; a large one does, to be read in pieces."""
    found = []
    for each in list_loose(objects):
        try:
            if read_loose_size(loose_path(objects, each.name)) < LARGE_BYTES:
                found.append(each.name)
        except FileNotFoundError:
            # Removed by a collector this moment.
            continue
    return found


def _read_names(fields: list[bytes]) -> Iterable[tuple[str, bytes]]:
    for head, path in pairwise(fields):
        if head.startswith(b":"):
            # The top directory has no row: it is named by nothing and differs in size from all others anyway.
            yield head.split(b" ")[3].decode(), path.replace(b"\n", b"?")


def _sort_small(packs: Iterable[StoredFile]) -> list[StoredFile]:
    return sorted((pack for pack in packs if 0 < pack.bytes < SMALL_BYTES), key=lambda pack: pack.bytes)
