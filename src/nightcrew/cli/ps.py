"""``nightcrew ps``."""

from __future__ import annotations

from itertools import compress
from typing import Any, Final

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table, visible
from nightcrew.cli.show import describe_share
from nightcrew.model.text import fit, shown
from nightcrew.runtime.api import Runtime

_LEAST_TITLE: Final = 8


@make("ps", example="nightcrew ps\nnightcrew ps --all --json")
@click.option("-a", "--all", "everything", is_flag=True, help="Also runs that are over.")
def command(runtime: Runtime, screen: Screen, *, everything: bool) -> None:
    """List runs, newest first: state, tasks done, what waits for you."""
    runs = runtime.runs(everything=everything)
    if screen.json:
        screen.emit(runs)
        return
    if not runs:
        screen.say("no runs" if everything else "no open runs (all of them: nightcrew ps --all)")
        return
    rows = [
        [
            run["id"],
            screen.state(run["state"]),
            f"{run['done']}/{run['total']}",
            f"{run['waiting']} waiting" if run["waiting"] else "",
            f"{run['failed']} failed" if run["failed"] else "",
            describe_share(run["usage"]),
            _describe_more(run),
        ]
        for run in runs
    ]
    header = ["RUN", "STATE", "DONE", "YOU", "FAILED", "SPENT", ""]
    # In a narrow window a line that wraps is harder to read than one without its empty columns.
    used = [any(row[i] for row in rows) or (name and not screen.room) for i, name in enumerate(header)]
    lines = table([list(compress(row, used)) for row in rows], header=list(compress(header, used)), pad=True)
    left = max(_LEAST_TITLE, screen.room - visible(lines[0]) - 2)
    for line, title in zip(lines, ["TITLE", *(shown(run["title"]) for run in runs)], strict=True):
        screen.data(f"{line}  {fit(title, left) if screen.room else title}")


def _describe_more(run: dict[str, Any]) -> str:
    """Return what else is worth knowing of a run: paused tasks, agents that say nothing, and what its person does to the same files."""
    notes = [f"{run['paused']} paused"] if run["paused"] else []
    notes += [f"{run['unhealthy']} unhealthy"] if run["unhealthy"] else []
    notes += [f"drift: {run['drift']}"] if run["drift"] in ("high", "medium") else []
    return ", ".join(notes)
