"""``nightcrew diff``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_LINE_STYLE = {"+": "green", "-": "red", "@": "cyan"}


@make(
    "diff",
    example="nightcrew diff R-1/T01\nnightcrew diff R-1 --stat\nnightcrew diff R-1/T01 --hunks -- src/app.py",
    exits=(3, 7),
)
@click.argument("name", metavar="R-1|R-1/T01")
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--stat", is_flag=True, help="Only paths and counts.")
@click.option("--hunks", is_flag=True, help="Every piece of the change with its id.")
@click.option("--exact", is_flag=True, help="Byte by byte, secrets included.")
def command(
    runtime: Runtime,
    screen: Screen,
    *,
    name: str,
    paths: tuple[str, ...],
    stat: bool,
    hunks: bool,
    exact: bool,
) -> None:
    """Show what a task (or the results of a run together, without rejected ones) changed: tree against tree, base to result.

    Paths limit it to these files and what is below these directories. Secrets in it are blotted out, which is said; a patch
    to apply elsewhere is `--exact`, or better `nightcrew promote --patch`. On a terminal control characters are shown by
    name; into a pipe or file they go as they are, as with git, so that `git apply` can read them.
    """
    found = runtime.resolve(name, kinds="RT")
    show_patch(screen, runtime.diff(found, stat=stat, hunks=hunks, exact=exact, paths=paths), paths)


def show_patch(screen: Screen, patch: dict[str, Any], paths: Sequence[str] = ()) -> None:
    """Print a patch: raw bytes into a pipe, control characters shown as chips on a terminal."""
    if screen.json:
        screen.emit(patch["json"])
    elif not patch["raw"]:
        screen.say("nothing differs" + (f" in {shown(' '.join(paths))}" if paths else ""))
    elif sys.stdout.isatty():
        for line in patch["shown"].splitlines():
            screen.data(screen.paint(line, _LINE_STYLE.get(line[:1], ""), sys.stdout))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(patch["raw"])
        sys.stdout.buffer.flush()
    if patch["hidden"] and not screen.json:
        screen.warn(f"{count(patch['hidden'], 'secret')} blotted out; with them: --exact")
