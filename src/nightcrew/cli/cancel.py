"""``nightcrew cancel``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("cancel", example="nightcrew cancel R-1\nnightcrew cancel R-1/T02", exits=(3, 7))
@click.argument("name", metavar="R-1|R-1/T01")
@click.option("-m", "reason", default="", help="Why.")
def command(runtime: Runtime, screen: Screen, *, name: str, reason: str) -> None:
    """Cancel a run or one task; what is finished keeps its result. Agents are stopped before this returns."""
    found = runtime.resolve(name, kinds="RT")
    result = runtime.cancel(found, reason=reason)
    if screen.json:
        screen.emit(runtime.show(found))
        return
    screen.verb(
        "Cancelled", found + (f"  ({', '.join(result)})" if result not in ((), (found,)) else ""), "yellow"
    )
    screen.hint(f"what it did is kept: nightcrew log {found}")
