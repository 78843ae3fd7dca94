"""The user's index: read it, hold its lock, replace the entries of promoted paths and no others."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.host.files import sync_directory, write_atomic
from nightcrew.host.git import Git
from nightcrew.model.errors import DriftError
from nightcrew.promote.site import Configured, Site, index_locked
from nightcrew.promote.transaction import IndexChange, Transaction

_NO_ID = {40: "0" * 40, 64: "0" * 64}
_UNMERGED = "unmerged"
_COMPARISONS_AT_MOST = 5_000_000
"""Git compares every entry of the index with every path given (about 0.1 s for so many on a busy machine); beyond this its own next `git
status` looks for itself."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the index says, as far as a promotion needs to know.

    Attributes:
        entries: ``<mode> <id>`` of the paths asked about.
        flags: of those, when they are not ordinary.
        added: paths that the index has and the commit has not, sorted, as bytes.
        count: how many entries the index has.
        digest: of the index file; the same digest means the same listing.
    """

    entries: dict[str, str]
    flags: dict[str, str]
    added: Sequence[bytes]
    count: int
    digest: str

    def below(self, directory: str) -> list[str]:
        """Return the added paths below a directory."""
        prefix = os.fsencode(directory) + b"/"
        found = []
        for position in range(bisect_left(self.added, prefix), len(self.added)):
            if not self.added[position].startswith(prefix):
                break
            found.append(os.fsdecode(self.added[position]))
        return found

    def holds(self, path: str) -> bool:
        """Tell whether the index adds exactly this path."""
        name = os.fsencode(path)
        position = bisect_left(self.added, name)
        return position < len(self.added) and self.added[position] == name


def read_index(git: Git, commit: str, expected: Mapping[str, str]) -> Listing:
    """Compare the index with a commit, which git does at the cost of what differs, and read off what was asked for.

    Args:
        git: on the user's repository.
        commit: the one that is checked out.
        expected: entries of this commit at the paths asked about, empty for none.

    Raises:
        DriftError: it has unmerged entries.
    """
    content = read_bytes(Path(git.git_dir) / "index")
    differing = _differences(git, commit)
    entries = {path: differing.get(os.fsencode(path), (entry, entry))[1] for path, entry in expected.items()}
    unmerged = sorted(os.fsdecode(path) for path, (_, new) in differing.items() if new == _UNMERGED)
    if unmerged:
        raise DriftError(
            "the index has unmerged paths; nothing was changed",
            code="drift.unmerged",
            where=unmerged[:20],
            hint="resolve them first: git status",
        )
    present = {path: entry for path, entry in entries.items() if entry}
    flags = {} if _are_ordinary(content, present) else _read_flags(git, present)
    return Listing(
        {path: entry for path, entry in entries.items() if entry},
        flags,
        sorted(path for path, (old, new) in differing.items() if new and not old),
        int.from_bytes(content[8:12], "big"),
        hashlib.sha256(content).hexdigest(),
    )


def _differences(git: Git, commit: str) -> dict[bytes, tuple[str, str]]:
    options = ("--cached", "--raw", "-z", "--no-renames", "--no-abbrev", "--ita-visible-in-index")
    fields = git.run("diff-index", *options, commit, "--").stdout.split(b"\0")
    found: dict[bytes, tuple[str, str]] = {}
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode, old_id, new_id, status = head.decode("ascii").lstrip(":").split(" ")
        old = "" if old_mode == "000000" else f"{old_mode} {old_id}"
        new = "" if new_mode == "000000" else f"{new_mode} {new_id}"
        if path not in found or status == "U":
            found[path] = (old, _UNMERGED if status == "U" else new)
    return found


def _are_ordinary(content: bytes, entries: Mapping[str, str]) -> bool:
    """Tell whether all these entries stand in an index file without a flag, in one pass over its bytes.

    An entry of versions 2 and 3 is ``... id, 16 bits of flags with the length of the name, name, NUL`` in the order of the
    names. What is not found in exactly this form (compressed names of version 4, a split index) is not known to be ordinary.
    """
    position = 0
    for name, entry in sorted((os.fsencode(path), entry) for path, entry in entries.items()):
        length = min(len(name), 0xFFF).to_bytes(2, "big")
        position = content.find(bytes.fromhex(entry[7:]) + length + name + b"\0", position)
        if position < 0:
            return False
    return True


def _read_flags(git: Git, entries: Collection[str]) -> dict[str, str]:
    listed = git.run("ls-files", "-v", "-z").stdout.split(b"\0")
    tags = {os.fsdecode(line[2:]): chr(line[0]) for line in listed if line and not line.startswith(b"H ")}
    return {path: tag for path, tag in tags.items() if path in entries}


def read_entries(git: Git, paths: Collection[str]) -> dict[str, str]:
    """Return ``<mode> <id>`` of the paths that the index has, whatever commit is checked out."""
    wanted = {os.fsencode(path) for path in paths}
    found = {}
    for record in git.run("ls-files", "-s", "-z").stdout.split(b"\0"):
        head, _, name = record.partition(b"\t")
        if name in wanted:
            found[os.fsdecode(name)] = head.decode("ascii").rpartition(" ")[0]
    return found


def list_paths(git: Git) -> list[str]:
    """Return every path of the index."""
    return [os.fsdecode(name) for name in git.run("ls-files", "-z").stdout.split(b"\0") if name]


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, nothing when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


class IndexLock:
    """Git's own ``index.lock``, held with a text of ours so that a later process recognises what we left.

    The text stands complete in the transaction directory first and is linked into place: the lock is there whole or
    not at all.
    """

    def __init__(self, git_dir: str, transaction: Transaction) -> None:
        self._lock = Path(git_dir) / "index.lock"
        self._text = transaction.path / "lock"
        self._name = transaction.name

    def take(self) -> None:
        """Take the lock; it may be ours already.

        Raises:
            DriftError: somebody else has it.
        """
        if self.is_ours():
            return
        if not self._text.exists():
            write_atomic(self._text, f"nightcrew {self._name}: run any nightcrew command here\n".encode())
        try:
            os.link(self._text, self._lock)
        except FileExistsError as error:
            raise index_locked(self._lock.parent) from error
        except OSError:
            self._create()

    def is_ours(self) -> bool:
        """Tell whether this transaction holds the lock."""
        try:
            return self._lock.read_bytes() == self._text.read_bytes()
        except OSError:
            # One of them does not exist, or the lock is unreadable and so not ours.
            return False

    def release(self) -> None:
        """Let go of the lock if it is ours."""
        if self.is_ours():
            self._lock.unlink()

    def _create(self) -> None:
        # A file system without hard links: create, then write; dying in between leaves an empty lock, as git would.
        try:
            fd = os.open(self._lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise index_locked(self._lock.parent) from error
        try:
            os.write(fd, self._text.read_bytes())
        finally:
            os.close(fd)


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

    def prepare(self, changes: Sequence[IndexChange]) -> str:
        """Make the next index aside; return the digest of the one it was made of.

        Raises:
            GitError: git cannot write it (disk full).
        """
        if self._index.exists():
            # A second name for the same file: git never writes into an index, it puts a new one in its place.
            _keep(self._index, self._new)
        made_of = hashlib.sha256(read_bytes(self._new)).hexdigest()
        write_entries(self._site.with_index_unfiltered(self._new, self._configured), changes)
        return made_of

    def publish(self, written: Collection[str], entries: int) -> None:
        """Record the times of the files now in place, keep the old index, and put the new one there in one rename.

        Args:
            written: the paths whose files are new.
            entries: how many the index has.
        """
        if 0 < len(written) * entries <= _COMPARISONS_AT_MOST:
            self._refresh(written)
        write_atomic(self._sum, _digest(self._new).encode("ascii"))
        if self._index.exists():
            _keep(self._index, self._old)
        with self._new.open("rb") as file:
            os.fsync(file.fileno())
        self._new.rename(self._index)
        sync_directory(self._index.parent)

    def take_back(self, changes: Sequence[IndexChange]) -> None:
        """Return to the old index; if somebody has changed the new one since, return to the old entries in it."""
        if self._new.exists() or not self._sum.exists():
            return
        if self._old.exists() and self._sum.read_text("ascii") == _digest(self._index):
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


def write_entries(git: Git, changes: Iterable[IndexChange]) -> None:
    """Set the ``after`` entries in the index that ``git`` works on: removals first, so that a file can become a folder."""
    ordered = sorted(changes, key=lambda change: bool(change.after))
    lines = [_index_line(change) for change in ordered]
    git.run("update-index", "-z", "--index-info", input=b"".join(lines))
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


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _keep(path: Path, name: Path) -> None:
    """Give a file a second name, so that its inode outlives its replacement."""
    name.unlink(missing_ok=True)
    try:
        os.link(path, name)
    except OSError:
        # A file system without hard links: the bytes must do.
        name.write_bytes(path.read_bytes())
