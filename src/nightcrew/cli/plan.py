"""``nightcrew plan``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from nightcrew.cli.inbox import describe_needs
from nightcrew.cli.options import command as make
from nightcrew.cli.planning import (
    Waiting,
    goal_options,
    make_plan,
    name_unused,
    say_planned,
    show_file,
    show_shape,
)
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_RUN: Final = re.compile(r"(?:[Rr]-?)?[0-9]+\Z")
_VERSION: Final = re.compile(r"[Pp]?([0-9]{1,6})\Z")
_TASK: Final = re.compile(r"[Tt][0-9]{1,6}(?:\.[0-9]+)*\Z")
_VERBS: Final = ("edit", "comment", "replan", "diff", "unapprove", "export")


@make(
    "plan",
    example="nightcrew plan R-1\nnightcrew plan -f tasks.md\nnightcrew plan 'Add login rate limiting and document it' --format md\n"
    "nightcrew plan R-1 edit\nnightcrew plan R-1 comment T03 'use what is there'\nnightcrew plan R-1 replan\n"
    "nightcrew plan R-1 diff P1 P2\nnightcrew plan R-1 unapprove\nnightcrew plan R-1 export > tasks.md",
    exits=(1, 3, 4, 5, 6, 7, 8, 11, 130),
)
@click.argument("words", nargs=-1, metavar="[R-1 [VERB]|GOAL]")
@click.option(
    "-f",
    "--file",
    "file",
    metavar="TASKS.md",
    type=click.Path(),
    help="Check and show a file, nothing is recorded; with `edit`: the new text (- for stdin).",
)
@click.option(
    "--include-dirty", is_flag=True, help="With -f or a goal: as `nightcrew run --include-dirty` would start."
)
@click.option(
    "--role", default="", metavar="ROLE", help="With -f or a goal: role of the tasks that name none."
)
@click.option(
    "--budget",
    default="",
    metavar="AMOUNT",
    help="With a goal: as `nightcrew run --budget`; planning counts.",
)
@click.option("--agents", default="", metavar="A:N,B:M", help="With a goal: as `nightcrew run --agents`.")
@click.option("--all", "everything", is_flag=True, help="With replan: nothing stays as it is.")
@click.option(
    "-m", "said", default="", metavar="TEXT", help="With replan: one more comment, on the whole plan."
)
@goal_options
def command(runtime: Runtime, screen: Screen, *, words: tuple[str, ...], **options: Any) -> int:  # fmt: skip
    """Show the plan of a run, what a tasks file would become, or have a plan made of a goal; change a plan that waits.

    edit opens the plan as a tasks file in your editor (or takes it from --file); comment says something of it, or of one task
    (of a run that goes on, its planner is asked at once);
    replan has the planner make anew what was commented on, and nothing else; diff shows what is new; unapprove takes a yes back
    until the first task starts; of a run that goes on, replan plans what has not begun: what allows nothing new is in force at once,
    anything else waits for your yes while the approved rest goes on; export prints it as a tasks file. Each change makes a new version with a digest of its own: a yes
    to an older one is refused (exit 7). Exits 6 when a rule forbids part of a file.
    """
    run, verb, rest = _sort(words)
    if not run:
        return _make(runtime, screen, rest, options)
    if options["file"] and verb != "edit":
        raise UsageError("give a run (R-1) or a file (-f tasks.md)", hint="nightcrew plan -f tasks.md")
    if not verb and rest:
        raise UsageError(
            f"{shown(rest[0])!r} is nothing that can be done with a plan", hint=f"one of: {', '.join(_VERBS)}"
        )
    actions = {
        "": _show, "edit": _edit, "comment": _comment, "replan": _replan, "diff": _compare, "unapprove": _unapprove,
        "export": _export,
    }  # fmt: skip
    actions[verb](runtime, screen, runtime.resolve(run, kinds="R"), rest, options)
    return 0


def _sort(words: tuple[str, ...]) -> tuple[str, str, list[str]]:
    """Return run, verb and what is left, in whichever order the first two were typed."""
    left = list(words)
    verb = next((word for word in left[:2] if word in _VERBS), "")
    if verb:
        left.remove(verb)
    if left and _RUN.match(left[0]):
        return left[0], verb, left[1:]
    if verb:
        raise UsageError(f"{verb} which plan?", hint=f"nightcrew plan R-1 {verb}")
    return "", "", left


def _make(runtime: Runtime, screen: Screen, words: list[str], options: dict[str, Any]) -> int:
    """Show a file, or make a plan of a goal."""
    if len(words) > 1:
        raise UsageError("a goal is one argument", hint=f'nightcrew plan "{" ".join(words)}"')
    goal = words[0] if words else ""
    if bool(goal) == bool(options["file"]) or (goal and not goal.strip().count(" ")):
        raise UsageError(
            "give a run (R-1), a file (-f tasks.md), or a goal in a sentence",
            hint="nightcrew plan -f tasks.md",
        )
    if goal:
        made = make_plan(runtime, screen, goal, options)
        for note in made["notes"]:
            screen.warn(note)
        show_shape(runtime, screen, made["id"], options["shape"] or "table")
        return 0
    if unused := name_unused(options):
        raise UsageError(f"{unused} belongs to a goal, not to a tasks file", hint="nightcrew plan --help")
    return _preview(runtime, screen, options)


def _preview(runtime: Runtime, screen: Screen, options: dict[str, Any]) -> int:
    preview = runtime.preview(
        options["file"], width=screen.width, include_dirty=options["include_dirty"], role=options["role"]
    )
    for note in preview["notes"]:
        screen.warn(note)
    if screen.json:
        screen.emit({key: value for key, value in preview.items() if key != "text"})
    else:
        screen.data(preview["text"])
        for line in preview["forbidden"]:
            screen.verb("Forbidden", line, "red")
    return 6 if preview["forbidden"] else 0


def _show(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    if options["shape"]:
        show_shape(runtime, screen, run, options["shape"])
    elif screen.json:
        screen.emit(runtime.plan_view(run))
    else:
        screen.data(runtime.plan_text(run, width=screen.width))
        for line in describe_needs(runtime.plan_view(run)["asked"]):
            screen.data(f" {line}")


def _edit(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    version = runtime.plan_view(run)["version"]
    if options["file"] == "-":
        text: str | None = sys.stdin.read()
    elif options["file"]:
        text = _read(options["file"])
    elif screen.interactive:
        text = click.edit(runtime.export_plan(run), extension=".md")
    else:
        raise UsageError(
            "there is no terminal for an editor",
            hint=f"nightcrew plan {run} export > new.md, then: nightcrew plan {run} edit -f new.md",
        )
    if text is None:
        screen.verb("Unchanged", f"the plan of {run} is as it was", "yellow")
        return
    _say_changed(runtime, screen, run, runtime.edit_plan(run, text, before=version))


def _read(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {name}: {error}; nothing was changed") from error


def _comment(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    task = ""
    if len(rest) > 1 and (_TASK.match(rest[0]) or rest[0].startswith(f"{run}/")):
        task = rest.pop(0).removeprefix(f"{run}/").upper()
    if len(rest) != 1:
        raise UsageError(
            "say it in one argument", hint=f'nightcrew plan {run} comment T03 "use what is there"'
        )
    done = runtime.comment_plan(run, rest[0], task=task)
    if done["going"]:
        screen.verb("Noted", f"{task or 'the whole plan'}: {shown(rest[0])}")
        _replan(runtime, screen, run, [], options)
        return
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Noted", f"{task or 'the whole plan'}: {shown(rest[0])}")
    screen.hint(f"have it planned anew: nightcrew plan {run} replan")


def _replan(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    with Waiting(screen) as waiting:
        done = runtime.replan(
            run,
            tell=waiting.tell,
            planner=options["planner"],
            everything=options["everything"],
            also=options["said"],
        )
    say_planned(screen, {"planner": done["planner"], "took_s": done["took_s"], "spent": done["spent"]})
    for note in done["notes"]:
        screen.warn(note)
    if "more" in done and done["changes"]:
        _say_replanned(runtime, screen, run, done)
    else:
        _say_changed(runtime, screen, run, done)


def _say_replanned(runtime: Runtime, screen: Screen, run: str, done: dict[str, Any]) -> None:
    """Tell what became of a new plan of a run that goes on."""
    if not done["more"]:
        runtime.nudge(run, start=True)
    if screen.json:
        screen.emit({**runtime.show(run), **{key: done[key] for key in ("changes", "more", "version")}})
        return
    screen.data(runtime.plan_text(run, width=screen.width))
    changed = ", ".join(f"{each['task']} {each['change']}" for each in done["changes"])
    if not done["more"]:
        screen.verb("Changed", f"P{done['version']} of {run} is in force, it allows nothing new: {changed}")
        return
    screen.verb("Offered", f"P{done['version']} of {run} waits for your yes: {changed}", "yellow")
    screen.hint(f"nightcrew approve {run} --digest {done['digest'][:12]} | nightcrew deny {run} -m why")


def _compare(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    found = [_VERSION.match(word) for word in rest]
    if len(rest) > 2 or not all(found):
        raise UsageError("versions are P1, P2, ...", hint=f"nightcrew plan {run} diff P1 P2")
    numbers = [int(each.group(1)) for each in found if each is not None]
    old, new = (numbers[0] if numbers else None), (numbers[1] if len(numbers) > 1 else None)
    view = runtime.compare_plans(run, old, new)
    if screen.json:
        screen.emit(view)
        return
    for change in view["changes"]:
        fields = ", ".join(change["fields"])
        screen.data(
            f"{change['task']:<6} {change['change']}"
            + (f": {fields}" if change["change"] == "changed" else "")
        )
    for line in view["more"]:
        screen.data(f"  may do more than before: {shown(line)}")
    if view["text"]:
        screen.data(view["text"])
    elif not view["changes"]:
        screen.data(f"P{view['old']} and P{view['new']} of {run} are the same")


def _unapprove(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    done = runtime.unapprove_plan(run)
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Unapproved", f"the plan of {run} waits again; nothing had begun")
    screen.hint(f"nightcrew approve {run}")


def _export(runtime: Runtime, screen: Screen, run: str, rest: list[str], options: dict[str, Any]) -> None:
    found = [_VERSION.match(word) for word in rest]
    if len(rest) > 1 or not all(found):
        raise UsageError("a version is P1, P2, ...", hint=f"nightcrew plan {run} export P1")
    version = next((int(each.group(1)) for each in found if each is not None), None)
    if screen.json or options["shape"] == "json":
        screen.emit(runtime.view_goal(run))
    else:
        show_file(screen, runtime.export_plan(run, version))


def _say_changed(runtime: Runtime, screen: Screen, run: str, done: dict[str, Any]) -> None:
    if screen.json:
        screen.emit({**runtime.show(run), "changes": done["changes"]})
        return
    if not done["changes"]:
        screen.verb("Unchanged", f"the plan of {run} says the same as before", "yellow")
        return
    screen.data(runtime.plan_text(run, width=screen.width))
    changed = ", ".join(f"{each['task']} {each['change']}" for each in done["changes"])
    screen.verb("Changed", f"P{done['version']} of {run}, {count(len(done['changes']), 'task')}: {changed}")
    screen.hint(f"nightcrew plan {run} diff; then: nightcrew approve {run}")
