"""A working tree as it stands, uncommitted work included, as a git tree: what a run can start from.

Two uses. ``run --include-dirty``: the user's staged, unstaged and untracked files become a commit in *our* store, through
a copy of the user's index; nothing of the user's repository is written. A directory without git: our private history
of it is brought up to date. Both find the changes with ``git status`` and read only those files, converted as the user's
own ``git add`` would.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nightcrew.checkpoint import layout
from nightcrew.host import files, tokens
from nightcrew.host.git import Git
from nightcrew.model.errors import DriftError, LimitReached
from nightcrew.model.text import shown
from nightcrew.model.trees import Repository

_GITLINK: Final = "160000"
_NAMED_AT_MOST: Final = 10
_SETTINGS: Final = (
    # One complete index of our own, and objects that survive a power loss: the base of a run.
    ("core.splitIndex", "false"),
    ("core.untrackedCache", "false"),
    ("core.fsync", "committed"),
    ("core.fsyncMethod", "batch"),
    ("core.safecrlf", "false"),
)
_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A working tree as a git tree.

    Attributes:
        tree: id of the tree.
        paths: every path that differs from HEAD in the index or on disk, sorted.
        left_out: what stays as it is in HEAD, or out, as ``path: why``.
    """

    tree: str
    paths: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(slots=True)
class Uncommitted:
    """What ``git status`` tells of a working tree.

    Attributes:
        paths: differ from HEAD.
        written: are to be read from disk; ``removed`` are gone.
        restored: submodules, as (mode, id, path) of HEAD: their own changes are theirs to commit.
        unmerged: conflicts that wait for the user.
    """

    paths: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    restored: list[tuple[str, str, str]] = field(default_factory=list)
    unmerged: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def drop_below(self, place: Path, root: str) -> None:
        """Forget what lies below a directory."""
        prefix = os.path.relpath(os.path.realpath(place), root) + "/"
        self.written = [path for path in self.written if not path.startswith(prefix)]
        self.paths = {path for path in self.paths if not path.startswith(prefix)}

    def count_bytes(self, root: str) -> int:
        """Return how much would be read."""
        return sum(found.st_size for path in self.written if (found := _lstat(f"{root}/{path}")))


def snapshot_uncommitted(
    repository: Repository, store: Path, env: Mapping[str, str], *, state: Path | None = None
) -> Snapshot:
    """Write the user's working tree into our store; the user's repository is only read.

    Args:
        repository: with a commit.
        store: directory of the checkpoint store; made when it is not there.
        env: environment for git.
        state: our state directory, left out when it lies in the working tree (a home directory under git).

    Raises:
        DriftError: conflicts of a merge wait to be resolved.
        GitError: git cannot read a file, or one of the user's filters failed; nothing refers to what was written.
    """
    layout.prepare(store, repository)
    scratch = store / "scratch"
    index = scratch / f"index-{tokens.nonce()}"
    git = Git(repository.git_dir, env=env, work_tree=repository.root, index_file=str(index), trusted=True)
    extra = {"GIT_OBJECT_DIRECTORY": str(store / "objects")}
    try:
        _copy_index(Path(repository.git_dir) / "index", index, git)
        found = find_uncommitted(git, repository.root)
        if state is not None:
            found.drop_below(state, repository.root)
        if found.unmerged:
            raise DriftError(
                "there are conflicts to resolve first; nothing was started",
                code="drift.unmerged",
                where=[shown(path) for path in found.unmerged[:_NAMED_AT_MOST]],
                hint="resolve and add them, or leave out --include-dirty",
            )
        return write_snapshot(git, found, extra)
    finally:
        for left in scratch.glob(f"{index.name}*"):
            left.unlink(missing_ok=True)


