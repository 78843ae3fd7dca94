"""``nightcrew why``."""

from __future__ import annotations

import click

from nightcrew.cli.lines import describe_event
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime


@make(
    "why",
    example="nightcrew why R-1/T02\nnightcrew why A-1\nnightcrew why R-1/T02/1\nnightcrew why E-120",
    exits=(3,),
)
@click.argument("name", metavar="ID")
def command(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Explain a run, plan, task, attempt, approval, checkpoint, promotion or event: its state, what led to it, what to do next."""
    found = runtime.why(name)
    if screen.json:
        screen.emit(found)
        return
    screen.data(shown(f"{found['id']}  {found['state']}  {found['what']}"))
    for line in found["because"]:
        screen.data(shown(f"  because  {line}"))
    for event in found["history"]:
        screen.data(f"  {event['at'][11:19]}  {event['id']:<7} {describe_event(event)}")
    for line in found["next"]:
        screen.data(f"  next     {line}")
