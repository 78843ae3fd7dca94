"""Rows: work inside shadow and sandbox against the same work outside."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ground import SANDBOX_ENV, Ground
from rows import Row

from nightcrew.model.isolation import Bind

WORK = Path(__file__).with_name("work.py")
PYTHON = str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")
GOALS = {
    "git status": 1.3,
    "grep -r": 1.3,
    "find": 1.3,
    "write 2,000 files": 1.1,
    "start a process": 1.1,
    "CPU": 1.02,
}

ON_FILES = ("git status", "grep -r", "find", "write 2,000 files")


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    yield from _work(ground, rounds)


def _work(ground: Ground, rounds: int) -> Iterator[Row]:
    """Each round has a shadow of its own, and the one before is removed meanwhile, as when one task follows another.

    What is written outside is moved out of the tree, not removed: the yardstick never pays for a removal. All have the
    environment of a sandbox: a search costs more or less by the language that is set. Beside work in the repository
    stands the same on an overlay of the same layers that nothing of ours is around: what of the price is the kernel's.
    """
    binds = [Bind(sys.base_prefix, sys.base_prefix), Bind(str(WORK), "/run/tools/work.py")]
    aside = ground.place / f"written-{os.getpid()}"
    aside.mkdir()
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    for number in range(rounds):
        shadow = ground.shadows.open(f"inside-{number}", ground.base)
        said = ground.confined(
            [PYTHON, "-I", "-S", "/run/tools/work.py", str(ground.repository)], shadow, binds
        )
        note(ours, said)
        ground.shadows.discard(shadow)
        # Its removal is not what is measured; that it has just happened is.
        ground.shadows.finish()
        note(theirs, _run([PYTHON, "-I", "-S", str(WORK), str(ground.repository), str(aside)]))
        note(bare, _run_on_overlay(ground, number))
    shutil.rmtree(aside)
    for what, mine in ours.items():
        took, name = statistics.median(mine), f"inside: {what}"
        outside, overlay = statistics.median(theirs[what]), statistics.median(bare[what])
        yield Row(name, ground.number, took, "the same outside", outside, GOALS.get(what))
        if what in ON_FILES:
            yield Row(name, ground.number, took, "the same on a bare overlay mount", overlay)
            yield Row(f"a bare overlay: {what}", ground.number, overlay, "the same outside", outside)


def _run_on_overlay(ground: Ground, number: int) -> bytes:
    """Do it on an overlay of a shadow's layers, mounted as a shadow's is, in namespaces of its own and nothing else."""
    place = ground.state / "overlays" / str(number)
    for name in ("upper", "work", "objects"):
        (place / name).mkdir(parents=True)
    root = str(ground.repository)
    lowers = ":".join((ground.base.skeleton, *ground.base.lowers))
    options = f"lowerdir={lowers},upperdir={place}/upper,workdir={place}/work,userxattr,volatile"
    mounts = (
        f"mount --bind {root}/.git/objects {place}/objects && mount -t overlay -o {options} overlay {root}"
    )
    argv = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    # The list of object directories in a shadow's git directory names a place that only a sandbox has.
    objects = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": f"{place}/objects"}
    return _run([*argv, PYTHON, "-I", "-S", str(WORK), root], objects)


def _run(argv: list[str], more: Mapping[str, str] = MappingProxyType({})) -> bytes:
    return subprocess.run(argv, env={**SANDBOX_ENV, **more}, check=True, stdout=subprocess.PIPE).stdout


def note(times: dict[str, list[float]], said: bytes) -> None:
    for what, took in json.loads(said).items():
        times.setdefault(what, []).append(took)
