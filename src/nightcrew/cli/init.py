"""``nightcrew init``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("init", example="nightcrew init\nnightcrew init --force", exits=(3,))
@click.option("--force", is_flag=True, help="Overwrite the files that are there.")
def command(runtime: Runtime, screen: Screen, *, force: bool) -> None:
    """Write a commented .nightcrew/policy.yaml and config.yaml that validate; never overwrites without --force."""
    result = runtime.init(force=force)
    if screen.json:
        screen.emit(result)
        return
    for path in result["written"]:
        screen.verb("Wrote", path)
    for path in result["kept"]:
        screen.verb("Kept", f"{path} (it is there already; --force overwrites it)", "yellow")
    screen.hint(
        "commit .nightcrew/, check this machine with `nightcrew doctor`, then: nightcrew run -f tasks.md"
    )
