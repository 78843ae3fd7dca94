"""Paths as text."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final

_MOST_KEPT: Final = 1024


def lies_in(path: str, directory: str) -> bool:
    """Tell whether ``path`` is ``directory`` or below it, as text."""
    path, directory = _normal(path), _normal(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")


@lru_cache(_MOST_KEPT)
def _normal(path: str) -> str:
    """As ``os.path.normpath``; the same few places are asked about at every start."""
    return os.path.normpath(path)


def real_path(path: str) -> str:
    """As ``os.path.realpath``, but asked of the kernel at once, not for each part of the path."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return os.path.realpath(path)
    try:
        found = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return os.path.realpath(path)
    finally:
        os.close(fd)
    # What has been removed meanwhile, or lies out of reach, has no such name.
    return found if found.startswith("/") and not found.endswith(" (deleted)") else os.path.realpath(path)
