"""Removing what no shadow needs any more: how old something is, how much its removal frees."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nightcrew.host import files, tokens
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable

GRACE_S: Final = 900.0
"""What was asked for within this time is never collected, in seconds: somebody may be about to open a shadow on it."""

_MOMENT_S: Final = 60.0
"""So long something without a lock counts as being made, or removed, by a process that is at it."""
_TRIES: Final = 10


class Ages:
    """Tells what was touched lately, by the clock of the file system that it lies on.

    Args:
        directory: where to ask that clock; made when it is not there.
        grace_s: how long ago is lately, in seconds.
    """

    def __init__(self, directory: Path, grace_s: float) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"now-{tokens.nonce()}"
        probe.write_bytes(b"")
        self._since = probe.stat().st_mtime - grace_s
        probe.unlink()

    def is_fresh(self, place: Path) -> bool:
        """Tell whether a file was touched lately; one that is not there was not."""
        try:
            return place.stat().st_mtime > self._since
        except FileNotFoundError:
            return False


def measure_tree(place: Path) -> int:
    """Return the disk space a directory tree takes, in bytes; what is linked from elsewhere too does not count."""
    total = 0
    for directory, _, names in os.walk(place):
        total += os.lstat(directory).st_blocks
        for name in names:
            try:
                found = os.lstat(f"{directory}/{name}")
            except OSError:
                # Gone meanwhile, or in a directory that an agent closed to us: it counts for nothing.
                continue
            total += found.st_blocks if found.st_nlink == 1 else 0
    return total * 512


def make_aside(directory: Path, make: Callable[[Path], None]) -> tuple[Path, FileLock]:
    """Make and lock a directory for something that is not to be seen yet.

    Between its making and its lock a sweep cannot always tell it from what somebody left behind: then another one is made.

    Args:
        make: makes a directory.

    Raises:
        OSError: it cannot be made.
    """
    for _ in range(_TRIES):
        aside = directory / f".new-{tokens.nonce()}"
        make(aside)
        lock = FileLock(aside / "lock")
        try:
            if lock.acquire() and lock.path.exists():
                return aside, lock
        except EngineUnavailable:
            if aside.exists():
                raise
        lock.release()
    raise EngineUnavailable(
        f"another process removes what is made in {directory}",
        code="shadow.swept",
        hint="wait until nightcrew gc has come to its end",
    )


def sweep_aside(directory: Path, *, dry_run: bool = False) -> int:
    """Remove what interrupted processes left half made or half removed in a directory, and return the bytes that frees.

    What others are at stays.

    Args:
        dry_run: only tell what would become free.
    """
    lefts = list(directory.glob(".*"))
    if not lefts:
        return 0
    freed = 0
    os.utime(directory)
    since = directory.stat().st_mtime - _MOMENT_S
    for left in lefts:
        lock = FileLock(left / "lock")
        if not lock.path.exists() and _is_younger(left, since):
            # About to be locked; or about to be gone, with the lock before the rest.
            continue
        try:
            if lock.acquire():
                size = measure_tree(left)
                if not dry_run:
                    files.remove_tree(left, inside=directory)
                freed += size
        except FileNotFoundError:
            # Another process is removing it, too.
            continue
        except EngineUnavailable:
            if left.exists():
                raise
        finally:
            lock.release()
    return freed


def _is_younger(place: Path, since: float) -> bool:
    try:
        return place.stat().st_mtime > since
    except FileNotFoundError:
        return True
