"""Layers between a base and a task's own work: one per base and tree, written once, shared by every shadow on it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightcrew.host import crash, files, tokens
from nightcrew.host.apart import Emptied
from nightcrew.host.spreading import make_spreading
from nightcrew.model.trees import DeltaEntry
from nightcrew.shadow.bases import boot_id
from nightcrew.shadow.collecting import GRACE_S, Ages, make_aside, measure_tree, sweep_aside
from nightcrew.shadow.export import Base
from nightcrew.shadow.history import commit_delta, commit_stored, is_stored
from nightcrew.shadow.layers import Stack, write_layer
from nightcrew.shadow.objects import Objects

_VERSION: Final = 1
_MANY: Final = 500


@dataclass(frozen=True, slots=True)
class DeltaLayer:
    """A difference to a base as a read-only layer, with a commit of it in its ``.git``.

    Attributes:
        name: ``<base commit>-<tree>``.
        path: absolute path of the layer.
    """

    name: str
    path: str


class Deltas:
    """The delta layers of one repository, in ``<directory>/<name>/``.

    Args:
        emptied: the parts of the disk that new layers keep away from.
    """

    def __init__(self, directory: Path, objects: Objects, emptied: Emptied) -> None:
        self._directory = directory
        self._objects = objects
        self._emptied = emptied

    def find(self, name: str) -> DeltaLayer | None:
        """Return a layer made since the machine was started; those before were never flushed to disk."""
        place = self._directory / name
        try:
            meta = json.loads((place / "meta.json").read_bytes())
            os.utime(place / "meta.json")
        except FileNotFoundError:
            return None
        return DeltaLayer(name, str(place / "layer")) if meta["boot"] == boot_id() else None

    def lay(self, base: Base, delta: Iterable[DeltaEntry], tree: str) -> DeltaLayer | None:
        """Return the layer for a difference, writing it when it is not there; None when nothing differs.

        Args:
            delta: not looked at when a layer for the tree is there.
            tree: what base and delta make together; empty when not known, then the layer is written to find out.

        Raises:
            ValueError: a path leaves the tree or enters a git directory.
            OSError: disk full; nothing became visible.
        """
        if tree == base.tree:
            return None
        found = self.find(f"{base.commit}-{tree}") if tree else None
        if found is not None:
            return found
        entries = list(delta)
        return self._make(base, entries, tree) if entries else None

    def sweep(self, *, dry_run: bool = False) -> int:
        """Remove what interrupted processes left half made or half removed, and return the bytes that frees."""
        return sweep_aside(self._directory, dry_run=dry_run)

    def collect(self, keep: Collection[str], grace_s: float = GRACE_S, *, dry_run: bool = False) -> int:
        """Remove every layer that is neither kept nor was asked for just now, and return the bytes that frees."""
        freed = 0
        ages = Ages(self._directory, grace_s)
        for place in sorted(self._directory.glob("[!.]*/")):
            if place.name not in keep and not ages.is_fresh(place / "meta.json"):
                freed += measure_tree(place) if dry_run else self._remove(place)
        return freed

    # -- inside -------------------------------------------------------------------------------------------------

    def _make(self, base: Base, delta: list[DeltaEntry], tree: str) -> DeltaLayer:
        make_spreading(self._directory)
        # A part of the disk that nobody has read lately costs a small layer more than an emptied one.
        make = Path.mkdir if len(delta) < _MANY else self._emptied.make_apart
        aside, lock = make_aside(self._directory, make)
        try:
            layer = aside / "layer"
            layer.mkdir()
            layer.chmod(0o755)
            written = self._write(base, layer, delta, tree)
            meta = {"version": _VERSION, "base": base.commit, "boot": boot_id()}
            # Not flushed, as nothing of a shadow is.
            (aside / "meta.json").write_text(json.dumps(meta, sort_keys=True), encoding="ascii")
            crash.point("shadow.delta_publish")
            return self._publish(aside, f"{base.commit}-{written}")
        finally:
            lock.release()
            files.remove_tree(aside, inside=self._directory)

    def _write(self, base: Base, layer: Path, delta: list[DeltaEntry], tree: str) -> str:
        """Write the files and their commit; return the tree they make."""
        # One second after the base, so that what was built from the base alone is older.
        under, modified_s = Stack(base.lowers), base.modified_s + 1
        if not is_stored(delta, self._objects, tree):
            write_layer(layer, delta, under, modified_s)
            written = commit_delta(base, layer, delta, self._objects)
            return tree or written
        with ThreadPoolExecutor(1) as other:
            committing = other.submit(commit_stored, base, layer, delta, self._objects, tree)
            write_layer(layer, delta, under, modified_s)
            committing.result()
        return tree

    def _publish(self, aside: Path, name: str) -> DeltaLayer:
        place = self._directory / name
        try:
            aside.rename(place)
        except OSError:
            found = self.find(name)
            if found is not None:
                # Somebody else was quicker with the same layer.
                return found
            if not place.exists():
                raise
            # From before a restart of the machine: no live shadow lies on it.
            self._remove(place)
            aside.rename(place)
        return DeltaLayer(name, str(place / "layer"))

    def _remove(self, place: Path) -> int:
        gone = self._directory / f".gone-{tokens.nonce()}"
        try:
            place.rename(gone)
        except FileNotFoundError:
            # Another process was quicker.
            return 0
        freed = measure_tree(gone)
        # What is out of sight a sweep may be removing as well.
        with contextlib.suppress(FileNotFoundError):
            inode = gone.stat().st_ino
            self._emptied.note(inode, files.remove_tree(gone, inside=self._directory))
        return freed
