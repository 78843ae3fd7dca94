"""Ignored environment folders of the user's working tree (node_modules, .venv): which there are."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from nightcrew.host.git import Git, GitError


def find_environment(git: Git, root: str, names: Collection[str]) -> tuple[str, ...]:
    """Return the environment folders, relative to the root, sorted.

    A folder counts when it is a real directory, its name (or its whole relative path) is among ``names``, and git
    ignores everything in it; what git would show is the user's own work and must not be seen half finished.

    Args:
        git: git on the user's repository with its working tree, trusted.
    """
    if not names:
        return ()
    listed = git.run("ls-files", "-o", "-i", "--exclude-standard", "--directory", "-z").stdout
    candidates = {found for raw in listed.split(b"\0") if (found := _cut(os.fsdecode(raw), names))}
    outermost = [c for c in sorted(candidates) if not any(c.startswith(f"{other}/") for other in candidates)]
    return tuple(c for c in outermost if _is_folder(Path(root), c) and _is_all_ignored(git, c))


def _cut(path: str, names: Collection[str]) -> str:
    """Return the part of an ignored path down to the first environment folder, empty when there is none."""
    parts = path.split("/")
    for depth, part in enumerate(parts[:-1], start=1):
        found = "/".join(parts[:depth])
        if part in names or found in names:
            return found
    return ""


def _is_folder(root: Path, path: str) -> bool:
    place = root / path
    return place.is_dir() and os.path.realpath(place) == str(place)


def _is_all_ignored(git: Git, path: str) -> bool:
    try:
        shown = git.run(
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            path,
            extra={"GIT_LITERAL_PATHSPECS": "1"},
        )
    except GitError:
        # A folder that vanished meanwhile.
        return False
    return not shown.stdout
