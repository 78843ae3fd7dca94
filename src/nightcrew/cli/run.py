"""``nightcrew run``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.asking import ask, ask_plan_digest
from nightcrew.cli.failure import as_json
from nightcrew.cli.follow import follow_run
from nightcrew.cli.options import command as make
from nightcrew.cli.planning import (
    goal_options,
    make_plan,
    name_unused,
    read_replan,
    replan_options,
    show_shape,
)
from nightcrew.cli.proving import read_proof
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import DeniedByPolicy, NightcrewError, UsageError, WaitingForHuman
from nightcrew.runtime.api import Runtime


@make(
    "run",
    example="nightcrew run 'Add login rate limiting and document it'\nnightcrew run 'Add login rate limiting' --planner claude --context docs/auth.md --never 'migrations/**'\nnightcrew run -f tasks.md\nnightcrew run -f tasks.md --include-dirty\nnightcrew run -f tasks.md --yes --json\nnightcrew run -f tasks.md --budget 25usd\nnightcrew run -f tasks.md --replan-on-failure --planner claude\nnightcrew run -f tasks.md --agents claude:2,codex:1\nnightcrew run -f tasks.md --yes --detach",
    exits=(4, 5, 6, 7, 8, 9, 10, 11, 130),
)
@click.argument("goal", required=False, metavar="[GOAL]")
@click.option(
    "-f",
    "--file",
    "file",
    metavar="TASKS.md",
    type=click.Path(),
    default=None,
    help="The tasks file, instead of a goal.",
)
@click.option("--title", default="", help="What the run is for; the first heading of the file otherwise.")
@click.option("--yes", is_flag=True, help="Approve the plan, and nothing else: questions of tasks stay open.")
@click.option(
    "--include-dirty",
    is_flag=True,
    help="Start from your uncommitted work too: staged, unstaged and untracked files (ignored ones not).",
)
@click.option("--max-parallel", type=click.IntRange(1, 64), default=None, help="Tasks at once.")
@click.option(
    "--budget",
    default="",
    metavar="AMOUNT",
    help="What it may take in all: 25usd, 2M (tokens), 300calls, 8h (agents' work), or several: '25usd 2M'.",
)
@click.option(
    "--until",
    default="",
    metavar="TIME",
    help="Stop then, with everything kept: 07:30, '2026-11-22 07:30', +8h.",
)
@click.option(
    "--agents",
    default="",
    metavar="A:N,B:M",
    help="Agents that may be chosen for tasks that name none, and how many tasks of each at once: claude:2,codex:1.",
)
@click.option(
    "--role", default="", metavar="ROLE", help="Role of the tasks that name none; see: nightcrew role list."
)
@click.option("--detach", is_flag=True, help="Let a background host do it; print the id and return.")
@click.option(
    "--wait", is_flag=True, help="Stay until the end, also while all that is left waits for a human."
)
@click.option(
    "--allow-unsandboxed", is_flag=True, help="Run even where this machine cannot confine agents (S0)."
)
@replan_options
@goal_options
def command(runtime: Runtime, screen: Screen, *, goal: str | None, **options: Any) -> int:
    """Plan, approve and run a goal or the tasks of a file, each task in its own sandboxed copy of the repository.

    Of a goal in a sentence an agent makes the plan: in a copy, allowed to read only, and what it answers is checked, judged and
    shown like a file that you wrote. The plan is shown and nothing runs before it is approved. Results wait for review; your repository is not touched.
    In a directory without git the tasks start from a snapshot of it, kept in nightcrew's own state.
    """
    if options["until"]:
        runtime.money.check_until(options["until"])
    draft = _plan(runtime, screen, goal, options)
    run = draft["id"]
    if options["until"] and not draft["forbidden"]:
        screen.verb("Until", runtime.money.work_until(run, options["until"])["said"])
    for note in draft["notes"]:
        screen.warn(note)
    if options["plan_only"]:
        show_shape(runtime, screen, run, options["shape"] or "table")
        return 6 if draft["forbidden"] else 0
    screen.say(runtime.plan_text(run, width=screen.width))
    try:
        _approve(runtime, screen, draft, yes=options["yes"])
    except NightcrewError as error:
        return _not_started(runtime, screen, run, error)
    if options["detach"]:
        return _detach(runtime, screen, run)
    return follow_run(runtime, screen, run, wait=options["wait"])


def _plan(runtime: Runtime, screen: Screen, goal: str | None, options: dict[str, Any]) -> dict[str, Any]:
    if (goal is None) == (options["file"] is None):
        raise UsageError(
            "give a goal or a tasks file, and not both",
            hint='nightcrew run "what you want done", or: nightcrew run -f tasks.md',
        )
    if options["shape"] and not options["plan_only"]:
        raise UsageError("--format belongs to --plan-only", hint="nightcrew run GOAL --plan-only --format md")
    if goal is not None and not goal.strip().count(" ") and goal.endswith((".md", ".yaml", ".txt")):
        raise UsageError(f"{goal!r} is a file, not a goal", hint=f"nightcrew run -f {goal}")
    if goal is not None:
        return {**make_plan(runtime, screen, goal, options), "goal": True}
    if unused := name_unused(options):
        raise UsageError(f"{unused} belongs to a goal, not to a tasks file", hint="nightcrew run --help")
    return runtime.plan(
        options["file"],
        title=options["title"],
        max_parallel=options["max_parallel"],
        unsandboxed=options["allow_unsandboxed"],
        include_dirty=options["include_dirty"],
        budget=options["budget"],
        role=options["role"],
        agents=options["agents"],
        replan=read_replan(options),
    )


def _approve(runtime: Runtime, screen: Screen, draft: dict[str, Any], *, yes: bool) -> None:
    run = draft["id"]
    if draft["forbidden"]:
        raise DeniedByPolicy(
            f"{run} was planned and refused: a rule forbids part of it; nothing runs",
            code="plan.forbidden",
            where=draft["forbidden"],
            hint="change the tasks file, or the policy: nightcrew policy explain -- COMMAND",
        )
    if yes:
        runtime.approve_plan(run, digest=draft["digest"], via="--yes")
    elif screen.interactive:
        _approve_here(runtime, screen, run, draft["digest"])
    else:
        raise WaitingForHuman(
            f"{run} waits for you to approve its plan; nothing runs before",
            code="plan.waiting",
            where=[f"digest {draft['digest'][:12]}"],
            hint=f"nightcrew approve {run}",
        )
    screen.verb("Approved", f"plan of {run}")


def _approve_here(runtime: Runtime, screen: Screen, run: str, digest: str) -> None:
    """Ask on the terminal for a yes to a plan, and for the factor that it needs."""
    typed = ask_plan_digest(screen, run, digest)
    needs = runtime.plan_view(run)["asked"]["needs"]
    nothing = {"otp": "", "pin": False, "pin_stdin": False}
    proof = read_proof(runtime, screen, nothing, needed=needs["factor"])
    reason = ask(screen, "why? ") if needs["reason"] else ""
    done = runtime.approve_plan(run, digest=typed, via="terminal", reason=reason, proof=proof)
    if done["state"] == "pending":
        raise WaitingForHuman(
            f"{len(done['votes'])} of {done['quorum']} people have said yes to the plan of {run}; nothing runs before all have",
            code="plan.waiting",
            where=[f"digest {digest[:12]}"],
            hint=f"another person: nightcrew approve {run} --as NAME",
        )


def _not_started(runtime: Runtime, screen: Screen, run: str, error: NightcrewError) -> int:
    if not screen.json:
        raise error
    screen.emit({"ok": False, "error": as_json(error), **runtime.show(run)})
    return int(error.exit)


def _detach(runtime: Runtime, screen: Screen, run: str) -> int:
    runtime.nudge(run, start=True)
    if screen.json:
        screen.emit(runtime.show(run))
    else:
        screen.data(run)
        screen.hint(
            f"follow it: nightcrew resume {run}   see it: nightcrew show {run}   stop it: nightcrew cancel {run}"
        )
    return 0
