"""Replaces the user's index by one in which the entries of promoted paths are new, and no others."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from nightcrew.host.cachetree import TreeIds
from nightcrew.host.files import sync_directory, sync_together
from nightcrew.host.git import Git
from nightcrew.host.indexfile import IndexFile, make_bare_entry
from nightcrew.promote.index import Reading, digest_of, read_bytes, read_entries, read_reading
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.transaction import IndexChange, Transaction

_NO_ID = {40: "0" * 40, 64: "0" * 64}
_END = "end:"
"""Before the hash that an index ends with, in ``index.sum``; alone there stands the SHA-256 of all of it."""
_COMPARISONS_AT_MOST = 5_000_000
"""Git compares every entry of the index with every path given (about 0.1 s for so many on a busy machine); beyond this its own next `git
status` looks for itself."""


class IndexSwap:
    """Replaces the user's index by one that differs in the promoted entries only. The lock must be ours."""

    def __init__(self, site: Site, transaction: Transaction, configured: Configured) -> None:
        self._site = site
        self._configured = configured
        self._index = Path(site.repository.git_dir) / "index"
        self._new = transaction.path / "index.new"
        self._old = transaction.path / "index.old"
        self._sum = transaction.path / "index.sum"
        self._back = transaction.path / "index.back"
        self._made: IndexFile | None = None

    def prepare(
        self, changes: Sequence[IndexChange], known: Reading, trees: Mapping[bytes, TreeIds] | None = None
    ) -> Reading:
        """Make the next index aside; return the reading of the one it was made of.

        Args:
            changes: entries to change.
            known: what was read of the index before; it is read again when it may be another one by now.
            trees: ids of directories before and after the changes, as far as they are known.

        Raises:
            GitError: git cannot write it (disk full).
            OSError: it cannot be written.
        """
        reading = known if known.is_unmoved(self._index) else read_reading(self._index)
        self._made = edit_index(reading, changes, trees or {})
        if self._made is not None:
            self._new.unlink(missing_ok=True)
            self._reserve(len(self._made.data))
            return reading
        if self._index.exists():
            # A second name for the same file: git never writes into an index, it puts a new one in its place.
            _keep(self._index, self._new)
        made_of = read_bytes(self._new)
        write_entries(self._site.with_index_unfiltered(self._new, self._configured), changes)
        return Reading(made_of, ())

    def seal(self, found: Mapping[str, os.stat_result], written: Collection[str], entries: int) -> None:
        """Record the times of the files now in place, and flush the next index; nothing refers to it yet.

        Args:
            found: status of files that are certain to hold what their entries say.
            written: the paths whose files are new, for git to look at where the index is written by it.
            entries: how many the index has.
        """
        if self._made is not None:
            made, self._made = self._made, None
            data = made.seal({os.fsencode(path): each for path, each in found.items()})
            self._write(data, f"{_END}{data[-made.id_bytes :].hex()}")
        else:
            if 0 < len(written) * entries <= _COMPARISONS_AT_MOST:
                self._refresh(written)
            self._write(None, digest_of(read_bytes(self._new)))

    def publish(self) -> None:
        """Keep the old index, and put the sealed one there in one rename."""
        if self._index.exists():
            _keep(self._index, self._old)
        sync_directory(self._new.parent)
        self._new.rename(self._index)
        sync_directory(self._index.parent)

    def _reserve(self, size: int) -> None:
        """Make the file of the next index, as the present one may be read and written, with the space that it needs."""
        fd = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, self._index.stat().st_mode & 0o777)
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)

    def _write(self, data: bytearray | None, tells: str) -> None:
        """Write the next index into the space it has, unless that is done, and what tells it; flush both."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        fds = [os.open(place, flags, 0o600) for place in (self._new, self._sum)]
        try:
            for fd, content in zip(fds, (data or b"", tells.encode("ascii")), strict=True):
                left = memoryview(content)
                while left:
                    left = left[os.write(fd, left) :]
            sync_together(*fds)
        finally:
            for fd in fds:
                os.close(fd)

    def _is_ours(self) -> bool:
        """Tell whether the index is the one that was put in place, which nobody has changed since."""
        tells = self._sum.read_text("ascii")
        content = read_bytes(self._index)
        ends = bytes.fromhex(tells.removeprefix(_END)) if tells.startswith(_END) else None
        return digest_of(content) == tells if ends is None else content.endswith(ends)

    def take_back(self, changes: Sequence[IndexChange]) -> None:
        """Return to the old index; if somebody has changed the new one since, return to the old entries in it."""
        if self._new.exists() or not self._sum.exists():
            return
        if self._old.exists() and self._is_ours():
            self._old.rename(self._index)
        else:
            self._restore_entries(changes)
        sync_directory(self._index.parent)
        self._sum.unlink()

    def _restore_entries(self, changes: Sequence[IndexChange]) -> None:
        now = read_entries(self._site.git, [change.path for change in changes])
        still_ours = [
            IndexChange(change.path, change.after, change.before, change.flags)
            for change in changes
            if now.get(change.path, "") == change.after
        ]
        self._back.write_bytes(self._index.read_bytes())
        write_entries(self._site.with_index_unfiltered(self._back, self._configured), still_ours)
        self._back.rename(self._index)

    def _refresh(self, written: Collection[str]) -> None:
        # Only times and inode numbers are recorded. It fails for a path whose content goes through a filter of the user's
        # that does not answer; then git looks for itself at the next `git status`.
        self._site.with_index(self._new).run(
            "--literal-pathspecs",
            "add",
            "--refresh",
            "--pathspec-from-file=-",
            "--pathspec-file-nul",
            input=b"\0".join(os.fsencode(path) for path in sorted(written)),
            check=False,
        )


def edit_index(
    reading: Reading, changes: Iterable[IndexChange], trees: Mapping[bytes, TreeIds]
) -> IndexFile | None:
    """Return the index with the ``after`` entries in it, not sealed; None where that is better left to git."""
    ordered = list(changes)
    ids = {len(entry.partition(" ")[2]) for each in ordered for entry in (each.before, each.after) if entry}
    if len(ids) != 1 or any(change.flags for change in ordered):
        return None
    old = reading.parse(ids.pop() // 2)
    if old is None or not reading.is_plain:
        return None
    before = {each.path: each.before for each in ordered if each.before}
    new = {os.fsencode(each.path): _bare_entry(each) for each in ordered}
    try:
        return old.derive(new, reading.find(before), trees=trees, sealed=False)
    except (ValueError, IndexError, struct.error):
        return None


def _bare_entry(change: IndexChange) -> bytes | None:
    if not change.after:
        return None
    mode, object_id = change.after.split(" ")
    return make_bare_entry(os.fsencode(change.path), int(mode, 8), object_id)


def write_entries(git: Git, changes: Iterable[IndexChange]) -> None:
    """Set the ``after`` entries in the index that ``git`` works on: removals first, so that a file can become a folder."""
    ordered = sorted(changes, key=lambda change: bool(change.after))
    lines = [_index_line(change) for change in ordered]
    # A sparse index with a folded directory at its end would get a path of that directory beside it (seen in git 2.39).
    git.run("-c", "index.sparse=false", "update-index", "-z", "--index-info", input=b"".join(lines))
    for flag, option in (("S", "--skip-worktree"), ("h", "--assume-unchanged")):
        marked = [c.path for c in ordered if c.after and flag in _flags(c.flags)]
        if marked:
            names = b"".join(os.fsencode(path) + b"\0" for path in marked)
            git.run("update-index", option, "-z", "--stdin", input=names)


def _index_line(change: IndexChange) -> bytes:
    entry = change.after
    if not entry:
        entry = f"0 {_NO_ID[len(change.before.partition(' ')[2]) or 40]}"
    return entry.encode("ascii") + b"\t" + os.fsencode(change.path) + b"\0"


def _flags(tag: str) -> str:
    """Return the flags of a tag of ``ls-files -v``: a small letter means assume-unchanged, S (or s) skip-worktree."""
    return ("S" if tag in ("S", "s") else "") + ("h" if tag.islower() else "")


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that its inode outlives its replacement."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        # A file system without hard links: the bytes must do.
        name.write_bytes(path.read_bytes())
