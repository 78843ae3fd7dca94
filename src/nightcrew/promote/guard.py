"""Which paths may be promoted at all, whatever the tree says."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable

from nightcrew.model.errors import DeniedByPolicy
from nightcrew.model.text import shown

GITLINK = "160000"

_IGNORED_BY_HFS = frozenset(
    "\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u206a\u206b\u206c\u206d\u206e\u206f\ufeff"
)
"""Characters that HFS+ drops when it compares names; the list is git's own (utf8.c, next_hfs_char)."""


def find_fault(path: str) -> str:
    """Return in words why a path is refused, empty when it is fine.

    Paths are repository-relative with ``/``. What another system would take for ``.git`` counts as ``.git``: the
    repository may be cloned there.
    """
    if not path or path.startswith("/") or "\0" in path:
        return "not a path inside the repository"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "not a plain path"
        if _means_git(part):
            return "inside a git directory"
    return ""


def _means_git(part: str) -> bool:
    if part.isascii() and "git" not in part.lower():
        return False
    plain = "".join(c for c in part if c not in _IGNORED_BY_HFS)
    for name in (part, plain):
        folded = unicodedata.normalize("NFKC", name).casefold().split(":", 1)[0].rstrip(" .")
        if folded in (".git", "git~1"):
            return True
    return False


def refuse_bad_paths(entries: Iterable[tuple[str, str, str]], allow: Collection[str] | None) -> None:
    """Refuse a change that holds a path or a kind of entry that is never promoted.

    Args:
        entries: path, old entry and new entry (``<mode> <id>``) of each difference.
        allow: paths that were reviewed; None for no such list.

    Raises:
        DeniedByPolicy: all of them are named; nothing was changed.
    """
    faults = []
    for path, old, new in entries:
        fault = find_fault(path)
        if not fault and GITLINK in (old[:6], new[:6]):
            fault = "a submodule; move it to another commit by hand"
        if not fault and allow is not None and path not in allow:
            fault = "not among the paths that were reviewed"
        if fault:
            faults.append(f"{shown(path)}: {fault}")
    if faults:
        raise DeniedByPolicy(
            f"{len(faults)} of the paths cannot be promoted; nothing was changed",
            code="promote.path",
            where=faults,
            hint="reject the task that changes them, or leave them out",
        )
