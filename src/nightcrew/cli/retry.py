"""``nightcrew retry``."""

from __future__ import annotations

import click

from nightcrew.cli.approve import say_engine
from nightcrew.cli.checkpoint import show_stale
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("retry", example="nightcrew retry R-1/T02\nnightcrew retry R-1/T01 --dependents", exits=(3, 7))
@click.argument("name", metavar="R-1/T01")
@click.option("--dependents", is_flag=True, help="Run again what was built on its result, too.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(runtime: Runtime, screen: Screen, *, name: str, dependents: bool, no_start: bool) -> None:
    """Run a failed, cancelled or rejected task again from the start, and what was blocked by it.

    Results that were built on the one it had are kept and marked as stale, unless they are to run again, too.
    """
    found = runtime.resolve(name, kinds="T")
    again = runtime.retry(found, dependents=dependents)
    woken = runtime.nudge(found, start=not no_start)
    if screen.json:
        screen.emit({**runtime.show(found), "engine": woken})
        return
    screen.verb("Again", ", ".join(again))
    show_stale(screen, runtime.stale(found.partition("/")[0]))
    say_engine(screen, woken)
    screen.hint(f"follow it: nightcrew resume {found.partition('/')[0]}")
