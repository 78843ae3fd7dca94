"""``nightcrew engine``: the background host that ``--detach`` and decisions start."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("engine", example="nightcrew engine", exits=(9, 11, 130))
@click.argument("runs", nargs=-1, metavar="[R-1...]")
def command(runtime: Runtime, screen: Screen, *, runs: tuple[str, ...]) -> None:
    """Host the engine until nothing is left that can go on without a human."""
    runtime.host_in_background(runs)
