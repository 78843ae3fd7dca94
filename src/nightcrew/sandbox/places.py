"""Paths as text."""

from __future__ import annotations

import os


def lies_in(path: str, directory: str) -> bool:
    """Tell whether ``path`` is ``directory`` or below it, as text."""
    path, directory = os.path.normpath(path), os.path.normpath(directory)
    return path == directory or path.startswith(directory.rstrip("/") + "/")
