"""Private directories for one run of one program, gone after it; what a killed host has left is swept away."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nightcrew.host import files


@contextlib.contextmanager
def private_place(scratch: Path) -> Iterator[Path]:
    """Yield a new, empty directory below ``scratch`` that only this user can enter; its path has no links in it."""
    files.ensure_private_directory(scratch)
    scratch = scratch.resolve()
    _sweep(scratch)
    place = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=scratch))
    try:
        yield place
    finally:
        files.remove_tree(place, inside=scratch)


def _sweep(scratch: Path) -> None:
    for left in scratch.iterdir():
        if not Path("/proc", left.name.partition("-")[0]).exists():
            with contextlib.suppress(OSError):  # another host sweeps too
                files.remove_tree(left, inside=scratch)
