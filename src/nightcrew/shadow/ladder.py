"""The ways to make a shadow, best first, and which of them this file system allows.

An overlay costs a mount and grows with the change. A copy that shares blocks (btrfs, xfs) costs a call per file and no
space. A plain copy costs the whole tree. What an agent sees and what a scan finds is the same with each.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, Literal

from nightcrew.shadow.copies import clone
from nightcrew.shadow.layers import hide, is_whiteout

Mode = Literal["overlay", "reflink", "copy"]

_WORDS: Final[dict[Mode, str]] = {
    "overlay": "overlay",
    "reflink": "copy that shares blocks",
    "copy": "plain copy",
}


def describe_mode(mode: Mode) -> str:
    """Return a mode in words."""
    return _WORDS[mode]


def choose_mode(directory: Path, *, overlay: bool) -> Mode:
    """Return the best way to make shadows.

    Args:
        directory: where they will lie; made when it is not there.
        overlay: an overlay can be mounted there, see ``IsolationReport.overlay``.
    """
    if overlay and marks_deletions(directory):
        return "overlay"
    return "reflink" if shares_blocks(directory) else "copy"


def marks_deletions(directory: Path) -> bool:
    """Tell, by trying it, whether a layer in a directory can say in the kernel's way that a path is gone."""
    with tempfile.TemporaryDirectory(dir=_make(directory)) as place:
        mark = Path(place) / "mark"
        hide(mark)
        return is_whiteout(mark.lstat())


def shares_blocks(directory: Path) -> bool:
    """Tell, by trying it, whether the file system of a directory lets two files share their blocks."""
    with (
        tempfile.TemporaryFile(dir=_make(directory)) as source,
        tempfile.TemporaryFile(dir=directory) as target,
    ):
        source.write(bytes(1 << 16))
        source.flush()
        return clone(source.fileno(), target.fileno())


def _make(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory
