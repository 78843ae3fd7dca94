"""Rows: work inside shadow and sandbox against the same work outside."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ground import ENV, Ground
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


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    yield from _work(ground, rounds)


def _work(ground: Ground, rounds: int) -> Iterator[Row]:
    """Each round has a shadow of its own, and the one before is removed meanwhile, as when one task follows another.

    What is written outside is moved out of the tree, not removed: the yardstick never pays for a removal.
    """
    binds = [Bind(sys.base_prefix, sys.base_prefix), Bind(str(WORK), "/run/tools/work.py")]
    aside = ground.place / f"written-{os.getpid()}"
    aside.mkdir()
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for number in range(rounds):
        shadow = ground.shadows.open(f"inside-{number}", ground.base)
        said = ground.confined(
            [PYTHON, "-I", "-S", "/run/tools/work.py", str(ground.repository)], shadow, binds
        )
        note(ours, said)
        ground.shadows.discard(shadow)
        # Its removal is not what is measured; that it has just happened is.
        ground.shadows.finish()
        argv = [PYTHON, "-I", "-S", str(WORK), str(ground.repository), str(aside)]
        note(theirs, subprocess.run(argv, env=ENV, check=True, stdout=subprocess.PIPE).stdout)
    shutil.rmtree(aside)
    for what, mine in ours.items():
        medians = statistics.median(mine), statistics.median(theirs[what])
        yield Row(
            f"inside: {what}", ground.number, medians[0], "the same outside", medians[1], GOALS.get(what)
        )


def note(times: dict[str, list[float]], said: bytes) -> None:
    for what, took in json.loads(said).items():
        times.setdefault(what, []).append(took)
