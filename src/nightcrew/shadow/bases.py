"""Exports of base commits: one immutable directory tree per commit, made once, shared by every shadow of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nightcrew.host import crash, files, tokens
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable, NotFound
from nightcrew.model.trees import Repository
from nightcrew.shadow.indexfile import set_times
from nightcrew.shadow.names import GIT
from nightcrew.shadow.skeleton import write_skeleton

_EXPORT_TIMEOUT_S: Final = 1800.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

# An index of our own: in one file, complete, in the form that `indexfile` understands; submodules stay empty.
_CHECKOUT: Final = (
    ("core.splitIndex", "false"),
    ("index.version", "2"),
    ("index.sparse", "false"),
    ("index.skipHash", "false"),
    ("core.untrackedCache", "false"),
    ("submodule.recurse", "false"),
    ("checkout.workers", "0"),
)


@dataclass(frozen=True, slots=True)
class Base:
    """The export of one commit.

    Attributes:
        commit, tree: full ids.
        path: absolute path of the exported files; only ever a lower layer, nothing writes there.
        skeleton: absolute path of a directory that holds the private ``.git`` and nothing else.
        modified_s: modification time of all exported files, seconds since the epoch.
    """

    commit: str
    tree: str
    path: str
    skeleton: str
    modified_s: int


class Bases:
    """The exports of one repository, in ``<directory>/<commit>/``."""

    def __init__(self, directory: Path, repository: Repository, env: Mapping[str, str]) -> None:
        self._directory = directory
        self._repository = repository
        self._env = env

    def export(self, commit: str) -> Base:
        """Return the export of a commit, making it when it is not there; several processes may ask at once.

        Raises:
            NotFound: the repository does not have the commit (any more).
            EngineUnavailable: another process has been exporting the same commit for half an hour.
            GitError: git could not check it out (a filter failed, a partial clone has no network, disk full).
        """
        found = self._load(commit)
        if found is not None:
            return found
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._directory / f"{commit}.lock")
        if not lock.acquire(_EXPORT_TIMEOUT_S):
            raise EngineUnavailable(f"{lock.holder()} is still exporting {commit}", code="shadow.export_busy")
        try:
            return self._load(commit) or self._make(commit)
        finally:
            lock.release()

    def sweep(self) -> None:
        """Remove what interrupted exports left half made; what another process is making stays."""
        for left in self._directory.glob(".new-*"):
            lock = FileLock(self._directory / f"{left.name.split('-')[1]}.lock")
            if lock.acquire():
                files.remove_tree(left, inside=self._directory)
                lock.release()

    def _load(self, commit: str) -> Base | None:
        """Return a published export; one that a power loss may have hurt counts as none."""
        place = self._directory / commit
        try:
            meta = json.loads((place / "meta.json").read_bytes())
        except FileNotFoundError:
            return None
        base = self._describe(place, meta)
        if meta["boot"] != boot_id() and not self._survived(base, place, meta):
            return None
        return base

    def _survived(self, base: Base, place: Path, meta: dict[str, Any]) -> bool:
        """After a restart of the machine: compare sizes and times with the index once.

        Exports are not flushed to disk file by file (that would double their cost), so a power loss can leave files
        cut short; those differ from the index.
        """
        git = self._git(str(place / "tree"), str(place / "git" / GIT / "index"))
        lenient = ("-c", "core.checkStat=minimal", "-c", "core.trustCtime=false")
        if git.run(*lenient, "diff-files", "--quiet", check=False).code != 0:
            return False
        files.write_atomic(place / "meta.json", _encode({**meta, "boot": boot_id()}))
        return True

    def _make(self, commit: str) -> Base:
        tree = self._tree_of(commit)
        aside = self._directory / f".new-{commit}-{tokens.nonce()}"
        place = self._directory / commit
        try:
            (aside / "tree").mkdir(parents=True)
            (aside / "tree").chmod(0o755)
            meta = {
                "version": 1,
                "tree": tree,
                "boot": boot_id(),
                "modified_s": self._check_out(aside, commit),
            }
            files.write_atomic(aside / "meta.json", _encode(meta))
            crash.point("shadow.export_publish")
            # Only a damaged export can be in the way, see _load.
            files.remove_tree(place, inside=self._directory)
            aside.rename(place)
        finally:
            files.remove_tree(aside, inside=self._directory)
        return self._describe(place, meta)

    def _check_out(self, aside: Path, commit: str) -> int:
        index = aside / "git" / GIT / "index"
        git = self._git(str(aside / "tree"), str(index))
        write_skeleton(index.parent, self._repository, commit, git)
        settings = [word for key, value in _CHECKOUT for word in ("-c", f"{key}={value}")]
        git.run(*settings, "read-tree", "-m", "-u", commit, timeout_s=_EXPORT_TIMEOUT_S)
        committed_s = int(git.text("show", "-s", "--format=%ct", commit))
        # Never as young as the index, whatever the clock of the committer said.
        modified_s = max(0, min(committed_s, int(index.stat().st_mtime) - 10))
        set_times(index, aside / "tree", modified_s, len(commit) // 2)
        return modified_s

    def _tree_of(self, commit: str) -> str:
        git = Git(self._repository.git_dir, env=self._env, trusted=True)
        done = git.run("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", check=False)
        if done.code != 0:
            raise NotFound(
                f"the base commit {commit} is not in {self._repository.root} any more",
                code="shadow.base_missing",
                hint="bring it back (git fetch, git reflog) or start a new run from the present HEAD",
            )
        return done.stdout.decode().strip()

    def _git(self, work_tree: str, index: str) -> Git:
        return Git(
            self._repository.git_dir, env=self._env, work_tree=work_tree, index_file=index, trusted=True
        )

    def _describe(self, place: Path, meta: dict[str, Any]) -> Base:
        return Base(place.name, meta["tree"], str(place / "tree"), str(place / "git"), meta["modified_s"])


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _encode(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True).encode("ascii") + b"\n"
