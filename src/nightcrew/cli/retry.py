"""``nightcrew retry``."""

from __future__ import annotations

import click

from nightcrew.cli.approve import say_engine
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("retry", example="nightcrew retry R-1/T02", exits=(3, 7))
@click.argument("name", metavar="R-1/T01")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(runtime: Runtime, screen: Screen, *, name: str, no_start: bool) -> None:
    """Run a failed, cancelled or rejected task again from the start, and what was blocked by it."""
    found = runtime.resolve(name, kinds="T")
    again = runtime.retry(found)
    woken = runtime.nudge(found, start=not no_start)
    if screen.json:
        screen.emit({**runtime.show(found), "engine": woken})
        return
    screen.verb("Again", ", ".join(again))
    say_engine(screen, woken)
    screen.hint(f"follow it: nightcrew resume {found.partition('/')[0]}")
