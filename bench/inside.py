"""Rows: work inside shadow and sandbox against the same work outside; the start of a confined process."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ground import ENV, Ground, Silence
from rows import Act, Row, interleave

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
AT_ONCE = 100


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    yield from _start(ground, rounds)
    yield from _work(ground, rounds)


def _work(ground: Ground, rounds: int) -> Iterator[Row]:
    shadow = ground.shadows.open("inside", ground.base)
    binds = [Bind(sys.base_prefix, sys.base_prefix), Bind(str(WORK), "/run/tools/work.py")]
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for _ in range(rounds):
        said = ground.confined(
            [PYTHON, "-I", "-S", "/run/tools/work.py", str(ground.repository)], shadow, binds
        )
        note(ours, said)
        argv = [PYTHON, "-I", "-S", str(WORK), str(ground.repository)]
        note(theirs, subprocess.run(argv, env=ENV, check=True, stdout=subprocess.PIPE).stdout)
    ground.shadows.discard(shadow)
    for what, mine in ours.items():
        medians = statistics.median(mine), statistics.median(theirs[what])
        yield Row(
            f"inside: {what}", ground.number, medians[0], "the same outside", medians[1], GOALS.get(what)
        )


def note(times: dict[str, list[float]], said: bytes) -> None:
    for what, took in json.loads(said).items():
        times.setdefault(what, []).append(took)


def _start(ground: Ground, rounds: int) -> Iterator[Row]:
    shadow = ground.shadows.open("start", ground.base)

    def start_true() -> None:
        ground.confined(["/bin/true"], shadow)

    def fork() -> None:
        subprocess.run(["/bin/true"], env=ENV, check=True)

    ours, bare = interleave([Act(start_true), Act(fork)], rounds * 3)
    yield Row("confined `true` on a shadow", ground.number, ours, "fork + exec", bare, 4)
    ground.shadows.discard(shadow)
    if bwrap := shutil.which("bwrap"):
        yield _against_bwrap(ground, rounds, bwrap)
    yield _at_once(ground, min(rounds, 3))


def _against_bwrap(ground: Ground, rounds: int, bwrap: str) -> Row:
    argv = [
        bwrap,
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
    ]
    shadow = ground.shadows.open("bwrap", ground.base)
    ours, theirs = interleave(
        [
            Act(lambda: ground.confined(["/bin/true"], shadow)),
            Act(lambda: subprocess.run([*argv, "/bin/true"], env=ENV, check=True)),
        ],
        rounds * 3,
    )
    ground.shadows.discard(shadow)
    return Row("confined `true` on a shadow", ground.number, ours, "bwrap --unshare-all true", theirs, 1.5)


def _at_once(ground: Ground, rounds: int) -> Row:
    """A hundred confined processes asked for in the same moment, each on a shadow of its own."""
    shadows = [ground.shadows.open(f"at-once-{number}", ground.base) for number in range(AT_ONCE)]
    each = []
    for _ in range(rounds):
        specs = [ground.spec(["/bin/true"], shadow) for shadow in shadows]
        threads = [
            threading.Thread(
                target=ground.launcher.run, args=(spec, Silence()), kwargs={"cancel": threading.Event()}
            )
            for spec in specs
        ]
        os.sync()
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        each.append((time.perf_counter() - started) * 1000 / AT_ONCE)
    for shadow in shadows:
        ground.shadows.discard(shadow)
    return Row(
        f"each of {AT_ONCE} confined `true` at once", ground.number, statistics.median(each), "5 ms", 5.0, 1
    )
