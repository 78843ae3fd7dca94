"""Shadows: open, mount, scan, discard. One writable place per name, over an immutable export of the base commit."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nightcrew.host import crash, files, tokens
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import StaleError
from nightcrew.model.isolation import Bind, Overlay
from nightcrew.model.trees import DeltaEntry, Entry, Repository
from nightcrew.shadow.bases import Base, Bases, boot_id
from nightcrew.shadow.copies import copy_tree, scan_copy
from nightcrew.shadow.environment import find_environment
from nightcrew.shadow.history import commit_delta
from nightcrew.shadow.layers import Stack, apply_delta, write_layer
from nightcrew.shadow.mounts import bind_objects, overlay_environment, point_at_objects
from nightcrew.shadow.names import GIT
from nightcrew.shadow.scan import scan_layer

Mode = Literal["overlay", "copy"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Shadow:
    """One open shadow; its lock is ours until ``Shadows.close`` or ``Shadows.discard``.

    Attributes:
        name: as given to ``open``.
        base: the export it lies on.
        mode: ``overlay`` or ``copy``.
        path: absolute path of what the task writes: the upper layer, or the whole copy (usable as it is without any
            mount, which is what isolation level S0 does).
        directory: absolute path of everything that belongs to it.
        has_delta: results of other tasks lie between base and upper.
        environment: environment folders, relative to the repository.
    """

    name: str
    base: Base
    mode: Mode
    path: str
    directory: str
    has_delta: bool = False
    environment: tuple[str, ...] = ()


class Shadows:
    """The shadows of one repository.

    Args:
        root: directory of ours for this repository; gets ``bases/`` and ``shadows/``.
        repository: the user's repository.
        env: environment for git.
        mode: ``overlay`` where the host can mount it (``IsolationReport.overlay``), else ``copy``.
        environment: names (or relative paths) of ignored folders to show copy-on-write.
        why: for ``copy``: why there is no overlay, in words.
    """

    def __init__(
        self,
        root: Path,
        repository: Repository,
        *,
        env: Mapping[str, str],
        mode: Mode = "overlay",
        environment: Sequence[str] = (),
        why: str = "",
    ) -> None:
        self._root = root
        self._repository = repository
        self._env = env
        self._mode: Mode = mode
        self._names = tuple(environment)
        self._why = why
        self._bases = Bases(root / "bases", repository, env)
        self._locks: dict[str, FileLock] = {}
        self._guard = threading.Lock()
        self._found: tuple[str, ...] | None = None

    def describe(self) -> str:
        """Return how shadows are made here, for a person."""
        return "overlay" if self._mode == "overlay" else f"plain copy: {self._why or 'asked for'}"

    def export(self, commit: str) -> Base:
        """Return the immutable export of a commit; see ``Bases.export`` for what can go wrong."""
        files.ensure_private_directory(self._root)
        return self._bases.export(commit)

    def open(self, name: str, base: Base, delta: Iterable[DeltaEntry] = ()) -> Shadow:
        """Make a shadow.

        Args:
            name: one path component, unused; see ``reopen`` for one that exists.
            delta: what lies between the base and the task's own work, such as the results of other tasks; seen
                inside as a commit on top of the base commit. It is part of what the task starts from: ``scan``
                tells what changed against base *and* delta.

        Raises:
            ValueError: a name that is not one plain path component, or a delta that leaves the tree.
            StaleError: a shadow of this name exists.
            OSError: disk full.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name for a shadow: {name!r}")
        place = self._place(name)
        if place.exists():
            raise _exists(name)
        aside = place.with_name(f".new-{tokens.nonce()}")
        aside.mkdir(parents=True)
        lock = FileLock(aside / "lock")
        lock.acquire()
        try:
            meta = self._fill(aside, base, list(delta))
            # Not flushed: nothing of a shadow is, and none is used after a power loss (see reopen).
            (aside / "meta.json").write_text(json.dumps(meta, sort_keys=True), encoding="ascii")
            crash.point("shadow.open_publish")
            self._publish(aside, place, name)
        except BaseException:
            lock.release()
            files.remove_tree(aside, inside=place.parent)
            raise
        lock.path = place / "lock"
        with self._guard:
            self._locks[name] = lock
        return self._describe(place, meta, base)

    def reopen(self, name: str) -> Shadow | None:
        """Return a shadow made before, with its changes; None when there is none that can be trusted.

        A shadow from before the last restart of the machine cannot: its files were never flushed to disk. It is
        removed; go on from the last checkpoint.

        Raises:
            StaleError: it is open, here or in another process.
        """
        place = self._place(name)
        try:
            meta = json.loads((place / "meta.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._take_lock(name, place)
        if meta["boot"] != boot_id():
            self._remove(name, place)
            return None
        return self._describe(place, meta, self._bases.export(meta["base"]))

    def close(self, shadow: Shadow) -> None:
        """Give up the lock and keep the shadow for ``reopen``."""
        with self._guard:
            lock = self._locks.pop(shadow.name, None)
        if lock is not None:
            lock.release()

    def discard(self, shadow: Shadow) -> None:
        """Remove the shadow with everything in it; nothing may be mounted on it."""
        self._remove(shadow.name, self._place(shadow.name))

    def names(self) -> tuple[str, ...]:
        """Return the names of all shadows on disk, open ones too, sorted."""
        return tuple(sorted(p.name for p in (self._root / "shadows").glob("[!.]*")))

    def sweep(self) -> None:
        """Remove what interrupted processes left half made or half removed; what others still use stays."""
        for left in (self._root / "shadows").glob(".*"):
            lock = FileLock(left / "lock")
            if lock.acquire():
                files.remove_tree(left, inside=left.parent)
                lock.release()
        self._bases.sweep()

    def scan(self, shadow: Shadow) -> Iterator[Entry]:
        """Yield what changed against base and delta; nothing may be running in the shadow."""
        under = Stack(_lowers(shadow))
        if shadow.mode == "overlay":
            return scan_layer(shadow.path, under)
        copied_ns = (Path(shadow.directory) / "copied").stat().st_ctime_ns
        return scan_copy(shadow.path, under, copied_ns, frozenset(shadow.environment))

    def mounts(self, shadow: Shadow) -> tuple[tuple[Overlay, ...], tuple[Bind, ...]]:
        """Return what to mount for one process tree, in this order: the overlays, then the binds.

        Called anew for every process tree: each overlay mount needs a work directory that none had before.
        """
        place = Path(shadow.directory)
        objects = tuple(bind_objects(place, self._repository))
        if shadow.mode == "copy":
            tree = Bind(shadow.path, self._repository.root, writable=True)
            return (), (tree, *objects, *point_at_objects(place, self._repository))
        work = place / "work"
        files.remove_tree(work, inside=place)
        top = Overlay(self._repository.root, _lowers(shadow, skeleton=True), shadow.path, str(work / "top"))
        (work / "top").mkdir(parents=True)
        return (top, *overlay_environment(place, self._repository, shadow.environment)), objects

    # -- inside -------------------------------------------------------------------------------------------------

    def _place(self, name: str) -> Path:
        return self._root / "shadows" / name

    def _fill(self, aside: Path, base: Base, delta: list[DeltaEntry]) -> dict[str, Any]:
        meta = {
            "version": 1,
            "mode": self._mode,
            "base": base.commit,
            "boot": boot_id(),
            "delta": bool(delta),
            "environment": self._environment(),
        }
        # One second after the base, so that what was built from the base alone is older.
        modified_s = base.modified_s + 1
        if delta:
            layer = aside / "layers" / "deps"
            layer.mkdir(parents=True)
            write_layer(layer, delta, Stack([base.path]), modified_s)
            commit_delta(base, layer, delta, self._repository, self._env)
        upper = aside / "upper"
        if self._mode == "overlay":
            upper.mkdir()
            upper.chmod(0o755)
        else:
            self._copy(upper, base, delta, aside, modified_s)
        return meta

    def _copy(self, target: Path, base: Base, delta: list[DeltaEntry], aside: Path, modified_s: int) -> None:
        copy_tree(Path(base.path), target)
        target.chmod(0o755)
        apply_delta(target, delta, modified_s)
        copy_tree(Path(base.skeleton) / GIT, target / GIT)
        if delta:
            copy_tree(aside / "layers" / "deps" / GIT, target / GIT)
        # Usable without mounts: there the user's objects are where they are.
        (target / GIT / "objects/info/alternates").write_bytes(
            os.fsencode(f"{self._repository.common_dir}/objects\n")
        )
        for folder in self._environment():
            (target / folder).parent.mkdir(parents=True, exist_ok=True)
            copy_tree(Path(self._repository.root) / folder, target / folder)
        (aside / "copied").write_bytes(b"")

    def _environment(self) -> tuple[str, ...]:
        """Look for environment folders once: a walk over the user's working tree."""
        if self._found is None:
            root = self._repository.root
            git = Git(self._repository.git_dir, env=self._env, work_tree=root, trusted=True)
            self._found = find_environment(git, root, self._names)
        return self._found

    def _publish(self, aside: Path, place: Path, name: str) -> None:
        try:
            aside.rename(place)
        except OSError as error:
            if place.exists():
                raise _exists(name) from error
            raise

    def _describe(self, place: Path, meta: Mapping[str, Any], base: Base) -> Shadow:
        return Shadow(
            name=place.name,
            base=base,
            mode=meta["mode"],
            path=str(place / "upper"),
            directory=str(place),
            has_delta=meta["delta"],
            environment=tuple(meta["environment"]),
        )

    def _take_lock(self, name: str, place: Path) -> None:
        lock = FileLock(place / "lock")
        with self._guard:
            if name in self._locks or not lock.acquire():
                raise StaleError(
                    f"the shadow {name} is in use by {lock.holder() or 'another process'}",
                    code="shadow.in_use",
                )
            self._locks[name] = lock

    def _remove(self, name: str, place: Path) -> None:
        """Take the shadow out of sight in one act, then remove it at leisure."""
        gone = place.with_name(f".gone-{tokens.nonce()}")
        try:
            place.rename(gone)
            files.remove_tree(gone, inside=gone.parent)
        except FileNotFoundError:
            # Discarded before.
            pass
        finally:
            with self._guard:
                lock = self._locks.pop(name, None)
            if lock is not None:
                lock.release()


def _lowers(shadow: Shadow, *, skeleton: bool = False) -> tuple[str, ...]:
    deps = (f"{shadow.directory}/layers/deps",) if shadow.has_delta else ()
    return (*deps, *((shadow.base.skeleton,) if skeleton else ()), shadow.base.path)


def _exists(name: str) -> StaleError:
    return StaleError(
        f"a shadow named {name} exists",
        code="shadow.exists",
        hint="reopen it, or discard it and open it anew",
    )
