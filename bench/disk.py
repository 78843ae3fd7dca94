"""Rows: a thousand checkpoints of ten changed files, what they occupy, and whether the last costs more than the first."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from changes import Taker
from ground import ENV, Ground
from rows import Row, disk_kib

from nightcrew.checkpoint.store import Store

CHECKPOINTS = 1000
CHANGED = 10
WORKED_ON = 500
"""Files that the agent keeps coming back to."""


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    """Measure once: bytes do not vary, and the times are a thousand."""
    ground.store.close()
    ground.store = Store(ground.state / "thousand", ground.known, env=ENV)
    shadow = ground.shadows.open("thousand", ground.base)
    upper = Path(shadow.path)
    dice = random.Random(11)
    favourites = ground.files.spread(min(WORKED_ON, ground.number // 2), seed=10)
    taker = Taker(ground, shadow)
    taker.take()
    before = disk_kib(ground.store.path)
    changed_bytes = 0
    times = []
    for _ in range(CHECKPOINTS):
        chosen = dice.sample(favourites, CHANGED)
        mark = next(ground.fresh)
        ground.files.write(upper, chosen, mark)
        changed_bytes += sum(len(ground.files.content(at, mark)) for at in chosen)
        started = time.perf_counter()
        taker.take()
        times.append((time.perf_counter() - started) * 1000)
    # As at the end of a run: what the background has begun is waited for, what is left is put together.
    ground.store.close()
    ground.store.tidy()
    ground.store.close()
    used = disk_kib(ground.store.path) - before
    ground.shadows.discard(shadow)
    goal = 1.3 if ground.number >= 100_000 else None
    what = f"disk of {CHECKPOINTS} checkpoints of {CHANGED} files"
    yield Row(what, ground.number, used, "bytes of the changed contents", changed_bytes / 1024, goal, "KiB")
    first, last = statistics.median(times[:100]), statistics.median(times[-100:])
    yield Row("the last 100 of these checkpoints", ground.number, last, "the first 100", first, 2)
    worst = sorted(times)[int(len(times) * 0.99)]
    yield Row(
        "the slowest in 100 of these checkpoints",
        ground.number,
        worst,
        "the median",
        statistics.median(times),
    )
