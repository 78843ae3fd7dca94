"""Exports of base commits: immutable, made once per commit, shared by every shadow of it.

The first one is the whole commit as files. A later one is a layer with what differs from an earlier one, so that a
newer base commit costs its difference; see ``layering.py`` for when it is made whole again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from nightcrew.host import crash, files, tokens
from nightcrew.host.apart import Emptied
from nightcrew.host.git import Git
from nightcrew.host.indexfile import IndexFile
from nightcrew.host.locks import FileLock
from nightcrew.host.spreading import make_spreading
from nightcrew.model.errors import EngineUnavailable
from nightcrew.model.trees import Repository
from nightcrew.shadow.collecting import GRACE_S, Ages, measure_tree
from nightcrew.shadow.export import Base
from nightcrew.shadow.exporting import Exporter
from nightcrew.shadow.layering import Candidate, Difference, Layering, choose
from nightcrew.shadow.names import GIT
from nightcrew.shadow.objects import Found, Objects
from nightcrew.shadow.settings import digest_rules, read_settings
from nightcrew.shadow.skeleton import make_lenient, write_skeleton
from nightcrew.shadow.submodules import check_out_submodules, is_below

_EXPORT_TIMEOUT_S: Final = 1800.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_VERSION: Final = 3


class Bases:
    """The exports of one repository, in ``<directory>/<commit>/``.

    Args:
        directory: of ours.
        repository: the user's repository.
        env: environment for git.
        own: further object directory, see ``Objects``.
        layering: when an export may be a difference to another.
        emptied: is told which part of the disk an export was removed from.
    """

    def __init__(
        self,
        directory: Path,
        repository: Repository,
        env: Mapping[str, str],
        own: str = "",
        layering: Layering | None = None,
        *,
        emptied: Emptied,
    ) -> None:
        self._directory = directory
        self._repository = repository
        self._env = env
        self._objects = Objects(repository, env, own)
        self._layering = layering or Layering()
        self._emptied = emptied

    def export(self, commit: str) -> Base:
        """Return the export of a commit, making it when it is not there; several processes may ask at once.

        Raises:
            NotFound: the repository does not have the commit (any more).
            EngineUnavailable: another process has been exporting the same commit for half an hour.
            GitError: git could not check it out (a filter failed, a partial clone has no network, disk full).
        """
        found = self._load(commit)
        if found is None:
            make_spreading(self._directory)
            lock = FileLock(self._directory / f"{commit}.lock")
            if not lock.acquire(_EXPORT_TIMEOUT_S):
                raise EngineUnavailable(
                    f"{lock.holder()} is still exporting {commit}", code="shadow.export_busy"
                )
            try:
                found = self._load(commit) or self._make(commit)
            finally:
                lock.release()
        try:
            # What it lies on first: a collector looks at each by itself.
            self._renew([self._directory / each / "meta.json" for each in self._with_parents(commit)][::-1])
        except FileNotFoundError:
            # Collected at this very moment.
            return self.export(commit)
        return found

    def sweep(self) -> None:
        """Remove what interrupted exports left half made; what another process is making stays."""
        for left in self._directory.glob(".*-*"):
            lock = FileLock(self._directory / f"{left.name.split('-')[1]}.lock")
            if lock.acquire():
                with contextlib.suppress(FileNotFoundError):  # another process was quicker
                    self._empty(left)
                lock.release()

    def collect(self, keep: Iterable[str], grace_s: float = GRACE_S, *, dry_run: bool = False) -> int:
        """Remove every export that is neither kept, nor below one that is, nor was asked for just now.

        Args:
            keep: commits.
            dry_run: only tell what would become free.

        Returns:
            Bytes of disk that became free.
        """
        wanted = {commit for each in keep for commit in self._with_parents(each)}
        published = self._published()
        ages = Ages(self._directory, grace_s)
        for commit in published:
            if ages.is_fresh(self._directory / commit / "meta.json"):
                wanted |= set(self._with_parents(commit))
        unwanted = [commit for commit in published if commit not in wanted]
        if dry_run:
            return sum(measure_tree(self._directory / commit) for commit in unwanted)
        return sum(self._remove(commit, ages) for commit in unwanted)

    # -- inside -------------------------------------------------------------------------------------------------

    def _renew(self, metas: Sequence[Path]) -> None:
        """Note that these were asked for now, each a little later than the one before.

        The clock of files ticks in milliseconds, and what was asked for last is what the next export is laid on.
        """
        last_ns = 0
        for meta in metas:
            os.utime(meta)
            now_ns = meta.stat().st_mtime_ns
            if now_ns <= last_ns:
                now_ns = last_ns + 1
                os.utime(meta, ns=(now_ns, now_ns))
            last_ns = now_ns

    def _published(self) -> list[str]:
        """Return the commits that have an export, the one asked for last first."""
        found = []
        for place in self._directory.glob("[!.]*/meta.json"):
            # Collected at this very moment: it is none any more.
            with contextlib.suppress(FileNotFoundError):
                found.append((place.stat().st_mtime_ns, place.parent.name))
        return [name for _, name in sorted(found, reverse=True)]

    def _remove(self, commit: str, ages: Ages) -> int:
        """Take an export out of sight and remove it; not while one is made that may be laid on it."""
        lock = FileLock(self._directory / f"{commit}.lock")
        if not lock.acquire():
            return 0
        try:
            place = self._directory / commit
            if self._is_making() or ages.is_fresh(place / "meta.json"):
                return 0
            gone = self._directory / f".gone-{commit}-{tokens.nonce()}"
            place.rename(gone)
            crash.point("shadow.collect_base")
            freed = measure_tree(gone)
            self._empty(gone)
            return freed
        finally:
            lock.release()

    def _empty(self, place: Path) -> None:
        """Remove what is out of sight, and keep in mind from where: what is made there next would be dear."""
        inode = place.stat().st_ino
        self._emptied.note(inode, files.remove_tree(place, inside=self._directory))

    def _is_making(self) -> bool:
        """Tell whether an export is being made now; what a killed process left is none."""
        for left in self._directory.glob(".new-*"):
            lock = FileLock(self._directory / f"{left.name.split('-')[1]}.lock")
            if not lock.acquire():
                return True
            lock.release()
        return False

    def _with_parents(self, commit: str) -> Iterator[str]:
        while commit:
            yield commit
            meta = self._read(commit)
            commit = meta.get("parent", "") if meta else ""

    def _read(self, commit: str) -> dict[str, Any] | None:
        try:
            meta: dict[str, Any] = json.loads((self._directory / commit / "meta.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return meta

    def _load(self, commit: str) -> Base | None:
        """Return a published export; one that a power loss may have hurt counts as none."""
        meta = self._read(commit)
        if meta is None:
            return None
        parent = self._load(meta["parent"]) if meta.get("parent") else None
        if meta.get("parent") and parent is None:
            return None
        base = self._describe(commit, meta, parent)
        if meta["boot"] != boot_id() and not self._survived(base, meta):
            return None
        return base

    def _survived(self, base: Base, meta: dict[str, Any]) -> bool:
        """After a restart of the machine: compare status with the index once, as git inside will.

        One whose files were restored from a backup, or given to another user, would look changed all over there.

        Exports are not flushed to disk file by file (that would double their cost), so a power loss can leave files
        cut short; those differ from the index. A layer is made anew instead: that costs little, and what it hides is
        in no index. So is an export with the files of submodules, which are in no index either.
        """
        if base.parent or meta.get("submodules"):
            return False
        git = self._git(base.lowers[0], str(base.index))
        strict = ("-c", "core.checkStat=default", "-c", "core.trustCtime=true")
        if git.run(*strict, "diff-files", "--quiet", check=False).code != 0:
            return False
        place = self._directory / base.commit
        files.write_atomic(place / "meta.json", _encode({**meta, "boot": boot_id()}))
        return True

    def _make(self, commit: str) -> Base:
        found = self._objects.find(commit)
        aside = self._directory / f".new-{commit}-{tokens.nonce()}"
        place = self._directory / commit
        git = self._git("", "")
        settings = read_settings(git)
        rules = digest_rules(settings, self._repository, self._env)
        try:
            # There before the choice is made: from then on nothing that may be chosen is collected, see _remove.
            (aside / "tree").mkdir(parents=True)
            (aside / "tree").chmod(0o755)
            below = self._choose(found, rules)
            skeleton = aside / "git" / GIT
            write_skeleton(skeleton, self._repository, commit, git, settings)
            if (aside / "tree").stat().st_gid != os.getegid():
                # The directory gives its own group to all that is made in it. A sandbox may not know that one.
                make_lenient(skeleton)
            if found.own:
                self._objects.copy_own(commit, skeleton / "objects")
            meta = {
                "version": _VERSION,
                "tree": found.tree,
                "boot": boot_id(),
                "rules": rules,
                **self._fill(aside, commit, found, below),
            }
            # Not flushed, as the files are not; one that a power loss has cut short is no meta.json, see _read.
            (aside / "meta.json").write_bytes(_encode(meta))
            crash.point("shadow.export_publish")
            # Only a damaged export can be in the way, see _load.
            files.remove_tree(place, inside=self._directory)
            aside.rename(place)
        finally:
            files.remove_tree(aside, inside=self._directory)
        return self._describe(commit, meta, below[0] if below else None)

    def _fill(
        self, aside: Path, commit: str, found: Found, below: tuple[Base, Difference] | None
    ) -> dict[str, Any]:
        """Write files and index of an export and return what its ``meta.json`` says about them."""
        id_bytes = len(commit) // 2
        exporter = Exporter(self._objects, aside / "tree", own=found.own)
        index = aside / "git" / GIT / "index"
        # Never as young as the index, whatever the clock of the committer said.
        modified_s = max(0, min(found.committed_s, int(aside.stat().st_mtime) - 10))
        if below is None:
            exporter.check_out(index, commit)
            made = IndexFile(index.read_bytes(), id_bytes).with_times(aside / "tree", modified_s)
            filled = check_out_submodules(
                Path(self._repository.root), made, aside / "tree", modified_s, self._env
            )
            written: dict[str, Any] = {"parent": "", "changed": 0, "submodules": list(filled)}
        else:
            parent, difference = below
            modified_s = max(modified_s, parent.modified_s)
            changes = exporter.write_layer(difference, parent, modified_s)
            made = IndexFile.read(parent.index, parent.marks, id_bytes).derive(changes)
            above = self._read(parent.commit) or {}
            gone = {os.fsdecode(path) for path in difference.deleted}
            written = {
                "parent": parent.commit,
                "changed": above.get("changed", 0) + len(changes),
                "submodules": [path for path in parent.submodules if not is_below(path, gone)],
            }
        index.unlink(missing_ok=True)
        index.write_bytes(made.data)
        (aside / "marks").write_bytes(made.marks)
        return {**written, "entries": made.count, "modified_s": modified_s}

    def _choose(self, found: Found, rules: str) -> tuple[Base, Difference] | None:
        """Return the export to lay a difference on, and the difference; None when it must be a whole one."""
        candidates = (self._candidate(commit, rules) for commit in self._published())
        usable = (candidate for candidate in candidates if candidate is not None)
        return choose(self._objects, self._layering, found.tree, usable, own=found.own)

    def _candidate(self, commit: str, rules: str) -> Candidate | None:
        meta = self._read(commit)
        if meta is None or meta["version"] != _VERSION or meta["rules"] != rules:
            return None
        base = self._load(commit)
        return Candidate(base, meta["entries"], meta["changed"]) if base else None

    def _git(self, work_tree: str, index: str) -> Git:
        return Git(
            self._repository.git_dir, env=self._env, work_tree=work_tree, index_file=index, trusted=True
        )

    def _describe(self, commit: str, meta: Mapping[str, Any], parent: Base | None) -> Base:
        place = self._directory / commit
        return Base(
            commit,
            meta["tree"],
            (str(place / "tree"), *(parent.lowers if parent else ())),
            str(place / "git"),
            meta["modified_s"],
            meta.get("parent", ""),
            tuple(meta.get("submodules", ())),
        )


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def _encode(meta: Mapping[str, Any]) -> bytes:
    return json.dumps(meta, sort_keys=True).encode("ascii") + b"\n"
