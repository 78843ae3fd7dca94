"""``nightcrew checkpoint list | diff | restore``."""

from __future__ import annotations

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.diff import show_patch
from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.runtime.api import Runtime


@make("list", example="nightcrew checkpoint list R-1\nnightcrew checkpoint list R-1/T01 --json", exits=(3,))
@click.argument("name", metavar="R-1|R-1/T01")
def listing(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """List the checkpoints of a run or task, oldest first; the one that holds the task's result is marked."""
    checkpoints = runtime.checkpoints(runtime.resolve(name, kinds="RT"))
    if screen.json:
        screen.emit(checkpoints)
        return
    rows = [
        [
            ("*" if c["current"] else " ") + c["id"],
            c["task"],
            c["why"],
            f"{c['paths']} paths",
            c["tree"][:12],
            c["created_at"],
        ]
        for c in checkpoints
    ]
    for line in table(rows, header=[" ID", "TASK", "WHY", "CHANGE", "TREE", "AT"]):
        screen.data(line)


@make("diff", example="nightcrew checkpoint diff C-3\nnightcrew checkpoint diff C-3 C-5 --stat", exits=(3,))
@click.argument("old", metavar="C-1")
@click.argument("new", metavar="[C-2]", required=False)
@click.option("--stat", is_flag=True, help="Only paths and counts.")
def compare(runtime: Runtime, screen: Screen, *, old: str, new: str | None, stat: bool) -> None:
    """Show what a checkpoint holds against its base, or what differs between two checkpoints."""
    show_patch(screen, runtime.checkpoint_diff(old, new or "", stat=stat))


@make(
    "restore",
    example="nightcrew checkpoint restore C-3\nnightcrew checkpoint restore C-3 --files 'docs/**' --yes",
    exits=(3, 5, 7, 10),
)
@click.argument("name", metavar="C-1")
@click.option("--files", multiple=True, metavar="GLOB", help="Only these paths; may be given more than once.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host for the acceptance.")
def restore(
    runtime: Runtime,
    screen: Screen,
    *,
    name: str,
    files: tuple[str, ...],
    yes: bool,
    no_start: bool,
) -> None:
    """Make the result of a task exactly what it was at a checkpoint (or only some of its files).

    The restore is itself a new checkpoint, so it can be undone the same way. Acceptance runs again before the task is called verified.
    """
    plan = runtime.plan_restore(name, files)
    again = " ".join(
        ["nightcrew checkpoint restore", plan["checkpoint"], *(f"--files '{g}'" for g in files), "--yes"]
    )
    confirm(
        screen,
        f"The result of {plan['task']} becomes {plan['checkpoint']} ({plan['paths']} paths differ from it now).",
        yes=yes,
        otherwise=again,
    )
    done = runtime.restore(name, files)
    woken = runtime.nudge(done["task"], start=not no_start)
    if screen.json:
        screen.emit({**done, "engine": woken})
        return
    screen.verb("Restored", f"{done['task']} is at {done['checkpoint']}, tree {done['tree'][:12]}")
    if done["acceptance"]:
        screen.verb(
            "Engine",
            "acceptance runs again on it" if woken != "recorded" else "acceptance must run again",
            "cyan",
        )
    if done["before"]:
        screen.hint(f"undo: nightcrew checkpoint restore {done['before']}")


command = group("checkpoint", purpose="Snapshots of what a task did.", commands=[listing, compare, restore])
