"""``nightcrew resume``."""

from __future__ import annotations

import click

from nightcrew.cli.follow import follow_run
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make(
    "resume",
    example="nightcrew resume\nnightcrew resume R-1 --wait\nnightcrew resume R-1 --until 09:00\nnightcrew resume R-1/T02",
    exits=(3, 5, 7, 8, 9, 10, 130),
)
@click.argument("name", required=False, metavar="[R-1|R-1/T01]")
@click.option(
    "--wait", is_flag=True, help="Stay until the end, also while all that is left waits for a human."
)
@click.option(
    "--until",
    default="",
    metavar="TIME",
    help="Stop then: 07:30, '2026-11-22 07:30', +8h; never. Without it, as before.",
)
def command(runtime: Runtime, screen: Screen, *, name: str | None, wait: bool, until: str) -> int:
    """Go on with a run (or the newest that can go on): hosts the engine where none is hosted, and follows it.

    What is paused goes on from where it was; of a paused task only that one does. Finished tasks are never run again.
    """
    if name and "/" in name:
        task = runtime.resolve(name, kinds="T")
        if until:
            raise click.UsageError("--until is of a whole run")
        runtime.resume(task)
        return follow_run(runtime, screen, task.partition("/")[0], wait=wait)
    run = runtime.find_resumable(name)
    if until:
        runtime.money.work_until(run, until)
    runtime.resume(run)
    return follow_run(runtime, screen, run, wait=wait)
