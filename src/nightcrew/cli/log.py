"""``nightcrew log``."""

from __future__ import annotations

import click

from nightcrew.cli.lines import describe_event
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("log", example="nightcrew log R-1\nnightcrew log R-1/T01 -f", exits=(3, 130))
@click.argument("name", metavar="R-1|R-1/T01")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run is over.")
def command(runtime: Runtime, screen: Screen, *, name: str, follow: bool) -> None:
    """Print what happened in a run or task, one line per event; --json prints one JSON object per line."""
    found = runtime.resolve(name, kinds="RT")
    for event in runtime.log(found, follow=follow):
        if screen.json:
            screen.emit_line(event)
        elif event["kind"] != "record.changed":  # what it binds was told by the events around it
            screen.data(f"{event['at'][11:19]}  {event['id']:<7} {describe_event(event)}")
