"""The lines of the table: a measured figure beside its yardstick, and how both are measured."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENOUGH_S = 4.0
MOST = 5
"""Times the rounds that were asked for."""


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        what: the operation.
        files: size of the repository, 0 when it plays no part.
        ours, yardstick: medians, in ``unit``.
        against: what the yardstick is.
        goal: the largest ours/yardstick that is still good; None when nothing was promised at this size.
        unit: ``ms``, or ``KiB``.
    """

    what: str
    files: int
    ours: float
    against: str
    yardstick: float
    goal: float | None = None
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        return self.ours / self.yardstick if self.yardstick else float("inf")

    @property
    def missed(self) -> bool:
        return self.goal is not None and self.ratio > self.goal

    def value(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "missed": self.missed}


@dataclass(frozen=True)
class Act:
    """Something to time: ``prepare`` and ``tidy`` are not part of it."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    tidy: Callable[[], object] = lambda: None


def interleave(acts: Sequence[Act], rounds: int) -> list[float]:
    """Return the median of each act in milliseconds; each round has every act once, so that load hits all of them.

    Short acts are the ones that load disturbs most, so they get more rounds: as many as fit into four seconds. What was written before is flushed before the clock starts: otherwise whoever flushes first pays for the others.
    """
    times: list[list[float]] = [[] for _ in acts]
    begun = time.monotonic()
    done = 0
    while done < rounds or (done < MOST * rounds and time.monotonic() - begun < ENOUGH_S):
        done += 1
        for act, mine in zip(acts, times, strict=True):
            act.prepare()
            os.sync()
            started = time.perf_counter()
            act.run()
            mine.append((time.perf_counter() - started) * 1000)
            act.tidy()
    return [statistics.median(each) for each in times]


def disk_kib(place: Path) -> float:
    """Return what a directory tree occupies on disk, in KiB."""
    blocks = place.lstat().st_blocks
    for directory, names, files in os.walk(place):
        blocks += sum(os.lstat(f"{directory}/{name}").st_blocks for name in (*names, *files))
    return blocks / 2


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    print(
        f"{'operation':<58}{'files':>7}{'ours':>11} {'':<4}{'yardstick':<44}{'':>11}{'ratio':>10}{'goal':>9}"
    )
    for row in rows:
        show_row(row)


def show_row(row: Row) -> None:
    goal = "-" if row.goal is None else f"{row.goal:.3g}x"
    mark = "  MISSED" if row.missed else ""
    files = f"{row.files // 1000}k" if row.files else ""
    print(
        f"{row.what:<58}{files:>7}{row.ours:>11.2f} {row.unit:<4}{row.against:<44}{row.yardstick:>11.2f}"
        f"{row.ratio:>9.3g}x{goal:>9}{mark}"
    )
    sys.stdout.flush()


def show_markdown(rows: Sequence[Row]) -> None:
    """Print the tables of the documentation: one with a column for each size, one where the size plays no part."""
    for chosen in ([row for row in rows if row.files], [row for row in rows if not row.files]):
        sizes = sorted({row.files for row in chosen})
        if not sizes:
            continue
        heads = [f"{size // 1000}k files" if size else "" for size in sizes]
        print(f"\n| operation | yardstick | goal | {' | '.join(heads)} |\n|---|---|--:|{'--:|' * len(sizes)}")
        for what, against in dict.fromkeys((row.what, row.against) for row in chosen):
            same = {row.files: row for row in chosen if (row.what, row.against) == (what, against)}
            goals = {f"{row.goal:.3g}" for row in same.values() if row.goal is not None}
            cells = [_cell(same[size]) if size in same else "" for size in sizes]
            print(f"| {what} | {against} | {' '.join(sorted(goals))} | {' | '.join(cells)} |")


def _cell(row: Row) -> str:
    """Return ``ours / yardstick = ratio``, in bold where the goal was missed."""
    ratio = f"**{row.ratio:.2g}** missed" if row.missed else f"{row.ratio:.2g}"
    return f"{_short(row.ours)} / {_short(row.yardstick)} {row.unit} = {ratio}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
