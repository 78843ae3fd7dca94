"""Where git finds objects while an export or a delta is made, and those that only our own store has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nightcrew.host.git import Git
from nightcrew.model.errors import NotFound
from nightcrew.model.trees import Repository
from nightcrew.shadow.names import GIT


@dataclass(frozen=True, slots=True)
class Found:
    """A commit that is to be exported.

    Attributes:
        tree: its tree; committed_s: its date, seconds since the epoch, as its committer says.
        own: only our own objects have it.
    """

    tree: str
    committed_s: int
    own: bool


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects that a base commit is made of.

    Attributes:
        repository: the user's repository.
        env: environment for git.
        own: further object directory, for commits that the user's repository does not have (a snapshot of the
            working tree); empty for none. Of it a shadow gets what its base needs, never the whole.
    """

    repository: Repository
    env: Mapping[str, str]
    own: str = ""

    def find(self, commit: str) -> Found:
        """Return what must be known of a commit to export it.

        Raises:
            NotFound: neither the user's repository nor our own objects have it (any more).
        """
        git = Git(self.repository.git_dir, env=self.env, trusted=True)
        for own in (False, True) if self.own else (False,):
            extra = self.alternates(own=own)
            done = git.run("show", "-s", "--format=%T %ct", commit, "--", check=False, extra=extra)
            if done.code == 0:
                tree, _, committed_s = done.stdout.decode().partition(" ")
                return Found(tree, int(committed_s), own)
        raise NotFound(
            f"the base commit {commit} is not in {self.repository.root} any more",
            code="shadow.base_missing",
            hint="bring it back (git fetch, git reflog) or start a new run from the present HEAD",
        )

    def alternates(self, *more: str, own: bool) -> dict[str, str]:
        """Return the variables that let git on the user's repository find our own objects and ``more``."""
        places = [*more, *((self.own,) if own else ())]
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": join_directories(places)} if places else {}

    def copy_own(self, commit: str, target: Path) -> None:
        """Write what of a commit only our own store has into one pack.

        Args:
            target: an object directory.
        """
        git = Git(self.repository.git_dir, env=self.env, trusted=True)
        user = f"{self.repository.common_dir}/objects"
        extra = {
            "GIT_OBJECT_DIRECTORY": self.own,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": join_directories([user]),
        }
        found = git.run("rev-list", "--parents", "--max-count=1", commit, extra=extra).stdout.split()
        revisions = b"".join([b"%s\n" % found[0], *(b"^%s\n" % parent for parent in found[1:])])
        # --local leaves out whatever the user's repository has; that is visible inside anyway.
        words = ("pack-objects", "-q", "--revs", "--local", str(target / "pack" / "pack"))
        git.run(*words, input=revisions, extra=extra)


def write_repository(place: Path, id_length: int) -> None:
    """Make the least that git takes for a repository: somewhere to import objects, never read by an agent."""
    (place / "refs").mkdir(parents=True)
    (place / "objects").mkdir()
    (place / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
    version, extension = (1, "[extensions]\n\tobjectformat = sha256\n") if id_length == 64 else (0, "")
    settings = f"[core]\n\trepositoryformatversion = {version}\n\tbare = true\n{extension}"
    (place / "config").write_text(settings, encoding="ascii")


def objects_of_skeleton(skeleton: str) -> str:
    """Return the private object directory of an export."""
    return f"{skeleton}/{GIT}/objects"


def join_directories(paths: Sequence[str]) -> str:
    """Quote paths for GIT_ALTERNATE_OBJECT_DIRECTORIES, where a colon separates."""
    return ":".join(_quote(path) for path in paths)


def _quote(path: str) -> str:
    if ":" not in path and not path.startswith('"'):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
