"""``nightcrew stats``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import count
from nightcrew.model.units import describe_size
from nightcrew.runtime.api import Runtime


@make("stats", example="nightcrew stats\nnightcrew stats R-1 --json", exits=(3,))
@click.argument("run", required=False, metavar="[R-1]")
def command(runtime: Runtime, screen: Screen, *, run: str | None) -> None:
    """Show what checkpoints cost (latencies in milliseconds as percentiles, degraded ones, disk), and what models cost.

    checkpoint is all of it, freeze how long an agent stood still, capture the reading and storing of files, validation
    what the policy was asked.
    """
    view = runtime.stats(runtime.resolve(run, kinds="R") if run else "")
    if screen.json:
        screen.emit(view)
        return
    screen.data(
        f"{count(view['checkpoints'], 'checkpoint')}, {view['running']} of them while an agent worked; "
        f"{view['degraded']} degraded, {view['failed']} failed, {view['pruned']} pruned"
    )
    if view["alarms"]:
        screen.data(
            f"three slow ones in a row: {count(view['alarms'], 'time')}   nightcrew events --kinds checkpoint.slow"
        )
    rows = [[name, *_figures(each)] for name, each in view["latency_ms"].items()]
    for line in table(rows, header=["MS", "COUNT", "P50", "P95", "P99", "MAX"]):
        screen.data(line)
    for name, each in view["usage"]["models"].items():
        screen.data(f"{each['said']} in {count(each['requests'], 'answer')}   {name}")
    for place in view["disk"]:
        screen.data(f"{describe_size(place['checkpoint_bytes'])} of checkpoints   {place['repository']}")


def _figures(figures: dict[str, Any]) -> list[str]:
    shown = [f"{figures[name]:.1f}" for name in ("p50", "p95", "p99", "max") if name in figures]
    return [str(figures["count"]), *(shown or ["-"] * 4)]
