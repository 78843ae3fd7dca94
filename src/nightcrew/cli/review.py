"""``nightcrew review``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("review", example="nightcrew review R-1 --plain", exits=(3,))
@click.argument("run", metavar="R-1")
@click.option("--plain", is_flag=True, help="Plain text (the only form so far).")
def command(runtime: Runtime, screen: Screen, *, run: str, plain: bool) -> None:
    """Show every task of a run: what needs a look first, what we ran on it, what it changed."""
    found = runtime.resolve(run, kinds="R")
    if screen.json:
        screen.emit(runtime.review(found))
    else:
        screen.data(runtime.review_text(found, width=screen.width))
