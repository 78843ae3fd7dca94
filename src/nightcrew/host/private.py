"""Our own history of a directory that is not a git repository: a git directory in our state, with that directory as its
working tree. Nothing of it lies in the directory itself.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nightcrew.host import files, tokens
from nightcrew.host.git import Git
from nightcrew.model.errors import UsageError
from nightcrew.model.trees import Repository

_HEADS: Final = b"refs/heads/"
BRANCH: Final = "directory"
"""Name of the only branch of a new history. It stands on screens where a branch does, so it says what it is: nobody here has
a branch called main. Histories from before have that name and keep it: promotions were recorded with it."""
GIT: Final = "git"
"""Name of the git directory inside our directory for such a place."""

_SYSTEM: Final = "bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var"
_TOO_WIDE: Final = frozenset(["/", *(f"/{name}" for name in _SYSTEM.split())])
_EXCLUDED: Final = (
    *("/.nightcrew-promotion/", "node_modules/", ".venv/", "venv/", "__pycache__/", ".DS_Store"),
    *(
        ".env",
        ".env.*",
        "!.env.example",
        "!.env.sample",
        "*.pem",
        "*.p12",
        "id_rsa",
        "id_ed25519",
        ".netrc",
        ".ssh/",
        ".aws/",
    ),
)
"""What people list in .gitignore: environments, and files whose names say that they hold secrets. A .gitignore in the
directory can bring them back (``!name``)."""
_ATTRIBUTES: Final = b"* -text -ident -filter -working-tree-encoding\n"
"""Bytes are kept as they are: there is no git here whose conversions anybody asked for."""
_NOBODY: Final = (("user.name", "nightcrew"), ("user.email", "nightcrew@localhost"))


def key_of(root: str) -> str:
    """Return the name of our folder for a directory: recognisable, and nobody else's."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(root).name).strip("-.")[:32] or "directory"
    return f"{slug}-{hashlib.sha256(b'directory ' + os.fsencode(root)).hexdigest()[:10]}"


def find_private(path: Path, state: Path, env: Mapping[str, str]) -> Repository | None:
    """Return our history of ``path`` or of the nearest directory above it that has one.

    Args:
        path: an existing directory.
        state: our state directory.
        env: environment for git.
    """
    place = Path(os.path.realpath(path))
    for root in (place, *place.parents):
        if (git_dir := state / key_of(str(root)) / GIT).is_dir():
            return describe_private(str(root), git_dir, env)
    return None


def describe_private(root: str, git_dir: Path, env: Mapping[str, str]) -> Repository:
    """Return a directory with our history of it as a repository."""
    git = Git(str(git_dir), env=env, work_tree=root, trusted=True)
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", check=False)
    return Repository(
        root=root,
        git_dir=str(git_dir),
        common_dir=str(git_dir),
        head=os.fsdecode(head.stdout).strip(),
        branch=_read_branch(git),
        key=git_dir.parent.name,
        private=True,
    )


def _read_branch(git: Git) -> str:
    """Return the branch of a history; one from before has another name, and a newer git may keep HEAD in a table."""
    head = (Path(git.git_dir) / "HEAD").read_bytes().strip().removeprefix(b"ref: ")
    if head.endswith(b"/.invalid"):
        head = git.run("symbolic-ref", "HEAD").stdout.strip()
    return os.fsdecode(head) if head.startswith(_HEADS) else os.fsdecode(_HEADS) + BRANCH


def make_private(path: Path, state: Path, env: Mapping[str, str], *, home: Path) -> Repository:
    """Begin a history of a directory; nothing is written into it. What is there already is used.

    Args:
        home: of the user, which is never taken as a whole.

    Raises:
        UsageError: the directory holds more than one project: home, a system directory, or our own state.
    """
    root = os.path.realpath(path)
    _refuse_too_wide(root, state, home)
    place = state / key_of(root)
    git_dir = place / GIT
    if not git_dir.is_dir():
        files.ensure_private_directory(state)
        files.ensure_private_directory(place)
        aside = place / f".new-{tokens.nonce()}"
        try:
            _fill(aside, root, git_dir, env)
            aside.rename(git_dir)
        except OSError:
            if not git_dir.is_dir():
                raise
            # Another process was quicker; its history is as good.
        finally:
            files.remove_tree(aside, inside=place)
    return describe_private(root, git_dir, env)


def _fill(aside: Path, root: str, git_dir: Path, env: Mapping[str, str]) -> None:
    git = Git("", env=env, work_tree=str(git_dir.parent), trusted=True)
    git.run("init", "--quiet", "--bare", "--template=", "--object-format=sha1", "-b", BRANCH, str(aside))
    own = Git(str(aside), env=env, trusted=True)
    set_already = own.run("config", "--name-only", "--list", check=False).stdout.split()
    settings = [("core.bare", "false"), ("core.worktree", root), ("core.autocrlf", "false")]
    settings += [pair for pair in _NOBODY if pair[0].encode() not in set_already]
    for key, value in settings:
        own.run("config", key, value)
    (aside / "info").mkdir(exist_ok=True)
    (aside / "info/exclude").write_text("".join(f"{line}\n" for line in _EXCLUDED), encoding="ascii")
    (aside / "info/attributes").write_bytes(_ATTRIBUTES)


def _refuse_too_wide(root: str, state: Path, home: Path) -> None:
    own = os.path.realpath(state)
    user = os.path.realpath(home)
    why = ""
    if root in _TOO_WIDE or root.startswith(("/proc/", "/sys/", "/dev/")):
        why = "a directory of the system"
    elif _holds(root, user):
        why = "or holds your home directory"
    elif _holds(root, own) or _holds(own, root):
        why = "or holds nightcrew's own state"
    if why:
        raise UsageError(
            f"{root} is {why}, not a project: nightcrew does not keep a history of it; nothing was started",
            code="repository.too_wide",
            hint="go to the directory of one project",
        )


def _holds(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")
