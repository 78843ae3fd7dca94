"""``nightcrew reject``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("reject", example='nightcrew reject R-1/T02 -m "wrong place"', exits=(3, 7))
@click.argument("name", metavar="R-1/T01")
@click.option("-m", "reason", required=True, help="Why.")
def command(runtime: Runtime, screen: Screen, *, name: str, reason: str) -> None:
    """Reject the result of a task: it cannot be promoted. The result itself is kept."""
    found = runtime.resolve(name, kinds="T")
    result = runtime.reject(found, reason=reason)
    if screen.json:
        screen.emit(result)
        return
    screen.verb("Rejected", f"{found}  {reason}", "yellow")
    for held in result["held"]:
        screen.say(f"              {held} depends on it and is held")
    screen.hint(
        f"again from the start: nightcrew retry {found}   changed your mind: nightcrew accept {found}"
    )
