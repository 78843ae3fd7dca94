"""Where a promotion goes: the branch that is checked out here, another branch, or a new one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from nightcrew.model.errors import DriftError, NotFound, UsageError
from nightcrew.promote.site import (
    Site,
    refuse_second_checkout,
    refuse_unless_ready,
    refuse_unless_writable,
    short,
)

Kind = Literal["here", "branch", "new", "file"]
Join = Literal["rebase", "merge"]

_HEADS: Final = "refs/heads/"
_REBASED: Final = ("rebase-merge/head-name", "rebase-apply/head-name")


@dataclass(frozen=True, slots=True)
class Target:
    """What a person asked for.

    Attributes:
        kind: ``here`` (the current branch), ``branch`` (an existing one by name), ``new``, or ``file`` (no branch at all).
        name: of the branch, where it is not the current one.
        hooks: run the user's own hooks of a commit.
        join: how commits come onto a branch that has moved on: on top of where it is, or on what they were made on, with a merge.
        earlier: tree of the base with what the branch has of the same work already; empty when that is nothing.
    """

    kind: Kind = "here"
    name: str = ""
    join: Join = "rebase"
    hooks: bool = False
    earlier: str = ""


HERE: Final = Target()


@dataclass(frozen=True, slots=True)
class Place:
    """A branch and the commit that the promotion is prepared on.

    Attributes:
        kind: ``here``: the working tree and index go with it. ``branch``: only the ref is moved. ``new``: only a ref is made.
            ``file``: the repository is not written to.
        branch: full ref name.
        head: where it is; for a new branch the commit it shall start from.
    """

    kind: Kind
    branch: str
    head: str


def find_place(site: Site, target: Target) -> Place:
    """Find the branch and see that it may be moved.

    Raises:
        UsageError: no such branch, a name that is taken or not allowed, a detached HEAD, a read-only repository.
        DriftError: the branch is in use in another working tree, or something of the user's is unfinished.
    """
    if target.hooks and target.kind != "here":
        raise UsageError(
            "hooks can only be run for the branch that is checked out: they look at index and working tree",
            code="promote.hooks",
            hint="leave --hooks out",
        )
    if target.kind == "here":
        return find_here(site)
    if target.kind == "file":
        return _find_commit(site)
    if site.repository.private:
        raise UsageError(
            f"{site.repository.root} is not a git repository: there are no branches",
            code="promote.no_branches",
            hint="promote without --to and --new-branch, or write a file: --patch FILE",
        )
    branch = _full_name(site, target.name)
    if target.kind == "new":
        return _find_new(site, branch)
    return find_branch(site, branch)


def _find_commit(site: Site) -> Place:
    head = site.commit_of("HEAD")
    if not head:
        raise UsageError(f"{site.repository.root} has no commit yet", code="repository.no_commit")
    return Place("file", "HEAD", head)


def find_here(site: Site) -> Place:
    """Return the branch that is checked out."""
    refuse_unless_ready(site)
    branch, head = site.head()
    refuse_second_checkout(site, branch)
    return Place("here", branch, head)


def find_branch(site: Site, branch: str) -> Place:
    """Return an existing branch by its full name; ``here`` when it is the one that is checked out."""
    if site.is_checked_out(branch):
        return find_here(site)
    head = site.commit_of(branch)
    if not head:
        raise NotFound(
            f"there is no branch {short(branch)}; nothing was changed",
            code="promote.no_branch",
            hint=f"make it: --new-branch {short(branch)}",
        )
    refuse_unless_writable(site)
    refuse_second_checkout(site, branch)
    _refuse_rebased(site, branch)
    return Place("branch", branch, head)


def _find_new(site: Site, branch: str) -> Place:
    if site.commit_of(branch):
        raise UsageError(
            f"there is a branch {short(branch)} already; nothing was changed",
            code="promote.branch_exists",
            hint=f"put it on top of that one: --to {short(branch)}",
        )
    refuse_unless_writable(site)
    head = site.commit_of("HEAD")
    if not head:
        raise UsageError(f"{site.repository.root} has no commit yet", code="repository.no_commit")
    return Place("new", branch, head)


def _full_name(site: Site, name: str) -> str:
    branch = name if name.startswith(_HEADS) else _HEADS + name
    if name.startswith("-") or site.git.run("check-ref-format", branch, check=False).code != 0:
        raise UsageError(f"{name!r} cannot be the name of a branch", code="promote.branch_name")
    return branch


def _refuse_rebased(site: Site, branch: str) -> None:
    """A rebase keeps the name of its branch in a file while HEAD is detached."""
    common = Path(site.repository.common_dir)
    for git_dir in (common, *common.glob("worktrees/*")):
        for name in _REBASED:
            try:
                found = os.fsdecode((git_dir / name).read_bytes()).strip()
            except (FileNotFoundError, NotADirectoryError):
                continue
            if found == branch:
                raise DriftError(
                    f"{short(branch)} is being rebased; nothing was changed",
                    code="drift.operation",
                    hint="finish it, or give it up: git rebase --abort",
                )
