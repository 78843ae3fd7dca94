"""What the export of a commit is: a stack of read-only layers and a private ``.git``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightcrew.shadow.names import GIT


@dataclass(frozen=True, slots=True)
class Base:
    """The export of one commit.

    Attributes:
        commit, tree: full ids.
        lowers: absolute paths of its read-only layers, the newest first, the last one a whole export.
        skeleton: absolute path of a directory that holds the private ``.git`` and nothing else.
        modified_s: no exported file is younger, seconds since the epoch.
        submodules: paths of the submodules that are there as files.
        parent: commit of the export it is a difference to; empty for a whole one.
    """

    commit: str
    tree: str
    lowers: tuple[str, ...]
    skeleton: str
    modified_s: int
    parent: str = ""
    submodules: tuple[str, ...] = ()

    @property
    def index(self) -> Path:
        """Its index."""
        return Path(self.skeleton) / GIT / "index"

    @property
    def marks(self) -> Path:
        """What makes its index quick to search."""
        return Path(self.skeleton).with_name("marks")
