"""The user's index: read it, tell whether it is still the same, hold its lock."""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nightcrew.host.files import write_atomic
from nightcrew.host.git import Git
from nightcrew.host.indexfile import IndexFile, find_end, find_entries, guess_root
from nightcrew.model.errors import DriftError
from nightcrew.promote.site import index_locked
from nightcrew.promote.standing import Signature, sign
from nightcrew.promote.transaction import Transaction

_UNMERGED = "unmerged"
UNDERSTOOD: Final = frozenset({b"TREE", b"EOIE", b"IEOT"})
"""Extensions that need nothing but to be brought up to date or left out. With any other one (split or sparse index, untracked
files, unmerged paths) git writes the index itself."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An index file as it was read, with the signature that it had before.

    Git never writes into an index, it puts a new file in its place; so while the signature stays, the bytes do.
    """

    content: bytes = field(repr=False)
    signature: Signature
    _parsed: dict[int, IndexFile | None] = field(default_factory=dict, repr=False, compare=False)
    _places: dict[bytes, int] = field(default_factory=dict, repr=False, compare=False)

    def parse(self, id_bytes: int) -> IndexFile | None:
        """Return what it holds, None for a version that is not understood; looked through once."""
        if id_bytes not in self._parsed:
            try:
                self._parsed[id_bytes] = IndexFile(self.content, id_bytes)
            except (ValueError, IndexError, struct.error):
                # Version 4, or no index at all.
                self._parsed[id_bytes] = None
        return self._parsed[id_bytes]

    def find(self, entries: Mapping[str, str]) -> Mapping[bytes, int] | None:
        """Return where entries without a flag begin, by name; None when one is not there in just this form.

        Args:
            entries: ``<mode> <id>`` by path. They are searched for once; asked for again, all of them must be among the first.
        """
        wanted = {os.fsencode(path): entry[7:] for path, entry in entries.items()}
        if self._places.keys() >= wanted.keys():
            return self._places
        found = find_entries(self.content, wanted)
        self._places.update(found or {})
        return found

    def find_end(self, id_bytes: int, places: Mapping[bytes, int]) -> bool:
        """Find out without a walk over all of it where its entries end; tell whether that is known now.

        Args:
            places: where some entries begin.
        """
        if self._parsed.get(id_bytes) is None and places:
            end = find_end(self.content, id_bytes, max(places.values()))
            if end:
                self._parsed[id_bytes] = IndexFile(self.content, id_bytes, end=end)
        return self._parsed.get(id_bytes) is not None

    def holds_any(self, names: Iterable[bytes]) -> bool:
        """Tell whether there is an entry of one of these names; only after ``parse``, False where it is not understood."""
        parsed = next(iter(self._parsed.values()), None)
        return parsed is not None and any(map(parsed.holds, names))

    @property
    def is_plain(self) -> bool:
        """Tell whether nothing needs to be known of it but its entries and the trees it remembers; only after ``parse``."""
        parsed = next(iter(self._parsed.values()), None)
        try:
            return parsed is not None and parsed.extensions <= UNDERSTOOD
        except struct.error:
            return False  # what stands behind the entries is cut short: git says what is the matter

    def is_still(self, git_dir: str) -> bool:
        """Tell whether the index of a git directory has the same bytes."""
        path = Path(git_dir) / "index"
        return self.is_unmoved(path) or read_bytes(path) == self.content

    def is_unmoved(self, path: Path) -> bool:
        """Tell at a glance that an index has the same bytes; when it does not say so, it may have them all the same."""
        return bool(self.signature) and sign_file(path) == self.signature


def read_reading(path: Path) -> Reading:
    """Read an index file."""
    signature = sign_file(path)
    return Reading(read_bytes(path), signature)


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of an index file, as ``index.sum`` has it."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Listing:
    """What the index says, as far as a promotion needs to know.

    Attributes:
        entries: ``<mode> <id>`` of the paths asked about.
        flags: of those, when they are not ordinary.
        added: paths that the index has and the commit has not, sorted, as bytes.
        count: how many entries the index has.
        reading: of the index file; the same bytes mean the same listing.
    """

    entries: dict[str, str]
    flags: dict[str, str]
    added: Sequence[bytes]
    count: int
    reading: Reading

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


