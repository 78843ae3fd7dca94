"""Refs read from the files that git keeps them in, where these are in their usual form; what is not is left to git.

What is asked a dozen times in a promotion, where the branch is, then costs no process. Only ``refs/heads/`` and our own pins are
looked for: they hold commits and nothing else, and belong to all working trees.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_ID: Final = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\n?")
_BRANCH: Final = re.compile(rb"ref: (refs/heads/[^\n]+)\n?")
_SHARED: Final = ("refs/heads/", "refs/nightcrew/")
_ODD: Final = ("..", "//", "/.", "@{", "^", "~", ":", "?", "*", "[", "\\")
"""Not in the name of a ref; some of it means something to git where a commit is asked for."""


def read_head(git_dir: Path, common_dir: Path) -> tuple[str, str]:
    """Return the full name of the branch that is checked out, and its commit; empty what the files do not say plainly."""
    try:
        head = git_dir / "HEAD"
        found = None if head.is_symlink() else _BRANCH.fullmatch(head.read_bytes())
    except OSError:
        return "", ""
    if found is None or found[1].endswith(b"/.invalid"):
        return "", ""  # detached; a link, as it was long ago; another store of refs (reftable)
    branch = os.fsdecode(found[1])
    return branch, find_ref(common_dir, branch) or ""


def find_ref(common_dir: Path, ref: str) -> str | None:
    """Return the commit that a ref is at, empty when there is no such ref; None where the files do not say plainly."""
    if not ref.startswith(_SHARED) or ref.endswith(("/", ".lock")) or any(odd in ref for odd in _ODD):
        return None
    try:
        return _read_loose(common_dir / ref)
    except FileNotFoundError:
        pass
    except OSError:
        return None
    # Git writes the packed one before it takes the loose one away: who looks in this order misses neither.
    try:
        head = (common_dir / "HEAD").read_bytes()
        packed = _read_packed(common_dir)
    except OSError:
        return None
    if b".invalid" in head or not (_BRANCH.fullmatch(head) or _ID.fullmatch(head)):
        return None
    return _find_packed(packed, os.fsencode(ref))


def _read_loose(place: Path) -> str | None:
    # Long ago a symbolic ref was a link.
    found = None if place.is_symlink() else _ID.fullmatch(place.read_bytes())
    return None if found is None else found[1].decode("ascii")


def _read_packed(common_dir: Path) -> bytes:
    try:
        return (common_dir / "packed-refs").read_bytes()
    except FileNotFoundError:
        return b""


def _find_packed(packed: bytes, ref: bytes) -> str | None:
    at = packed.find(b" " + ref + b"\n")
    if at < 0:
        return ""
    found = _ID.fullmatch(packed[packed.rfind(b"\n", 0, at) + 1 : at])
    return None if found is None else found[1].decode("ascii")
