"""The files of a working tree that say what names on a command line stand for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nightcrew.policy.lines.project import Project

_MAX_BYTES = 1 << 20


def read_project(root: str) -> Project | None:
    """Return where names are looked up for the working tree at ``root``; None when there is none."""
    if not root:
        return None
    top = Path(root)

    def read(path: str) -> str | None:
        try:
            opened = os.open(top / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (
            OSError
        ):  # no such file, a link, or nothing that we may read: the name stands for nothing known
            return None
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return None
            data = file.read(_MAX_BYTES + 1)
        return data.decode("utf-8", "replace") if len(data) <= _MAX_BYTES else None

    return Project(read)