@dataclass(frozen=True, slots=True)
class Compared:
    """An index as it was read, and where it differs from a commit: path → entry there, entry here.

    Attributes:
        reading, differing: of the index; what differs.
        commit: the one it was compared with.
        tree: that commit's tree, where the index seems to remember that it has the same, and nothing else was compared.
    """

    reading: Reading
    differing: Mapping[bytes, tuple[str, str]]
    commit: str
    tree: str = ""

    @property
    def is_certain(self) -> bool:
        """Tell whether the index has the tree that it seems to remember: it does once it is known where its entries end.

        Git remembers the tree of all entries only while there is nothing unmerged and nothing that is only meant to be added.
        """
        parsed = self.reading.parse(len(self.commit) // 2)
        return parsed is not None and self.reading.is_plain and parsed.root == self.tree


def compare_index(git: Git, commit: str, tree: str = "") -> Compared:
    """Compare the index with a commit, which git does at the cost of what differs; it is looked through by us meanwhile.

    Args:
        git: on the user's repository.
        commit: the one that is checked out.
        tree: of that commit, where it is known: an index that remembers the same need not be compared.
    """
    reading = read_reading(Path(git.git_dir) / "index")
    if tree and guess_root(reading.content, len(commit) // 2) == tree:
        return Compared(reading, {}, commit, tree)
    with ThreadPoolExecutor(1) as aside:
        aside.submit(reading.parse, len(commit) // 2)
        return Compared(reading, _differences(git, commit), commit)


def read_index(git: Git, compared: Compared, expected: Mapping[str, str]) -> Listing:
    """Read off what was asked for.

    Args:
        git: on the user's repository.
        compared: the index and the commit that is checked out.
        expected: entries of this commit at the paths asked about, empty for none.

    Raises:
        DriftError: it has unmerged entries.
    """
    if compared.tree:
        compared = _make_certain(git, compared, {path: entry for path, entry in expected.items() if entry})
    reading, differing = compared.reading, compared.differing
    entries = {path: differing.get(os.fsencode(path), (entry, entry))[1] for path, entry in expected.items()}
    unmerged = sorted(os.fsdecode(path) for path, (_, new) in differing.items() if new == _UNMERGED)
    if unmerged:
        raise DriftError(
            "the index has unmerged paths; nothing was changed",
            code="drift.unmerged",
            where=unmerged[:20],
            hint="resolve them first: git status",
        )
    entries = _look_up(git, reading, entries)
    present = {path: entry for path, entry in entries.items() if entry}
    flags = {} if reading.find(present) is not None else _read_flags(git, present)
    return Listing(
        present,
        flags,
        sorted(path for path, (old, new) in differing.items() if new and not old),
        int.from_bytes(reading.content[8:12], "big"),
        reading,
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


def _make_certain(git: Git, compared: Compared, present: Mapping[str, str]) -> Compared:
    """Have git compare after all what does not remember what it seemed to; entries that are there say where to look."""
    reading = compared.reading
    reading.find_end(len(compared.commit) // 2, reading.find(present) or {})
    return compared if compared.is_certain else compare_index(git, compared.commit)


def _look_up(git: Git, reading: Reading, entries: dict[str, str]) -> dict[str, str]:
    """Return what the index has at these paths where it is not what the comparison says.

    Git, too, believes the trees that an index remembers, and forgets them with every change; other programs that write one may
    leave them as they were.
    """
    present = {path: entry for path, entry in entries.items() if entry}
    absent = [os.fsencode(path) for path, entry in entries.items() if not entry]
    if reading.find(present) is not None and not reading.holds_any(absent):
        return entries
    found = read_entries(git, entries)
    return {path: found.get(path, "") for path in entries}


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


def sign_file(path: Path) -> Signature:
    """Return the signature of a file, empty for none."""
    try:
        return sign(path.stat())
    except FileNotFoundError:
        return ()


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
