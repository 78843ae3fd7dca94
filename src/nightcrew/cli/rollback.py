"""``nightcrew rollback``."""

from __future__ import annotations

import shlex
from typing import Any

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.checkpoint import say_acceptance, show_restore, show_stale
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_WHY = {
    "plan": "depends on {task} (plan)",
    "hunks": "changes lines next to {task}'s in {paths}",
    "file": "touches {paths} beside {task}",
    "same": "makes the same change in {paths}",
}


@make(
    "rollback",
    example="nightcrew rollback R-1/T05 --dry-run\nnightcrew rollback R-1/T05 --files 'src/settings/**'\n"
    "nightcrew rollback R-1/T05 --undo",
    exits=(3, 5, 7, 9, 11),
)
@click.argument("name", metavar="R-1/T01")
@click.option("--to", metavar="C-1", default="", help="Keep what this checkpoint of the task holds.")
@click.option(
    "--files", multiple=True, metavar="GLOB", help="Keep only these paths of it; may be given more than once."
)
@click.option("--keep-valid", is_flag=True, help="Keep what policy lets pass, by file and by hunk.")
@click.option("--dry-run", is_flag=True, help="Show and prove what would be left; change nothing.")
@click.option("--undo", is_flag=True, help="Put back what the last rollback of this task took out.")
@click.option("--unproven", is_flag=True, help="Do not run acceptance on what is left; this is recorded.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host for the acceptance.")
def command(runtime: Runtime, screen: Screen, *, name: str, **given: Any) -> None:
    """Take one task out of the composed result of its run, all of it or in part; the other tasks are put together anew.

    What depends on it is held, not deleted. Acceptance of everything that is left runs on the new tree before anything is changed. Your repository is not touched: for a promoted task, undo the promotion first.
    """
    found = runtime.resolve(name, kinds="T")
    reach = {key: given[key] for key in ("to", "files", "keep_valid")}
    if given["undo"]:
        _undo(runtime, screen, found, reach, start=not given["no_start"])
        return
    removal = runtime.removal(found, **reach)
    if not screen.json:
        _show(screen, removal.view)
    if not given["unproven"]:
        removal.prove(lambda line: screen.verb("Proving", line, "cyan"))
    if not screen.json:
        _show_proof(screen, removal.view)
    if given["dry_run"]:
        if screen.json:
            screen.emit(removal.view)
        else:
            screen.say("dry run: nothing was changed")
            screen.hint(f"apply with: {_again(found, reach)}")
        return
    left = len(removal.view["tasks"])
    confirm(
        screen,
        f"{found} is taken out{' in part' if any(reach.values()) else ''}; {count(left, 'task')} will be left.",
        yes=given["yes"],
        otherwise=f"{_again(found, reach)} --yes",
    )
    done = removal.apply()
    woken = runtime.nudge(found, start=not given["no_start"])
    if screen.json:
        screen.emit({**done, "engine": woken})
        return
    screen.verb("Rolled back", f"{found}  composed tree {done['tree'][:12]}")
    if done["checkpoint"]:
        screen.verb("Kept", f"{done['checkpoint']} is its result now", "cyan")
        say_acceptance(screen, done, woken)
    show_stale(screen, done["stale"])
    screen.hint(f"undo: nightcrew rollback {found} --undo")


def _undo(runtime: Runtime, screen: Screen, name: str, reach: dict[str, Any], *, start: bool) -> None:
    if any(reach.values()):
        raise UsageError(
            "--undo puts back all that the last rollback took out; leave out the other options",
            code="rollback.undo_options",
            hint=f"nightcrew rollback {name} --undo",
        )
    done = runtime.undo_rollback(name)
    woken = runtime.nudge(name, start=start)
    if screen.json:
        screen.emit({**done, "engine": woken})
        return
    screen.verb("Put back", f"{name}" + (f", {done['verdict']} as before" if done["verdict"] else ""))
    if done["acceptance"]:
        say_acceptance(screen, done, woken)


def _show(screen: Screen, view: dict[str, Any]) -> None:
    before = f"{view['before_tree'][:12]}" if view["before_tree"] else "(it does not fit together)"
    screen.verb(
        "Removing",
        f"{view['task']} from the composed tree {before} -> {view['tree'][:12]}",
        "cyan",
    )
    task = view["task"].partition("/")[2]
    for each in view["neighbours"]:
        what = _WHY[each["why"]].format(task=task, paths=", ".join(each["paths"]))
        then = "will be held, not deleted" if each["held"] else "stays, merges cleanly"
        screen.say(f"              {each['id']} {shown(what)}  -> {then}")
    show_restore(screen, view)


def _show_proof(screen: Screen, view: dict[str, Any]) -> None:
    """Say what is known of the tree that would be left: run just now, proven before, or not at all."""
    tree = view["tree"][:12]
    ran, before = view["proof"], len(view["proven_before"])
    if ran == "not run":
        screen.verb("Unproven", f"acceptance was not run on {tree}", "yellow")
        return
    if not view["tasks"]:
        screen.verb(
            "Nothing", f"of the run is left, so there is nothing to prove: {tree} is its base", "cyan"
        )
        return
    if not ran and not before:
        screen.verb("Unproven", f"no task that is left has an acceptance command for {tree}", "yellow")
        return
    said = [f"{count(len(ran), 'acceptance command')} passed on {tree}"] if ran else []
    said += [f"{count(before, 'acceptance command')} had passed on exactly {tree} before"] if before else []
    screen.verb("Proven", "; ".join(said))


def _again(name: str, reach: dict[str, Any]) -> str:
    words = [f"--to {reach['to']}"] if reach["to"] else []
    words += [f"--files {shlex.quote(glob)}" for glob in reach["files"]]
    words += ["--keep-valid"] if reach["keep_valid"] else []
    return " ".join(["nightcrew rollback", name, *words])
