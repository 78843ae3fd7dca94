"""The place a promotion goes to: the user's repository, our store, and the doors to both."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nightcrew.host.clock import Clock
from nightcrew.host.git import Git
from nightcrew.model.errors import DriftError, UsageError
from nightcrew.model.trees import Repository
from nightcrew.promote.programs import read_commands
from nightcrew.promote.reffiles import find_ref, read_head
from nightcrew.promote.standing import Standing

_IN_PROGRESS = (
    ("MERGE_HEAD", "merge", "git merge --abort"),
    ("rebase-merge", "rebase", "git rebase --abort"),
    ("rebase-apply", "rebase or am", "git rebase --abort"),
    ("CHERRY_PICK_HEAD", "cherry-pick", "git cherry-pick --abort"),
    ("REVERT_HEAD", "revert", "git revert --abort"),
    ("sequencer", "sequence of picks", "git cherry-pick --abort"),
    ("BISECT_LOG", "bisect", "git bisect reset"),
)
"""Files of a git directory that say that an operation waits to be finished (git's own wt-status.c)."""

_FLUSHED = ("-c", "core.fsync=committed,loose-object,reference", "-c", "core.fsyncMethod=fsync")
"""What the user's configuration says about durability does not hold for what recovery relies on (git 2.36; older: always)."""


_UNSHARED = ("", "umask", "false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Configured:
    """What the user's git configuration says about files. Defaults are git's on Linux."""

    file_mode: bool = True
    symlinks: bool = True
    ignore_case: bool = False
    sparse: bool = False
    cone: bool = True
    auto_crlf: bool = False
    crlf: bool = False
    sign: bool = False
    hooks_path: str = ""
    filters: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    """Values of settings that name what git starts or obeys."""
    named_apart: bool = False
    """Author and committer of a commit are not simply the user."""
    shared: bool = False
    """Others may use the repository too: what git makes there has other permissions than files usually have."""


@dataclass(frozen=True, slots=True)
class Site:
    """The user's repository with git on it (``git``, the user's configuration) and on our store (``store``).

    ``scratch`` is a directory of ours for files that live as long as one call.
    """

    repository: Repository
    git: Git
    store: Git
    env: Mapping[str, str]
    clock: Clock
    scratch: Path

    def write_git(self, *args: str, input: bytes = b"", stdin: int = -1) -> None:  # noqa: A002  (the word of the standard library)
        """Run a git command that writes objects or refs, and have git flush them: by itself it leaves refs to chance.

        Raises:
            GitError: it failed.
        """
        self.git.run(*_FLUSHED, *args, input=input, stdin=stdin)

    @property
    def home(self) -> Path:
        """Where transactions lie: ``<git dir>/nightcrew``."""
        return Path(self.repository.git_dir) / "nightcrew"

    def with_index(self, path: Path) -> Git:
        """Return git on the user's repository with another index."""
        repository = self.repository
        return Git(
            repository.git_dir, env=self.env, work_tree=repository.root, index_file=str(path), trusted=True
        )

    def with_index_unfiltered(self, path: Path, configured: Configured) -> Git:
        """Return git on another index that runs none of the user's filters.

        Writing an index, git compares files that were changed in the same instant as the index, through the filters
        that the attributes name: and if the working tree has no ``.gitattributes``, it takes the one *in that index*, which
        here is the promoted one. An agent must not choose which program handles the user's files.
        """
        count = int(self.env.get("GIT_CONFIG_COUNT", "0") or "0")
        extra: dict[str, str] = {}
        for name in configured.filters:
            for key, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false")):
                extra[f"GIT_CONFIG_KEY_{count}"] = f"filter.{name}.{key}"
                extra[f"GIT_CONFIG_VALUE_{count}"] = value
                count += 1
        repository = self.repository
        env = {**self.env, **extra, "GIT_CONFIG_COUNT": str(count)}
        return Git(repository.git_dir, env=env, work_tree=repository.root, index_file=str(path), trusted=True)

    def standing(self, commit: str) -> Standing:
        """Open the working tree; ``commit`` is any object id of the repository and tells its object format."""
        return Standing(self.repository.root, algorithm_of(commit))

    def configured(self) -> Configured:
        """Read the settings that matter here, in one go."""
        listed = self.git.run("config", "--show-scope", "-z", "--list").stdout.split(b"\0")
        found: dict[str, str] = {}
        for scope, setting in zip(listed[0::2], listed[1::2], strict=False):
            key, has_value, value = os.fsdecode(setting).partition("\n")
            # What we switch off ourselves comes from the command line; only what the user wrote is asked for here.
            if scope != b"command" or key not in ("core.hookspath", "commit.gpgsign"):
                found[key] = value if has_value else "true"

        def flag(key: str, default: bool) -> bool:
            return found.get(key, str(default)).lower() in ("true", "yes", "on", "1")

        return Configured(
            file_mode=flag("core.filemode", True),
            symlinks=flag("core.symlinks", True),
            ignore_case=flag("core.ignorecase", False),
            sparse=flag("core.sparsecheckout", False),
            cone=flag("core.sparsecheckoutcone", True),
            auto_crlf=flag("core.autocrlf", False),
            crlf=found.get("core.eol", "").lower() == "crlf",
            sign=flag("commit.gpgsign", False),
            hooks_path=found.get("core.hookspath", ""),
            filters=tuple(
                sorted({key.split(".", 1)[1].rpartition(".")[0] for key in found if _is_filter(key)})
            ),
            commands=read_commands(found),
            shared=found.get("core.sharedrepository", "").lower() not in _UNSHARED,
            named_apart=any(key.startswith(("author.", "committer.")) for key in found),
        )

    def head(self) -> tuple[str, str]:
        """Return the full name of the branch that is checked out and its commit.

        Raises:
            UsageError: HEAD is detached, or the branch has no commit yet.
        """
        branch, commit = read_head(Path(self.repository.git_dir), Path(self.repository.common_dir))
        if commit:
            return branch, commit
        # One git for both: the second word is an option that holds for what comes after it.
        done = self.git.run("rev-parse", "HEAD^{commit}", "--symbolic-full-name", "HEAD", check=False)
        words = os.fsdecode(done.stdout).split()
        if done.code == 0 and len(words) == 2 and words[1].startswith("refs/"):
            return words[1], words[0]
        branch = os.fsdecode(self.git.run("symbolic-ref", "-q", "HEAD", check=False).stdout).strip()
        if not branch:
            raise UsageError(
                "HEAD is detached: there is no branch to put the commit on",
                code="promote.detached",
                where=[self.repository.root],
                hint="check out a branch first (git switch main), or make one: --new-branch NAME",
            )
        commit = self.commit_of(branch)
        if not commit:
            raise UsageError(f"{short(branch)} has no commit yet", code="repository.no_commit")
        return branch, commit

    def is_checked_out(self, branch: str) -> bool:
        """Tell whether a branch is the one of this working tree."""
        found = read_head(Path(self.repository.git_dir), Path(self.repository.common_dir))[0]
        if not found:
            done = self.git.run("symbolic-ref", "-q", "HEAD", check=False)
            found = os.fsdecode(done.stdout).strip()
        return found == branch

    def commit_of(self, ref: str) -> str:
        """Return the commit a ref is at, empty when there is no such ref."""
        found = find_ref(Path(self.repository.common_dir), ref)
        if found is not None:
            return found
        done = self.git.run("rev-parse", "--verify", "-q", f"{ref}^{{commit}}", check=False)
        return os.fsdecode(done.stdout).strip()

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Tell whether ``older`` is ``newer`` or one of its ancestors."""
        return (
            older == newer or self.git.run("merge-base", "--is-ancestor", older, newer, check=False).code == 0
        )


def _is_filter(key: str) -> bool:
    return key.startswith("filter.") and key.count(".") >= 2


def algorithm_of(object_id: str) -> str:
    """Return the hash of the object format an id belongs to."""
    return "sha256" if len(object_id) == 64 else "sha1"


def short(branch: str) -> str:
    """Return ``main`` for ``refs/heads/main``."""
    return branch.removeprefix("refs/heads/")


def refuse_unless_ready(site: Site) -> None:
    """Refuse a repository in which something of the user's waits to be finished.

    Raises:
        DriftError: a merge, rebase, cherry-pick, revert or bisect is in progress, or another git holds the index.
        UsageError: it cannot be written to, or its branch is checked out twice.
    """
    git_dir = Path(site.repository.git_dir)
    for name, operation, hint in _IN_PROGRESS:
        if (git_dir / name).exists():
            raise DriftError(
                f"a {operation} is in progress in {site.repository.root}; nothing was changed",
                code="drift.operation",
                hint=f"finish it, or give it up: {hint}",
            )
    if (git_dir / "index.lock").exists():
        raise index_locked(git_dir)
    refuse_unless_writable(site)


def index_locked(git_dir: Path) -> DriftError:
    """Return the error for an index.lock that is not ours."""
    return DriftError(
        "another git is working in this repository; nothing was changed",
        code="drift.locked",
        where=[f"{git_dir / 'index.lock'} exists"],
        hint="wait for it; if no git is running, that file was left by one that died: remove it",
    )


def refuse_unless_writable(site: Site) -> None:
    """Raise UsageError when the repository cannot be written to."""
    place = find_read_only(site)
    packs = Path(site.repository.common_dir) / "objects" / "pack"
    if place is None and packs.is_dir() and not os.access(packs, os.W_OK | os.X_OK):
        # Made by another user's git, for one; keeping a commit by a ref needs none of it.
        place = packs
    if place is not None:
        raise UsageError(
            f"{place} cannot be written to; nothing was changed",
            code="promote.read_only",
            hint="make it writable for you, or promote from a checkout that is",
        )


def find_read_only(site: Site) -> Path | None:
    """Return a place of the repository that we may not write to, None when there is none."""
    git_dir, common = Path(site.repository.git_dir), Path(site.repository.common_dir)
    for place in (Path(site.repository.root), git_dir, common, common / "objects", common / "refs" / "heads"):
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            return place
    return None


def _is_nowhere_else(site: Site, branch: str) -> bool:
    """Tell from the files alone, where they are readable and in the usual form, that no other working tree is on a branch."""
    common = Path(site.repository.common_dir)
    own = os.path.realpath(site.repository.git_dir)
    try:
        others = [each for each in (common, *common.glob("worktrees/*")) if os.path.realpath(each) != own]
        heads = [(each / "HEAD").read_bytes().strip() for each in others]
        if any((each / "HEAD").is_symlink() for each in others):
            return False  # the oldest form of all
    except OSError:
        return False
    wanted = b"ref: " + os.fsencode(branch)
    # With another store of refs (reftable) it holds a name that no branch can have.
    return not any(head == wanted or b".invalid" in head for head in heads)


def refuse_second_checkout(site: Site, branch: str) -> None:
    """Refuse a branch that another working tree has checked out: it would fall behind without being told."""
    if not (Path(site.repository.common_dir) / "worktrees").is_dir():
        return
    if _is_nowhere_else(site, branch):
        return
    listed = os.fsdecode(site.git.run("worktree", "list", "--porcelain", "-z").stdout)
    for block in listed.split("\0\0"):
        fields = dict(line.partition(" ")[::2] for line in block.split("\0") if line)
        place = fields.get("worktree", "")
        if fields.get("branch") == branch and os.path.realpath(place) != site.repository.root:
            raise DriftError(
                f"{short(branch)} is checked out in another working tree; nothing was changed",
                code="drift.worktree",
                where=[place],
                hint="switch one of them to another branch",
            )
