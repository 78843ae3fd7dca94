"""``nightcrew events``."""

from __future__ import annotations

import click

from nightcrew.cli.lines import describe_event
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("events", example="nightcrew events --json\nnightcrew events --after 120 -f", exits=(130,))
@click.option("--after", type=click.IntRange(0), default=0, help="Only events after this number.")
@click.option(
    "--kinds", default="", help="Only these kinds, comma-separated (task.succeeded,approval.requested)."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
def command(runtime: Runtime, screen: Screen, *, after: int, kinds: str, follow: bool) -> None:
    """Print the journal of everything, oldest first; --json prints one JSON object per line, as recorded."""
    wanted = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    for event in runtime.events(after=after, kinds=wanted, follow=follow):
        if screen.json:
            screen.emit_line(event)
        else:
            screen.data(f"{event['at']}  {event['id']:<7} {describe_event(event)}")
