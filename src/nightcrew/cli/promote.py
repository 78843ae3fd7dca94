"""``nightcrew promote``."""

from __future__ import annotations

import shlex
from typing import Any

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.guard import allowing_handoff, answer_guard, show_guard
from nightcrew.cli.options import command as make
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen, short_branch
from nightcrew.model.errors import UsageError
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime
from nightcrew.runtime.landing.promoting import Order, Publication

_MANY = 40


@make(
    "promote",
    example="nightcrew promote R-1 --dry-run\nnightcrew promote R-1\nnightcrew promote R-1 T01 T03 --yes\n"
    "nightcrew promote R-1 --new-branch night/one --commits tasks\nnightcrew promote R-1 --files 'src/**' --patch out.patch",
    exits=(3, 4, 5, 6, 7, 8, 130),
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
@click.option(
    "--files", multiple=True, metavar="GLOB", help="Only these paths; the rest of each task is left out."
)
@click.option(
    "--hunks", multiple=True, metavar="H-..", help="Only these hunks (ids: nightcrew diff R-1/T01 --hunks)."
)
@allowing_handoff
@proof_options
@click.option(
    "--drifted",
    is_flag=True,
    help="With --yes: also when you changed things meanwhile that config.yaml (drift) wants seen first.",
)
@click.option("--to", default="", metavar="BRANCH", help="Another branch that exists and is not checked out.")
@click.option(
    "--new-branch", default="", metavar="NAME", help="A branch that is made, at the current commit."
)
@click.option(
    "--patch",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="Write patches for `git am --keep-cr`; no branch changes.",
)
@click.option(
    "--bundle", default="", metavar="FILE", type=click.Path(), help="Write a git bundle; no branch changes."
)
@click.option(
    "--commits",
    type=click.Choice(["one", "tasks"]),
    default=None,
    help="One commit for all of it (the default), or one for each task.",
)
@click.option("--hooks", is_flag=True, help="Run your own commit hooks; without it none are run.")
@click.option(
    "--rebase",
    "join",
    flag_value="rebase",
    help="A branch that has moved on: commit on top of it (the default).",
)
@click.option(
    "--merge",
    "join",
    flag_value="merge",
    help="A branch that has moved on: commit on what the work started from, then merge.",
)
@click.option("--squash", "join", flag_value="squash", help="One commit on top, whatever the branch did.")
def command(
    runtime: Runtime,
    screen: Screen,
    *,
    run: str,
    dry_run: bool,
    yes: bool,
    unproven: bool,
    drifted: bool,
    **wishes: Any,
) -> None:
    """Put the accepted results of a run into your repository: one commit on the current branch.

    Acceptance is run again on the tree that lands, unless each task was proven on exactly that tree. Your uncommitted
    edits stay uncommitted: where a result changes other lines of the same file it is merged with them, where it changes
    the same lines nothing is done and the paths are named. Untracked files are never overwritten.
    """
    commits, join = wishes.pop("commits"), wishes.pop("join")
    if join == "squash" and commits == "tasks":
        raise UsageError("--squash makes one commit, --commits tasks several", code="usage.shape")
    allow_handoff = wishes.pop("allow_handoff")
    factor = {name: wishes.pop(name) for name in ("otp", "pin", "pin_stdin")}
    order = Order(**wishes, per_task=commits == "tasks", join="merge" if join == "merge" else "rebase")
    found = runtime.resolve(run, kinds="R")
    with runtime.promotion(found, order, dry_run=dry_run or not (yes or screen.interactive)) as prepared:
        view = prepared.view
        if not screen.json or not (dry_run or yes):
            _show(screen, view)
        if dry_run:
            if screen.json:
                screen.emit(view)
            else:
                screen.say("dry run: nothing was changed")
            return
        handoff = [f"--allow-handoff {shlex.quote(each)}" for each in allow_handoff]
        otherwise = " ".join(["nightcrew promote", found, *_again(order, join), *handoff, "--yes"])
        if yes and not drifted:
            prepared.refuse_drift(again=f"{otherwise} --drifted")
        answer_guard(screen, prepared, allow_handoff, yes=yes, otherwise=otherwise)
        confirm(screen, _ask(view), yes=yes, otherwise=otherwise)
        prepared.prove_person(read_proof(runtime, screen, factor, needed=prepared.needs_factor()))
        _prove(screen, prepared, unproven=unproven)
        done = prepared.publish()
    if screen.json:
        screen.emit(done)
        return
    _tell(screen, done)


def _ask(view: dict[str, Any]) -> str:
    commits, paths = len(view["commits"]), len(view["paths"])
    what = f"{commits} commit{'s' if commits != 1 else ''} with {paths} path{'s' if paths != 1 else ''}"
    what = "One commit" + what.removeprefix("1 commit") if commits == 1 else what
    left = f", {len(view['waived'])} left out or waived" if view["waived"] else ""
    return f"{what} {'go' if commits != 1 else 'goes'} {_where(view)}{left}."


def _where(view: dict[str, Any]) -> str:
    if view["file"]:
        return f"into {view['file']}"
    return f"on {'the new branch ' if view['place'] == 'new' else ''}{short_branch(view)}"


def _again(order: Order, join: str | None) -> list[str]:
    """Return the words that order the same thing again."""
    words = [*order.tasks]
    for option, value in (("--to", order.to), ("--new-branch", order.new_branch)):
        words += [option, value] if value else []
    for option, value in (("--patch", order.patch), ("--bundle", order.bundle)):
        words += [option, value] if value else []
    for option, values in (("--files", order.files), ("--hunks", order.hunks), ("--waive", order.waive)):
        words += [word for value in values for word in (option, value)]
    words += ["--commits", "tasks"] if order.per_task else []
    words += ["--hooks"] if order.hooks else []
    return [shlex.quote(word) for word in words] + ([f"--{join}"] if join else [])


def _prove(screen: Screen, prepared: Publication, *, unproven: bool) -> None:
    if unproven:
        screen.verb("Unproven", "acceptance was not run on the tree that lands", "yellow")
    else:
        prepared.prove(lambda line: screen.verb("Proving", line, "cyan"))


def _tell(screen: Screen, done: dict[str, Any]) -> None:
    if done["file"]:
        screen.verb("Written", f"{done['id']}  {done['file']}")
        use = "git am --keep-cr" if done["place"] == "patch" else "git fetch"
        branch = "" if done["place"] == "patch" else f" nightcrew/{done['id']}"
        screen.hint(f"use it: {use} {shlex.quote(done['file'])}{branch}")
        return
    before = done["old_commit"][:12] or "new"
    screen.verb("Promoted", f"{done['id']}  {short_branch(done)}  {before} -> {done['new_commit'][:12]}")
    screen.hint(f"undo: nightcrew undo {done['id']}")


def _show(screen: Screen, view: dict[str, Any]) -> None:
    screen.verb(
        "Promote",
        f"{', '.join(view['tasks'])} -> {view['file'] or short_branch(view)} at {view['start'][:12]}",
        "cyan",
    )
    if view["isolation"]:
        screen.verb("Confined", view["isolation"], "cyan")
    for held in view["held"]:
        screen.verb("Held", f"{held['id']}  {held['why']}", "yellow")
    show_lines(screen, "Left out", view["waived"])
    for note in view["notes"]:
        screen.verb("Note", note, "yellow")
    show_paths(screen, view["paths"])
    show_guard(screen, view)


def show_lines(screen: Screen, word: str, lines: list[str]) -> None:
    """Say lines under one verb, the first ones of many."""
    for line in lines[:_MANY]:
        screen.verb(word, line, "yellow")
    if len(lines) > _MANY:
        screen.verb(word, f"and {len(lines) - _MANY} more (all: --dry-run --json)", "yellow")


def show_paths(screen: Screen, paths: list[str]) -> None:
    """Say the paths of a promotion, the first ones of many."""
    for path in paths[:_MANY]:
        screen.say(f"              {shown(path)}")
    if len(paths) > _MANY:
        screen.say(f"              and {len(paths) - _MANY} more (all: --dry-run --json)")
