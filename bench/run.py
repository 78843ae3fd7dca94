"""The benchmark: what nightcrew's parts cost in repositories of several sizes, each figure beside a yardstick.

Usage: ``uv run python bench/run.py [--sizes 1k,10k,100k] [--only opening,changes] [--rounds 7] [--json] [--strict]``.
1,000 files take two minutes, 100,000 half an hour and 4 GB of disk, on two cores.

Figures are medians; ours and the yardstick take turns, so that the load of a shared machine hits both. Goals are
ratios; one that is missed is told, and fails only with ``--strict``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import changes
import commands
import disk
import inside
import judging
import landing
import merging
import network
import opening
import starting
from ground import Ground
from rows import Row, show, show_markdown, show_row

PARTS: Mapping[str, Callable[[Ground, int], Iterator[Row]]] = {
    "export": opening.measure_exports,
    "opening": opening.measure,
    "changes": changes.measure,
    "inside": inside.measure,
    "starting": starting.measure,
    "network": network.measure,
    "merging": merging.measure,
    "landing": landing.measure,
    "disk": disk.measure,
    "judging": judging.measure,
    "commands": commands.measure,
}

ONCE = ("judging", "commands", "network")
"""Parts for which the size of the repository plays no part."""


def main() -> int:
    """Measure, print the table, and tell which goals were missed."""
    options = parse(sys.argv[1:])
    place = Path(options.place or tempfile.mkdtemp(prefix="nightcrew-bench-"))
    rows = []
    try:
        if not (options.json or options.markdown):
            show([])
        parts = options.only.split(",")
        for number, size in enumerate(options.sizes.split(",")):
            chosen = [part for part in parts if number == 0 or part not in ONCE]
            for row in measure(place, files_of(size), chosen, options.rounds):
                rows.append(row)
                if not (options.json or options.markdown):
                    show_row(row)
    finally:
        if not options.place:
            shutil.rmtree(place, ignore_errors=True)
    if options.json:
        print(json.dumps([row.value() for row in rows], indent=1))
    elif options.markdown:
        show_markdown(rows)
    return 1 if options.strict and any(row.missed for row in rows) else 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1k", help="numbers of files, such as 1k,10k,100k")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each figure")
    parser.add_argument("--place", help="directory that keeps the repositories for the next time")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the table as docs/benchmarks.md has it")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    return parser.parse_args(argv)


def files_of(size: str) -> int:
    return int(size.removesuffix("k")) * (1000 if size.endswith("k") else 1)


def measure(place: Path, files: int, parts: Sequence[str], rounds: int) -> Iterator[Row]:
    ground = Ground(place / str(files), files)
    try:
        for part in parts:
            yield from PARTS[part](ground, rounds)
    finally:
        ground.close()


if __name__ == "__main__":
    sys.exit(main())
