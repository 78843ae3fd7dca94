"""Removing what no shadow needs any more: how old something is, how much its removal frees."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from nightcrew.host import tokens

GRACE_S: Final = 900.0
"""What was asked for within this time is never collected, in seconds: somebody may be about to open a shadow on it."""


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
