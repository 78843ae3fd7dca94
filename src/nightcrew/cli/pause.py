"""``nightcrew pause``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("pause", example="nightcrew pause R-1\nnightcrew pause R-1/T02 -m 'need the machine'", exits=(3, 7, 9))
@click.argument("name", metavar="R-1|R-1/T01")
@click.option("-m", "reason", default="", help="Why.")
def command(runtime: Runtime, screen: Screen, *, name: str, reason: str) -> None:
    """Pause a run or one task. What its agents have done is kept as a checkpoint, and they go on from there.

    An agent that asks for its actions ends after the one under way (or in the middle of it, when that takes longer than
    timeouts.grace); any other agent ends at once, and is started again in what it left.
    """
    found = runtime.resolve(name, kinds="RT")
    paused = runtime.pause(found, reason=reason)
    if screen.json:
        screen.emit({**runtime.show(found), "paused": list(paused)})
        return
    if "/" in found and not paused:
        view = runtime.show(found)
        screen.verb("Ended", f"{found} before it could be paused: it is {view['state']}", "yellow")
        return
    rest = f"  ({', '.join(paused)})" if paused and paused != (found,) else ""
    screen.verb("Paused", found + rest, "yellow")
    screen.hint(f"go on: nightcrew resume {found}   what was done so far: nightcrew checkpoint list {found}")
