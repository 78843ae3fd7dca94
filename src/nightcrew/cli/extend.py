"""``nightcrew extend``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make(
    "extend",
    example="nightcrew extend R-1 --budget 50usd\nnightcrew extend R-1/T02 --budget '10usd 2M'",
    exits=(3, 6, 7, 8),
)
@click.argument("name", metavar="R-1|R-1/T01")
@click.option(
    "--budget",
    required=True,
    metavar="AMOUNT",
    help="What models may cost from now on in all: 50usd, 2M; none.",
)
def command(runtime: Runtime, screen: Screen, *, name: str, budget: str) -> None:
    """Give a run or one task another budget, and let go on what was paused because the old one was spent.

    The amount is what it may cost in all, what is spent already included.
    """
    found = runtime.resolve(name, kinds="RT")
    done = runtime.extend(found, budget)
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Extended", f"{found}: budget {done['budget']} (was {done['before']})")
    if done["spent"]:
        screen.say(f"spent so far: {done['spent']}")
    run = found.partition("/")[0]
    if done["resumed"]:
        screen.verb("Resumed", ", ".join(done["resumed"]))
        screen.hint(f"follow it: nightcrew resume {run}")
