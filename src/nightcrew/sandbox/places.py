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
