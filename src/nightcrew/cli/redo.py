"""``nightcrew redo``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.guard import allowing_handoff
from nightcrew.cli.options import command as make
from nightcrew.cli.proving import proof_options
from nightcrew.cli.screen import Screen
from nightcrew.cli.undo import Way, take_back
from nightcrew.runtime.api import Runtime


@make(
    "redo",
    example="nightcrew redo M-1\nnightcrew redo M-1 --yes",
    exits=(3, 4, 5, 6, 7, 8, 130),
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
@allowing_handoff
@proof_options
def command(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Put a promotion back that was undone: the undo of its undo.

    Exactly what was there before the undo comes back while nothing came after it; otherwise the same holds as for `undo`.
    In both cases secrets in it, and paths that something executes, are looked at again as at a promotion.
    """
    found = runtime.resolve(name, kinds="M")
    take_back(runtime, screen, runtime.find_redo(found), Way("redo", found, **options))
