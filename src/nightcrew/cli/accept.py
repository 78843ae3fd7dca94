"""``nightcrew accept``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("accept", example="nightcrew accept R-1\nnightcrew accept R-1/T02 R-1/T03", exits=(3, 7))
@click.argument("ids", nargs=-1, required=True, metavar="R-1|R-1/T01...")
def command(runtime: Runtime, screen: Screen, *, ids: tuple[str, ...]) -> None:
    """Accept results, so that they can be promoted. A whole run accepts its green tasks only and names the others.

    Green: acceptance passed on exactly this tree and nothing was flagged. An unverified or flagged task must be named itself; a failed one cannot be accepted.
    """
    result = runtime.accept([runtime.resolve(each, kinds="RT") for each in ids])
    if screen.json:
        screen.emit(result)
        return
    for task in result["accepted"]:
        screen.verb("Accepted", f"{task['id']}  tree {task['tree'][:12]}  {task['title']}")
    for left in result["left_out"]:
        screen.verb("Left out", f"{left['id']}  {left['why']}", "yellow")
    for run in result["runs"]:
        screen.hint(f"put it into your repository: nightcrew promote {run}")
