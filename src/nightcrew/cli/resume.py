"""``nightcrew resume``."""

from __future__ import annotations

import click

from nightcrew.cli.follow import follow_run
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("resume", example="nightcrew resume\nnightcrew resume R-1 --wait", exits=(3, 5, 7, 9, 10, 130))
@click.argument("name", required=False, metavar="[R-1]")
@click.option(
    "--wait", is_flag=True, help="Stay until the end, also while all that is left waits for a human."
)
def command(runtime: Runtime, screen: Screen, *, name: str | None, wait: bool) -> int:
    """Go on with a run (or the newest that can go on): hosts the engine where none is hosted, and follows it.

    Finished tasks are never run again.
    """
    run = runtime.find_resumable(name)
    return follow_run(runtime, screen, run, wait=wait)
