"""Shadows: open, mount, scan, discard. One writable place per name, over an immutable export of the base commit."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nightcrew.host import crash, files, tokens
from nightcrew.host.apart import Emptied
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.host.spreading import make_spreading
from nightcrew.model.errors import StaleError
from nightcrew.model.isolation import Bind, Overlay
from nightcrew.model.trees import DeltaEntry, Entry, Repository
from nightcrew.shadow.bases import Bases, boot_id
from nightcrew.shadow.collecting import GRACE_S, make_aside, sweep_aside
from nightcrew.shadow.copies import copy_stack, copy_tree, scan_copy
from nightcrew.shadow.deltas import DeltaLayer, Deltas
from nightcrew.shadow.environment import find_environment
from nightcrew.shadow.export import Base
from nightcrew.shadow.ladder import Mode, describe_mode
from nightcrew.shadow.layering import Layering
from nightcrew.shadow.layers import Stack
from nightcrew.shadow.mounts import bind_objects, overlay_environment, point_at_objects
from nightcrew.shadow.names import GIT
from nightcrew.shadow.objects import Objects
from nightcrew.shadow.removing import Removals
from nightcrew.shadow.scan import ScanMemory, scan_layer
from nightcrew.shadow.skeleton import make_lenient
from nightcrew.shadow.submodules import is_gone_in_layer, refuse_inside

_VERSION: Final = 2
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Shadow:
    """One open shadow; its lock is ours until ``Shadows.close`` or ``Shadows.discard``.

    Attributes:
        name: as given to ``open``.
        base: the export it lies on.
        mode: how it was made, see ``ladder``.
        path: absolute path of what the task writes: the upper layer, or the whole copy (usable as it is without any
            mount, which is what isolation level S0 does).
        directory: absolute path of everything that belongs to it.
        delta: name of the layer between base and upper (results of other tasks, a checkpoint); empty when there is none.
        lowers: absolute paths of the read-only layers under it, topmost first, without the private ``.git`` of the base.
        environment: environment folders, relative to the repository.
    """

    name: str
    base: Base
    mode: Mode
    path: str
    directory: str
    delta: str = ""
    lowers: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


class Shadows:
    """The shadows of one repository.

    Args:
        root: directory of ours for this repository; gets ``bases/``, ``deltas/`` and ``shadows/``.
        repository: the user's repository.
        env: environment for git.
        mode: the best that works here, see ``ladder.choose_mode``.
        environment: names (or relative paths) of ignored folders to show copy-on-write.
        why: why it is nothing better, in words.
        own_objects: object directory of ours with commits that the user's repository does not have (snapshots of the
            working tree); empty for none. A shadow gets what its base needs of it, never the whole.
        layering: when the export of a newer commit is a difference to an older one.
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
        own_objects: str = "",
        layering: Layering | None = None,
    ) -> None:
        self._root = root
        self._repository = repository
        self._env = env
        self._mode: Mode = mode
        self._names = tuple(environment)
        self._why = why
        self._emptied = Emptied(root / "emptied")
        self._bases = Bases(root / "bases", repository, env, own_objects, layering, emptied=self._emptied)
        self._deltas = Deltas(root / "deltas", Objects(repository, env, own_objects), self._emptied)
        self._locks: dict[str, FileLock] = {}
        self._guard = threading.Lock()
        self._removals = Removals(self._emptied)
        self._memories: dict[str, ScanMemory] = {}
        self._found: tuple[str, ...] | None = None

    def describe(self) -> str:
        """Return how shadows are made here, for a person."""
        return describe_mode(self._mode) + (f": {self._why}" if self._why else "")

    def export(self, commit: str) -> Base:
        """Return the immutable export of a commit; see ``Bases.export`` for what can go wrong."""
        files.ensure_private_directory(self._root)
        return self._bases.export(commit)

    def open(self, name: str, base: Base, delta: Iterable[DeltaEntry] = (), *, tree: str = "") -> Shadow:
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
        with self._removals.put_off():
            return self._open(name, place, base, delta, tree)

    def _open(self, name: str, place: Path, base: Base, delta: Iterable[DeltaEntry], tree: str) -> Shadow:
        # Asked for again, so that it counts as used now and is there, whoever collects meanwhile.
        base = self.export(base.commit)
        layer = self._deltas.lay(base, delta, tree)
        make_spreading(place.parent)
        aside, lock = make_aside(place.parent, self._emptied.make_apart)
        try:
            meta = self._fill(aside, base, layer)
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
        return self._describe(place, meta, base, layer)

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
        layer = self._deltas.find(meta["delta"]) if meta["version"] == _VERSION and meta["delta"] else None
        if meta["version"] != _VERSION or meta["boot"] != boot_id() or (meta["delta"] and layer is None):
            self._remove(name, place)
            return None
        return self._describe(place, meta, self._bases.export(meta["base"]), layer)

    def close(self, shadow: Shadow) -> None:
        """Give up the lock and keep the shadow for ``reopen``."""
        with self._guard:
            lock = self._locks.pop(shadow.name, None)
            self._memories.pop(shadow.name, None)
        if lock is not None:
            lock.release()

    def discard(self, shadow: Shadow) -> None:
        """Remove the shadow with everything in it; nothing may be mounted on it."""
        self._remove(shadow.name, self._place(shadow.name))

    def remove(self, name: str) -> bool:
        """Remove a shadow by its name, whatever state it is in; False when somebody has it open."""
        place = self._place(name)
        try:
            self._take_lock(name, place)
        except StaleError:
            return False
        self._remove(name, place)
        return True

    def finish(self) -> None:
        """Wait until what was discarded is off the disk."""
        self._removals.finish()

    def names(self) -> tuple[str, ...]:
        """Return the names of all shadows on disk, open ones too, sorted."""
        return tuple(sorted(p.name for p in (self._root / "shadows").glob("[!.]*")))

    def sweep(self, *, dry_run: bool = False) -> int:
        """Remove what interrupted processes left half made or half removed, and return the bytes that frees.

        What others still use stays; exports left half made go, too, and are not counted.

        Args:
            dry_run: only tell what would become free.
        """
        self.finish()
        freed = sweep_aside(self._root / "shadows", dry_run=dry_run) + self._deltas.sweep(dry_run=dry_run)
        if not dry_run:
            self._bases.sweep()
        return freed

    def collect(
        self, keep_bases: Collection[str] = (), *, grace_s: float = GRACE_S, dry_run: bool = False
    ) -> int:
        """Remove exports and delta layers that nothing needs, and return the bytes that became free.

        What lies under a shadow on disk stays, and so does what was asked for within the last minutes.

        Args:
            keep_bases: commits whose exports stay whatever happens.
            grace_s: how long ago something must have been asked for, in seconds.
            dry_run: only tell what would become free.
        """
        self.finish()
        metas = [meta for name in self.names() if (meta := self._read(name)) is not None]
        freed = self._deltas.collect({str(meta["delta"]) for meta in metas}, grace_s, dry_run=dry_run)
        keep = {*keep_bases, *(meta["base"] for meta in metas)}
        return freed + self._bases.collect(keep, grace_s, dry_run=dry_run)

    def scan(self, shadow: Shadow, empty: list[str] | None = None) -> Iterator[Entry]:
        """Yield what changed against base and delta; nothing may be running in the shadow.

        Args:
            empty: gets the new directories that nothing is in; git has none, so no entry stands for them.
        """
        submodules = shadow.base.submodules
        if shadow.mode == "overlay":
            found = scan_layer(shadow.path, self._memory(shadow), empty)
            return refuse_inside(found, submodules, lambda path: is_gone_in_layer(shadow.path, path))
        copied_ns = (Path(shadow.directory) / "copied").stat().st_ctime_ns
        apart = frozenset(shadow.environment)
        found = scan_copy(shadow.path, Stack(shadow.lowers), copied_ns, apart, empty)
        return refuse_inside(found, submodules, lambda path: not Path(shadow.path, path).is_dir())

    def mounts(self, shadow: Shadow) -> tuple[tuple[Overlay, ...], tuple[Bind, ...]]:
        """Return what to mount for one process tree, in this order: the overlays, then the binds.

        Called anew for every process tree: each overlay mount needs a work directory that none had before.
        """
        place = Path(shadow.directory)
        objects = tuple(bind_objects(place, self._repository))
        if shadow.mode != "overlay":
            tree = Bind(shadow.path, self._repository.root, writable=True)
            return (), (tree, *objects, *point_at_objects(place, self._repository))
        # The old ones stay until the shadow goes: removing them would hold up every start.
        work = place / "work" / tokens.nonce()
        deltas = shadow.lowers[: -len(shadow.base.lowers)]
        lowers = (*deltas, shadow.base.skeleton, *shadow.base.lowers)
        top = Overlay(self._repository.root, lowers, shadow.path, str(work / "top"))
        (work / "top").mkdir(parents=True)
        return (top, *overlay_environment(place, work, self._repository, shadow.environment)), objects

    # -- inside -------------------------------------------------------------------------------------------------

    def _memory(self, shadow: Shadow) -> ScanMemory:
        with self._guard:
            if shadow.name not in self._memories:
                clock = Path(shadow.directory) / "meta.json"
                self._memories[shadow.name] = ScanMemory(Stack(shadow.lowers), clock)
            return self._memories[shadow.name]

    def _place(self, name: str) -> Path:
        return self._root / "shadows" / name

    def _read(self, name: str) -> dict[str, Any] | None:
        """Return what a shadow says of itself; None when there is none, or one of an older version."""
        try:
            meta: dict[str, Any] = json.loads((self._place(name) / "meta.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return meta if meta["version"] == _VERSION else None

    def _fill(self, aside: Path, base: Base, layer: DeltaLayer | None) -> dict[str, Any]:
        upper = aside / "upper"
        upper.mkdir()
        upper.chmod(0o755)
        if self._mode != "overlay":
            self._copy(upper, base, layer, aside)
        # Git does not trust what it knows of a directory that is as young as its index, and writes that again.
        os.utime(upper, (base.modified_s, base.modified_s))
        return {
            "version": _VERSION,
            "mode": self._mode,
            "base": base.commit,
            "boot": boot_id(),
            "delta": layer.name if layer else "",
            "environment": self._environment(),
        }

    def _copy(self, target: Path, base: Base, layer: DeltaLayer | None, aside: Path) -> None:
        share = self._mode == "reflink"
        copy_stack(Stack(_lowers(base, layer)), target, share=share)
        copy_tree(Path(base.skeleton) / GIT, target / GIT, share=share)
        if layer:
            copy_tree(Path(layer.path) / GIT, target / GIT, share=share)
        make_lenient(target / GIT)
        # Usable without mounts: there the user's objects are where they are.
        (target / GIT / "objects/info/alternates").write_bytes(
            os.fsencode(f"{self._repository.common_dir}/objects\n")
        )
        for folder in self._environment():
            (target / folder).parent.mkdir(parents=True, exist_ok=True)
            copy_tree(Path(self._repository.root) / folder, target / folder, share=share)
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

    def _describe(self, place: Path, meta: Mapping[str, Any], base: Base, layer: DeltaLayer | None) -> Shadow:
        return Shadow(
            name=place.name,
            base=base,
            mode=meta["mode"],
            path=str(place / "upper"),
            directory=str(place),
            delta=meta["delta"],
            lowers=_lowers(base, layer),
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
        """Take the shadow out of sight in one act; it is removed in the background, see ``finish``."""
        with self._guard:
            lock = self._locks.pop(name, None)
            self._memories.pop(name, None)
        gone = place.with_name(f".gone-{tokens.nonce()}")
        try:
            place.rename(gone)
        except FileNotFoundError:
            # Discarded before.
            if lock is not None:
                lock.release()
            return
        self._removals.add(gone, lock)


def _lowers(base: Base, layer: DeltaLayer | None) -> tuple[str, ...]:
    return ((layer.path,) if layer else ()) + base.lowers


def _exists(name: str) -> StaleError:
    return StaleError(
        f"a shadow named {name} exists",
        code="shadow.exists",
        hint="reopen it, or discard it and open it anew",
    )
