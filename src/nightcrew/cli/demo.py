"""``nightcrew demo``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("demo", example="nightcrew demo\nnightcrew demo --keep", exits=(1, 11))
@click.option("--keep", is_flag=True, help="Keep the repository and its state to look around in.")
@click.option(
    "--allow-unsandboxed", is_flag=True, help="Run even where this machine cannot confine agents (S0)."
)
def command(runtime: Runtime, screen: Screen, *, keep: bool, allow_unsandboxed: bool) -> int:
    """See the whole job in a throw-away repository: plan, run, approval, review, promote, undo, audit.

    Each command that a step stands for is printed before its real output. Exits 0 only if every step really did what it says.
    """
    result = runtime.demo(
        say=screen.data if not screen.json else screen.say, keep=keep, unsandboxed=allow_unsandboxed
    )
    if screen.json:
        screen.emit(result)
    return int(result["exit"])
