"""``nightcrew ps``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.cli.show import describe_share
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime


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
            shown(run["title"]) + _describe_more(run),
        ]
        for run in runs
    ]
    for line in table(rows, header=["RUN", "STATE", "DONE", "YOU", "FAILED", "SPENT", "TITLE"]):
        screen.data(line)


def _describe_more(run: dict[str, Any]) -> str:
    """Return what else is worth knowing of a run: paused tasks, agents that say nothing, and what its person does to the same files."""
    notes = [f"{run['paused']} paused"] if run["paused"] else []
    notes += [f"{run['unhealthy']} unhealthy"] if run["unhealthy"] else []
    notes += [f"drift: {run['drift']}"] if run["drift"] in ("high", "medium") else []
    return f"   ({', '.join(notes)})" if notes else ""
