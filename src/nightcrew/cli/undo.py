"""``nightcrew undo``."""

from __future__ import annotations

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, short_branch
from nightcrew.runtime.api import Runtime


@make("undo", example="nightcrew undo M-1\nnightcrew undo M-1 --yes", exits=(3, 5, 7, 130))
@click.argument("name", metavar="M-1")
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(runtime: Runtime, screen: Screen, *, name: str, dry_run: bool, yes: bool) -> None:
    """Take a promotion back: exactly as it was while nothing came after it, else its inverse as a new commit.

    Only paths that the promotion changed are touched. The undo is a promotion itself and can be undone.
    """
    found = runtime.resolve(name, kinds="M")
    with runtime.undoing(found, dry_run=dry_run or not (yes or screen.interactive)) as prepared:
        view = prepared.view
        screen.verb("Undo", f"{found} on {short_branch(view)} at {view['old_commit'][:12]}", "cyan")
        for note in view["notes"]:
            screen.verb("Note", note, "yellow")
        for path in view["paths"]:
            screen.say(f"              {path}")
        if dry_run:
            if screen.json:
                screen.emit(view)
            return
        confirm(
            screen,
            f"{len(view['paths'])} paths of {found} are taken back.",
            yes=yes,
            otherwise=f"nightcrew undo {found} --yes",
        )
        done = prepared.publish()
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Undone", f"{found} by {done['id']}  {short_branch(done)} is at {done['new_commit'][:12]}")
    screen.hint(f"take the undo back: nightcrew undo {done['id']}")
