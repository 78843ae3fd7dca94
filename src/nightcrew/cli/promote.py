"""``nightcrew promote``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, short_branch
from nightcrew.runtime.api import Runtime

_MANY = 40


@make(
    "promote",
    example="nightcrew promote R-1 --dry-run\nnightcrew promote R-1\nnightcrew promote R-1 T01 T03 --yes",
    exits=(3, 5, 7, 130),
)
@click.argument("run", metavar="R-1")
@click.argument("tasks", nargs=-1, metavar="[T01...]")
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--unproven", is_flag=True, help="Do not run acceptance on the combined tree; this is recorded."
)
@click.option(
    "--waive",
    multiple=True,
    metavar="T..|H-..",
    help="Let a task go that was built on results that are different now, or a hunk be missing; this is recorded.",
)
def command(
    runtime: Runtime,
    screen: Screen,
    *,
    run: str,
    tasks: tuple[str, ...],
    waive: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    unproven: bool,
) -> None:
    """Put the accepted results of a run into your repository: one commit on the current branch.

    Acceptance is run again on the tree that lands, unless each task was proven on exactly that tree.
    Your uncommitted edits and untracked files are not touched; where they overlap, nothing is done and they are named.
    """
    found = runtime.resolve(run, kinds="R")
    dry = dry_run or not (yes or screen.interactive)
    with runtime.promotion(found, tasks, dry_run=dry, waive=waive) as prepared:
        view = prepared.view
        if not screen.json or not (dry_run or yes):
            _show(screen, view)
        if dry_run:
            if screen.json:
                screen.emit(view)
            else:
                screen.say("dry run: nothing was changed")
            return
        confirm(
            screen,
            f"One commit with {len(view['paths'])} paths goes on {short_branch(view)}.",
            yes=yes,
            otherwise=" ".join(
                ["nightcrew promote", found, *tasks, *(f"--waive {each}" for each in waive), "--yes"]
            ),
        )
        if unproven:
            screen.verb("Unproven", "acceptance was not run on the tree that lands", "yellow")
        else:
            prepared.prove(lambda line: screen.verb("Proving", line, "cyan"))
        done = prepared.publish()
    if screen.json:
        screen.emit(done)
        return
    screen.verb(
        "Promoted",
        f"{done['id']}  {short_branch(done)}  {done['old_commit'][:12]} -> {done['new_commit'][:12]}",
    )
    screen.hint(f"undo: nightcrew undo {done['id']}")


def _show(screen: Screen, view: dict[str, Any]) -> None:
    screen.verb(
        "Promote", f"{', '.join(view['tasks'])} -> {short_branch(view)} at {view['old_commit'][:12]}", "cyan"
    )
    for held in view["held"]:
        screen.verb("Held", f"{held['id']}  {held['why']}", "yellow")
    for note in view["notes"]:
        screen.verb("Note", note, "yellow")
    for path in view["paths"][:_MANY]:
        screen.say(f"              {path}")
    if len(view["paths"]) > _MANY:
        screen.say(f"              and {len(view['paths']) - _MANY} more (all: --dry-run --json)")
