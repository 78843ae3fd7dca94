"""``nightcrew checkpoint list | diff | restore | fork``."""

from __future__ import annotations

import shlex
from typing import Any

import click

from nightcrew.cli.approve import say_engine
from nightcrew.cli.asking import confirm
from nightcrew.cli.diff import show_patch
from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import count, fit, shown
from nightcrew.runtime.api import Runtime

_MANY = 40
_WHY_WIDTH = 48


@make("list", example="nightcrew checkpoint list R-1\nnightcrew checkpoint list R-1/T01 --json", exits=(3,))
@click.argument("name", metavar="R-1|R-1/T01")
def listing(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """List the checkpoints of a run or task, oldest first; the one that holds the task's result is marked."""
    checkpoints = runtime.checkpoints.of(runtime.resolve(name, kinds="RT"))
    if screen.json:
        screen.emit(checkpoints)
        return
    rows = [
        [
            ("*" if c["current"] else " ") + c["id"],
            c["task"],
            fit(shown(c["why"]), _WHY_WIDTH),
            count(c["paths"], "path"),
            "pruned" if c["pruned"] else c["tree"][:12],
            c["created_at"],
        ]
        for c in checkpoints
    ]
    for line in table(rows, header=[" ID", "TASK", "WHY", "CHANGE", "TREE", "AT"]):
        screen.data(line)


@make(
    "diff",
    example="nightcrew checkpoint diff C-3\nnightcrew checkpoint diff C-3 C-5 --stat\n"
    "nightcrew checkpoint diff C-3 C-5 -- src/app.py",
    exits=(3,),
)
@click.argument("names", nargs=-1, required=True, metavar="C-1 [C-2] [-- PATH...]")
@click.option("--stat", is_flag=True, help="Only paths and counts.")
@click.option("--hunks", is_flag=True, help="Every piece of the change with its id, for restore --hunk.")
@click.option("--exact", is_flag=True, help="Byte by byte, secrets included.")
def compare(
    runtime: Runtime, screen: Screen, *, names: tuple[str, ...], stat: bool, hunks: bool, exact: bool
) -> None:
    """Show what a checkpoint holds against its base, or what differs between two checkpoints.

    Paths limit it to these files and what is below these directories. Secrets in it are blotted out.
    """
    second = names[1] if len(names) > 1 and names[1][:2].upper() == "C-" else ""
    paths = names[2:] if second else names[1:]
    patch = runtime.checkpoints.diff(names[0], second, stat=stat, hunks=hunks, exact=exact, paths=paths)
    show_patch(screen, patch, paths)


@make(
    "restore",
    example="nightcrew checkpoint restore C-3\nnightcrew checkpoint restore C-3 --files 'docs/**' --yes\n"
    "nightcrew checkpoint restore C-3 --keep-valid --dry-run",
    exits=(3, 5, 7, 9),
)
@click.argument("name", metavar="C-1")
@click.option("--files", multiple=True, metavar="GLOB", help="Only these paths; may be given more than once.")
@click.option(
    "--hunk",
    "hunks",
    multiple=True,
    metavar="H-..",
    help="Only this piece (ids: checkpoint diff NOW C-1 --hunks).",
)
@click.option(
    "--keep-valid", is_flag=True, help="Keep what policy lets pass; put the rest back, by file and by hunk."
)
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host for the acceptance.")
def restore(
    runtime: Runtime,
    screen: Screen,
    *,
    name: str,
    dry_run: bool,
    yes: bool,
    no_start: bool,
    **wish: Any,
) -> None:
    """Make the result of a task exactly what it was at a checkpoint: all of it, some files, some hunks, or what policy lets pass.

    The restore is itself a new checkpoint, so it can be undone the same way. A running task is paused for it. Acceptance runs again before the task is called verified; results that were built on the old one are marked as stale.
    """
    plan = runtime.checkpoints.plan_restore(name, **wish)
    if dry_run and screen.json:
        screen.emit(plan)
        return
    if not screen.json:
        to = f"{plan['task']} to {plan['checkpoint']}{_meant(plan)}: {_changes(plan)}"
        screen.verb("Restoring", to, "cyan")
        show_restore(screen, plan)
    if dry_run:
        screen.say("dry run: nothing was changed")
        screen.hint(f"apply with: {_again(plan)}")
        return
    running = "It is running and will be paused for that. " if plan["state"] == "running" else ""
    confirm(
        screen,
        f"{running}The result of {plan['task']} becomes {plan['checkpoint']}{_meant(plan)}: {_changes(plan)}.",
        yes=yes,
        otherwise=f"{_again(plan)} --yes",
    )
    done = runtime.checkpoints.restore(name, **wish)
    woken = runtime.nudge(done["task"], start=not no_start)
    if screen.json:
        screen.emit({**done, "engine": woken})
        return
    screen.verb("Restored", f"{done['task']} is at {done['checkpoint']}, tree {done['tree'][:12]}")
    say_acceptance(screen, done, woken)
    show_stale(screen, done["stale"])
    if done["before"]:
        screen.hint(f"undo: nightcrew checkpoint restore {done['before']}")


@make(
    "fork",
    example='nightcrew checkpoint fork C-3 --run "make other"\nnightcrew checkpoint fork C-3 --agent script --script other.yaml',
    exits=(3, 5, 6, 7),
)
@click.argument("name", metavar="C-1")
@click.option("--agent", default="", metavar="NAME", help="Another agent (nightcrew agent list).")
@click.option("--prompt", default="", metavar="TEXT", help="What it is told, for agents that take a prompt.")
@click.option("--run", default="", metavar="COMMAND", help="The command line of the command agent.")
@click.option(
    "--script", default="", metavar="FILE", type=click.Path(), help="The recording of the script agent."
)
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host for it.")
def fork(
    runtime: Runtime, screen: Screen, *, name: str, dry_run: bool, yes: bool, no_start: bool, **wanted: str
) -> None:
    """Have another agent go on from a checkpoint, as a task of its own beside the original.

    The fork is added to the plan of the run, has the acceptance of the original, and is reviewed next to it. Of all answers to a task only one can be accepted.
    """
    plan = runtime.checkpoints.plan_fork(name, **wanted)
    if not screen.json:
        _show_fork(screen, plan)
    if dry_run:
        if screen.json:
            screen.emit(plan)
        else:
            screen.say("dry run: nothing was changed")
        return
    words = [f"--{key} {shlex.quote(value)}" for key, value in wanted.items() if value]
    confirm(
        screen,
        f"{plan['task']} is added to the plan, which has the digest {plan['digest'][:12]} then.",
        yes=yes,
        otherwise=" ".join(["nightcrew checkpoint fork", plan["from"], *words, "--yes"]),
    )
    done = runtime.checkpoints.fork(name, digest=plan["digest"], **wanted)
    woken = runtime.nudge(done["task"], start=not no_start)
    if screen.json:
        screen.emit({**done, "engine": woken})
        return
    screen.verb("Forked", f"{done['task']} starts at {done['from']}")
    say_engine(screen, woken)
    screen.hint(f"side by side: nightcrew review {done['task'].partition('/')[0]}")


def _again(plan: dict[str, Any]) -> str:
    return " ".join(["nightcrew checkpoint restore", plan["checkpoint"], *plan["words"]])


def _meant(plan: dict[str, Any]) -> str:
    """Return which part of the checkpoint is meant, as it was asked for; empty for all of it."""
    return f" ({' '.join(plan['words'])})" if plan["words"] else ""


def _changes(plan: dict[str, Any]) -> str:
    """Return how much that changes in what the task has now."""
    return (
        f"{count(len(plan['paths']), 'path')} of it will change"
        if plan["paths"]
        else "no path of it will change"
    )


def _show_fork(screen: Screen, plan: dict[str, Any]) -> None:
    screen.verb(
        "Fork", f"{plan['task']} of {plan['origin']} at {plan['from']}, agent {plan['agent']}", "cyan"
    )
    for key in ("run", "prompt"):
        if plan[key]:
            screen.say(f"              {key}: {shown(plan[key])}")
    for line in plan["steps"]:
        screen.say(f"              {shown(line)}")
    for line in plan["accept"]:
        screen.say(f"              accept: {shown(line)}")
    for flag in plan["flags"]:
        screen.verb("Flag", f"{flag['text']}  {flag['action']}".rstrip(), "yellow")


def show_restore(screen: Screen, plan: dict[str, Any]) -> None:
    """Say what a restore or a rollback in part changes in the result of its task, and what it puts back and why."""
    for path in plan["paths"][:_MANY]:
        screen.say(f"              {shown(path['path'])}  +{path['lines_added']} -{path['lines_deleted']}")
    if len(plan["paths"]) > _MANY:
        screen.say(f"              and {len(plan['paths']) - _MANY} more (all: --dry-run --json)")
    for back in plan["put_back"]:
        part = "" if back["whole"] else f" ({len(back['hunks'])} of its hunks)"
        screen.verb("Put back", shown(f"{back['path']}{part}  {'; '.join(back['why'])}"), "yellow")
    for left in plan["left"]:
        screen.verb("Left", f"{shown(left)}; no choice among the files mends this", "yellow")


def say_acceptance(screen: Screen, done: dict[str, Any], woken: str) -> None:
    """Say that the new result of a task is judged and proven again, or what has to happen first."""
    what = "its acceptance" if done["acceptance"] else "the policy's look at it"
    if woken != "recorded":
        screen.verb("Engine", f"{what} runs again", "cyan")
        return
    screen.verb("Engine", f"{what} must run again; nothing goes on with it now", "cyan")
    screen.hint(f"go on: nightcrew resume {done['task'].partition('/')[0]}")


def show_stale(screen: Screen, stale: dict[str, list[str]]) -> None:
    """Say which results stand on another result than there is now."""
    for task, others in stale.items():
        screen.verb(
            "Stale", f"{task} was built on another {', '.join(others)}: nightcrew retry {task}", "yellow"
        )


command = group(
    "checkpoint", purpose="Snapshots of what a task did.", commands=[listing, compare, restore, fork]
)
