"""``nightcrew init``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("init", example="nightcrew init\nnightcrew init --force", exits=(2,))
@click.option("--force", is_flag=True, help="Overwrite the files that are there.")
def command(runtime: Runtime, screen: Screen, *, force: bool) -> None:
    """Write a commented .nightcrew/policy.yaml and config.yaml that validate; never overwrites without --force.

    Works in a directory without git too: nightcrew keeps a private history of it in its own state.
    """
    result = runtime.init(force=force)
    if screen.json:
        screen.emit(result)
        return
    for path in result["written"]:
        screen.verb("Wrote", path)
    for path in result["kept"]:
        screen.verb("Kept", f"{path} (it is there already; --force overwrites it)", "yellow")
    if result["history"]:
        screen.verb(
            "History", f"this is not a git repository; its private history is in {result['history']}", "cyan"
        )
    commit = "" if result["history"] else "commit .nightcrew/, "
    screen.hint(f"{commit}check this machine with `nightcrew doctor`, then: nightcrew run -f tasks.md")
