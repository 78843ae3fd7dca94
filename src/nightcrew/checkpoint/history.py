"""Keeps our private history of a plain directory up to date: one commit per state that a run started from.

Each step may be cut off. What is half done is an index that is ahead of the history; a marker says so, and the next
update begins by putting the index back to the last commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.snapshot import find_uncommitted, refuse_too_much, write_snapshot
from nightcrew.host import crash, files
from nightcrew.host.git import Git
from nightcrew.model.trees import Repository

_MARKER: Final = "nightcrew-updating"
_GC_FROM: Final = 6700
"""Loose objects from which git packs them together: git's own default for gc.auto."""
_GC_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True, slots=True)
class Update:
    """What an update of a history found.

    Attributes:
        repository: with its new head.
        paths: new or changed since the last update, sorted.
        left_out: what stays out, as ``path: why``.
    """

    repository: Repository
    paths: tuple[str, ...]
    left_out: tuple[str, ...]


def update_history(repository: Repository, env: Mapping[str, str], at: datetime) -> Update:
    """Commit the directory as it stands to our history of it, when it differs from the last commit.

    The lock on publications into the directory must be held: a promotion moves the same branch.

    Args:
        repository: a private one.
        at: time of the commit.

    Raises:
        LimitReached: the disk has no room for it; nothing was changed.
        GitError: a file cannot be read.
    """
    git = Git(repository.git_dir, env=env, work_tree=repository.root, trusted=True)
    marker = Path(repository.git_dir) / _MARKER
    if marker.exists():
        git.run("read-tree", *(["HEAD"] if repository.head else ["--empty"]))
        marker.unlink()
    found = find_uncommitted(git, repository.root)
    if repository.head and not (found.written or found.removed or found.restored):
        return Update(repository, (), tuple(found.left_out))
    refuse_too_much(found, repository.root, Path(repository.git_dir))
    files.write_atomic(marker, b"")
    taken = write_snapshot(git, found)
    crash.point("checkpoint.history_indexed")
    stamp = f"@{int(at.timestamp())} +0000"
    parents = ["-p", repository.head] if repository.head else []
    made = git.run(
        *("commit-tree", taken.tree, *parents),
        input=b"The directory as a run found it\n",
        extra={"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
    )
    head = made.stdout.decode().strip()
    git.run("update-ref", "-m", "nightcrew: snapshot", repository.branch, head, repository.head)
    crash.point("checkpoint.history_moved")
    marker.unlink()
    git.run("-c", f"gc.auto={_GC_FROM}", "gc", "--auto", "--quiet", timeout_s=_GC_TIMEOUT_S)
    return Update(replace(repository, head=head), taken.paths, taken.left_out)
