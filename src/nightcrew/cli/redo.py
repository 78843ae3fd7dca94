"""``nightcrew redo``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.cli.undo import Way, take_back
from nightcrew.runtime.api import Runtime


@make(
    "redo",
    example="nightcrew redo M-1\nnightcrew redo M-1 --yes",
    exits=(3, 5, 7, 130),
)
@click.argument("name", metavar="M-1")
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--inverse",
    is_flag=True,
    help="With --yes: also when it is a new change, because commits came after the undo.",
)
@click.option("--unproven", is_flag=True, help="Do not run acceptance on what lands again; recorded.")
def command(
    runtime: Runtime, screen: Screen, *, name: str, dry_run: bool, yes: bool, inverse: bool, unproven: bool
) -> None:
    """Put a promotion back that was undone: the undo of its undo.

    Exactly what was there before the undo comes back while nothing came after it; otherwise the same holds as for `undo`.
    """
    found = runtime.resolve(name, kinds="M")
    way = Way("redo", found, dry_run=dry_run, yes=yes, inverse=inverse, unproven=unproven)
    take_back(runtime, screen, runtime.find_redo(found), way)
