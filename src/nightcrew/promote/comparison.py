"""Compares what stands on disk with entries of git's trees, as git itself would: through the user's clean filters."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from nightcrew.model.text import shown
from nightcrew.promote import standing
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.standing import Standing

UNREADABLE = "unreadable"


class Comparison:
    """Fingerprints of many paths, and whether they match entries.

    Args:
        site: whose filters apply.
        tree: the working tree.
        configured: what the user's configuration says.
        wanted: every path that will be asked about, with the entries it may match.
        ask_git: where none matches with its plain bytes, git is asked, which may run filters of the user's.
    """

    def __init__(
        self,
        site: Site,
        tree: Standing,
        configured: Configured,
        wanted: Mapping[str, Iterable[str]],
        *,
        ask_git: bool,
    ) -> None:
        self._configured = configured
        self.fingerprints = {path: look(tree, path) for path in wanted}
        unsure = [path for path, entries in wanted.items() if self._needs_git(path, entries)]
        self._cleaned = _clean_ids(site, unsure if ask_git else [])

    def matches(self, path: str, entry: str) -> bool:
        """Tell whether the path stands on disk as ``entry`` says (empty: nothing is there)."""
        found = self.fingerprints[path]
        if not entry or not found:
            return entry == found
        mode, object_id = entry.split(" ")
        return self._same_kind(mode, found) and object_id in (found[7:], self._cleaned.get(path))

    def _needs_git(self, path: str, entries: Iterable[str]) -> bool:
        found = self.fingerprints[path]
        if not found.startswith(("100644:", "100755:")):
            return False
        return not any(entry[7:] == found[7:] for entry in entries if entry)

    def _same_kind(self, mode: str, found: str) -> bool:
        on_disk = found[:6]
        if mode == standing.LINK and not self._configured.symlinks:
            return on_disk in (standing.FILE, standing.EXECUTABLE)
        if self._configured.file_mode or standing.LINK in (mode, on_disk):
            return mode == on_disk
        return on_disk in (standing.FILE, standing.EXECUTABLE)


def look(tree: Standing, path: str) -> str:
    """Return the fingerprint of a path, ``unreadable`` when permissions forbid to read it."""
    try:
        return tree.fingerprint(path)
    except PermissionError:
        return UNREADABLE


def _clean_ids(site: Site, paths: list[str]) -> dict[str, str]:
    if not paths:
        return {}
    done = site.git.run(
        "hash-object", "--stdin-paths", input=b"".join(_quote(path) + b"\n" for path in paths), check=False
    )
    ids = done.stdout.decode("ascii", "replace").split()
    # A file that vanished, or a filter that failed: nobody can say that these are unmodified.
    return dict(zip(paths, ids, strict=True)) if done.code == 0 and len(ids) == len(paths) else {}


def _quote(path: str) -> bytes:
    """Quote a path as git does in line-based lists (C style, every unusual byte in octal)."""
    raw = os.fsencode(path)
    return (
        b'"' + b"".join(bytes([b]) if 32 < b < 127 and b not in b'"\\' else b"\\%03o" % b for b in raw) + b'"'
    )


def describe(found: str, old: str, staged: str | None) -> str:
    """Say in words how a path differs from what the commit has.

    Args:
        found: fingerprint on disk.
        old: entry the commit has.
        staged: entry in the index where it is neither the old nor the new one; None when it is one of them.
    """
    if staged is not None:
        return "has a staged change" if staged else "is staged for deletion"
    if found == UNREADABLE:
        return "cannot be read"
    if found == standing.BEHIND_LINK:
        return "a symbolic link stands in place of its directory"
    if found == standing.OTHER:
        return "is not a regular file (or is being written right now)"
    if not old:
        return "an untracked or ignored file is there already"
    if not found:
        return "was deleted here, not committed"
    if found.startswith("dir"):
        return "is a directory here"
    return _describe_edit(found, old)


def _describe_edit(found: str, old: str) -> str:
    if found[:6] != old[:6] and standing.LINK in (found[:6], old[:6]):
        return "changed its type here, not committed"
    if found[7:] == old[7:]:
        return "has another mode here, not committed"
    return "was edited here, not committed"


def name_path(path: str, words: str) -> str:
    """Return a line for a person: the path with hostile characters shown, and what is the matter."""
    return f"{shown(path)}: {words}"
