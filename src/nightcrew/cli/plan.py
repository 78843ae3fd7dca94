"""``nightcrew plan``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.runtime.api import Runtime


@make("plan", example="nightcrew plan R-1\nnightcrew plan -f tasks.md", exits=(3, 6, 7))
@click.argument("run", required=False, metavar="[R-1]")
@click.option("-f", "--file", "file", metavar="TASKS.md", help="Check and show a file; nothing is recorded.")
@click.option(
    "--include-dirty", is_flag=True, help="With -f: as `nightcrew run --include-dirty` would start."
)
@click.option("--role", default="", metavar="ROLE", help="With -f: role of the tasks that name none.")
def command(
    runtime: Runtime, screen: Screen, *, run: str | None, file: str | None, include_dirty: bool, role: str
) -> int:
    """Show the plan of a run, or what a tasks file would become. Exits 6 when a rule forbids part of the file."""
    if (run is None) == (file is None):
        raise UsageError("give a run (R-1) or a file (-f tasks.md)", hint="nightcrew plan -f tasks.md")
    if run is not None:
        _show(runtime, screen, run)
        return 0
    preview = runtime.preview(file or "", width=screen.width, include_dirty=include_dirty, role=role)
    for note in preview["notes"]:
        screen.warn(note)
    if screen.json:
        screen.emit({key: value for key, value in preview.items() if key != "text"})
    else:
        screen.data(preview["text"])
        for line in preview["forbidden"]:
            screen.verb("Forbidden", line, "red")
    return 6 if preview["forbidden"] else 0


def _show(runtime: Runtime, screen: Screen, run: str) -> None:
    if screen.json:
        screen.emit(runtime.plan_view(run))
    else:
        screen.data(runtime.plan_text(run, width=screen.width))
