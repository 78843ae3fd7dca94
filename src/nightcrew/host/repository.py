"""Which repository a directory belongs to, asked of git; and why none can be worked in there."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.trees import Repository

_OPERATIONS: Final = (
    ("MERGE_HEAD", "merge"),
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("BISECT_LOG", "bisect"),
)


def discover(path: Path, env: Mapping[str, str], *, need_commit: bool = True) -> Repository:
    """Return the repository whose working tree holds ``path``.

    Args:
        path: any directory inside the working tree.
        env: environment for git.
        need_commit: refuse a repository without a first commit; otherwise its ``head`` is empty.

    Raises:
        NotFound: no repository there, or no such directory.
        UsageError: bare, inside a git directory, owned by somebody else, or without a commit.
    """
    if not path.is_dir():
        raise NotFound(f"no such directory: {path}", code="repository.missing")
    git = Git("", env=env, work_tree=str(path), trusted=True)
    root, common_dir, git_dir, head, branch = _ask_at_once(git) or _ask_one_by_one(git, path)
    if not head and need_commit:
        raise UsageError(
            f"{root} has no commit yet",
            code="repository.no_commit",
            hint="nightcrew works on a committed state: git add -A && git commit -m 'first commit'",
        )
    return Repository(
        root=root,
        git_dir=git_dir,
        common_dir=common_dir,
        head=head,
        branch=branch,
        key=_key(Path(common_dir)),
        shallow=(Path(common_dir) / "shallow").exists(),
        # Without its list of what is wanted it means nothing, to git either.
        sparse=(Path(git_dir) / "info/sparse-checkout").exists() and _flag(git, "core.sparseCheckout"),
        operation=_operation(Path(git_dir)),
    )


_Answers = tuple[str, str, str, str, str]
"""Top of the working tree, common directory, git directory, commit, branch (full name, empty for none)."""


def _ask_at_once(git: Git) -> _Answers | None:
    """Ask everything of an ordinary repository with one git; None where it is any other, or a path holds a line end."""
    words = ("--is-inside-work-tree", "--show-toplevel", "--path-format=absolute", "--git-common-dir")
    done = git.run(
        "rev-parse",
        *words,
        "--absolute-git-dir",
        "HEAD^{commit}",
        "--symbolic-full-name",
        "HEAD",
        check=False,
    )
    lines = os.fsdecode(done.stdout).split("\n")
    if done.code != 0 or len(lines) != 7 or lines[0] != "true" or not lines[5].startswith("refs/"):
        return None
    top, common_dir, git_dir = (os.path.realpath(line) for line in lines[1:4])
    return top, common_dir, git_dir, lines[4], lines[5]


def _ask_one_by_one(git: Git, path: Path) -> _Answers:
    _check_kind(git, path)
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
    return (
        os.path.realpath(_line(git, "--show-toplevel")),
        os.path.realpath(_line(git, "--path-format=absolute", "--git-common-dir")),
        os.path.realpath(_line(git, "--absolute-git-dir")),
        os.fsdecode(head.stdout).strip(),
        os.fsdecode(git.run("symbolic-ref", "--quiet", "HEAD", check=False).stdout).strip(),
    )


def _check_kind(git: Git, path: Path) -> None:
    done = git.run(
        "rev-parse", "--is-bare-repository", "--is-inside-work-tree", "--is-inside-git-dir", check=False
    )
    said = os.fsdecode(done.stderr).strip()
    if done.code != 0 and "dubious ownership" in said:
        raise UsageError(
            f"git does not trust {path}: it belongs to another user",
            code="repository.foreign_owner",
            hint=f"if you trust it: git config --global --add safe.directory {path}",
        )
    if done.code != 0 and "not a git repository" in said:
        _refuse_damaged(path, said)
        raise NotFound(
            f"no git repository at {path}",
            code="repository.missing",
            hint="go to your project; in a directory without git `nightcrew run -f tasks.md` keeps a history of its own",
        )
    if done.code != 0:
        raise UsageError(f"git cannot use {path}: {said}", code="repository.unusable")
    bare, inside, in_git_dir = (word == b"true" for word in done.stdout.split())
    if not inside:
        what = "a bare repository" if bare else "inside a git directory"
        elsewhere = not bare and not in_git_dir
        raise UsageError(
            f"{path} is outside its repository's working tree, which core.worktree puts elsewhere"
            if elsewhere
            else f"{path} is {what}; there is no working tree",
            code="repository.elsewhere" if elsewhere else "repository.bare",
            hint="go there: git config core.worktree"
            if elsewhere
            else "go to a clone with files in it: git clone",
        )


def _refuse_damaged(path: Path, said: str) -> None:
    """Tell a repository that git does not recognise from a directory without one.

    Raises:
        UsageError: there is a ``.git`` on the way up that git would have looked at.
    """
    device = path.stat().st_dev
    for place in (path, *path.parents):
        if place.stat().st_dev != device:
            return  # git does not look across file systems either
        if (place / ".git").exists() or (place / ".git").is_symlink():
            raise UsageError(
                f"{place / '.git'} is not a repository that git can use: {said.splitlines()[0]}",
                code="repository.damaged",
                hint="put it right (HEAD and objects must be there), or move it away to work on the files alone",
            )


def _line(git: Git, *args: str) -> str:
    """Return one path that rev-parse prints; asked for one at a time, for a path may hold a line end."""
    return os.fsdecode(git.run("rev-parse", *args).stdout.removesuffix(b"\n"))


def _flag(git: Git, name: str) -> bool:
    return git.run("config", "--type=bool", "--get", name, check=False).stdout.strip() == b"true"


def _operation(git_dir: Path) -> str:
    for name, operation in _OPERATIONS:
        if (git_dir / name).exists():
            return operation
    return ""


def _key(common_dir: Path) -> str:
    """Return a folder name a person recognises and no other repository gets; linked worktrees share it."""
    name = common_dir.parent.name if common_dir.name == ".git" else common_dir.stem
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:32] or "repository"
    return f"{slug}-{hashlib.sha256(os.fsencode(common_dir)).hexdigest()[:10]}"