def find_uncommitted(git: Git, root: str) -> Uncommitted:
    """Ask git what differs from HEAD in index and working tree, untracked files included, ignored ones not."""
    options = ("--porcelain=v2", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=none")
    done = git.run("status", *options, timeout_s=_TIMEOUT_S)
    found = Uncommitted()
    for row in done.stdout.split(b"\0"):
        _read_row(found, os.fsdecode(row), root)
    closed = [line for line in os.fsdecode(done.stderr).splitlines() if "could not open directory" in line]
    found.left_out += [line.removeprefix("warning: ") for line in closed]
    return found


def write_snapshot(git: Git, found: Uncommitted, extra: Mapping[str, str] | None = None) -> Snapshot:
    """Bring the index of ``git`` up to the working tree and write it as a tree.

    Args:
        git: with the index to change.
        extra: environment of these calls: where objects go.

    Raises:
        GitError: a file cannot be read, a filter failed, the disk is full.
    """
    settings = [word for key, value in _SETTINGS for word in ("-c", f"{key}={value}")]
    id_length = 40 if git.run("rev-parse", "--show-object-format").stdout.strip() == b"sha1" else 64
    rows = b"".join(_index_rows(found, id_length))
    # Deletions before additions: a directory may have taken the place of a file.
    git.run(*settings, "update-index", "-z", "--index-info", input=rows, extra=extra)
    names = b"".join(os.fsencode(path) + b"\0" for path in found.written)
    git.run(
        *settings,
        *("update-index", "--add", "--remove", "--replace", "-z", "--stdin"),
        input=names,
        extra=extra,
        timeout_s=_TIMEOUT_S,
    )
    tree = git.run(*settings, "write-tree", extra=extra).stdout.decode().strip()
    return Snapshot(tree, tuple(sorted(found.paths)), tuple(found.left_out))


def refuse_too_much(found: Uncommitted, root: str, place: Path) -> None:
    """Refuse to copy more than the disk has room for.

    Raises:
        LimitReached: nothing was written.
    """
    needed, free = found.count_bytes(root), files.free_bytes(place)
    if needed > free - _KEPT_FREE_BYTES:
        raise LimitReached(
            f"{root} holds {needed >> 20} MiB to keep, and {place} has {free >> 20} MiB free; nothing was started",
            code="snapshot.disk",
            hint="list what does not belong to the work in a .gitignore there, or free some space",
        )


_KEPT_FREE_BYTES: Final = 256 << 20
"""Room that stays for everything else: database, shadows, logs."""


def _copy_index(source: Path, target: Path, git: Git) -> None:
    try:
        # With its time: by that git knows which entries it must not trust.
        shutil.copy2(source, target)
    except FileNotFoundError:
        git.run("read-tree", "HEAD")


def _read_row(found: Uncommitted, row: str, root: str) -> None:
    """Take in one row of porcelain v2 (git-status(1))."""
    kind = row[:1]
    if kind == "1":
        _, xy, sub, head_mode, index_mode, tree_mode, head_id, _, path = row.split(" ", 8)
        if sub != "N..." or _GITLINK in (head_mode, index_mode, tree_mode):
            found.restored.append((head_mode, head_id, path))
            found.left_out.append(f"{path}: a submodule stays as HEAD has it")
            return
        found.paths.add(path)
        if xy[1] == "D":
            found.removed.append(path)
        elif xy[1] != ".":
            _take(found, path, root)
    elif kind == "u":
        found.unmerged.append(row.split(" ", 10)[10])
    elif kind == "?" and row.endswith("/"):
        found.left_out.append(f"{row[2:]}: a git repository of its own")
    elif kind == "?":
        _take(found, row[2:], root)


def _take(found: Uncommitted, path: str, root: str) -> None:
    status = _lstat(f"{root}/{path}")
    if status is not None and stat.S_ISREG(status.st_mode) and not os.access(f"{root}/{path}", os.R_OK):
        found.left_out.append(f"{path}: its mode forbids reading it")
        return
    found.paths.add(path)
    found.written.append(path)


def _index_rows(found: Uncommitted, id_length: int) -> Iterator[bytes]:
    none = "0" * id_length
    gone: Iterable[tuple[str, str, str]] = (("0", none, path) for path in found.removed)
    for mode, object_id, path in (*gone, *found.restored):
        yield b"%s %s\t%s\0" % (mode.encode(), object_id.encode(), os.fsencode(path))


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        # It went away since git listed it, or its directory is closed: git will tell.
        return None
