"""Many small packs into one: each capture leaves a pack, and git looks through all of them for every object."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nightcrew.host import crash
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock

# Looking an object up costs a few microseconds per pack; at 64 that is still below one start of git.
MAX_SMALL_PACKS: Final = 64
# Larger packs are left as they are, so that what was packed once is not copied again and again.
SMALL_BYTES: Final = 16 << 20


def compact(git: Git, store: Path, *, limit: int = MAX_SMALL_PACKS) -> bool:
    """Put the small packs together when there are more than ``limit``; tell whether that was done.

    Nothing is dropped, reachable or not: a tree is captured before a commit names it. The new pack is on disk and
    visible before the first old one goes, so a kill in between leaves every object there, some twice. When another
    process is at it, nothing is done.
    """
    directory = store / "objects" / "pack"
    if len(_small_packs(directory)) <= limit:
        return False
    lock = FileLock(store / "compact.lock")
    if not lock.acquire():
        return False
    try:
        old = _small_packs(directory)
        names = "".join(f"{pack.name}\n" for pack in old).encode()
        made = git.run(
            "pack-objects", "--stdin-packs", "-q", str(directory / "pack"), input=names, timeout_s=600
        )
        crash.point("checkpoint.compacted")
        kept = f"pack-{made.stdout.decode().strip()}.pack"
        for pack in old:
            if pack.name != kept:
                # The index first: without it git does not see the pack.
                pack.with_suffix(".idx").unlink(missing_ok=True)
                pack.unlink(missing_ok=True)
    finally:
        lock.release()
    return True


def _small_packs(directory: Path) -> list[Path]:
    """Return the packs that are published (have an index) and small."""
    packs = (index.with_suffix(".pack") for index in directory.glob("pack-*.idx"))
    return [pack for pack in packs if 0 < _size(pack) < SMALL_BYTES]


def _size(pack: Path) -> int:
    try:
        return pack.stat().st_size
    except FileNotFoundError:
        # Another process has just put it together with others.
        return 0
