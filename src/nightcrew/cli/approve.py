"""``nightcrew approve``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.asking import ask_digest, ask_plan_digest
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.runtime.api import Runtime

#: Risks that need more than the command: the person looks at the thing and types how its digest begins.
_RISKY = ("high", "critical")


@make(
    "approve",
    example="nightcrew approve R-1\nnightcrew approve A-1\nnightcrew approve A-1 --scope task",
    exits=(3, 5, 7),
)
@click.argument("name", metavar="R-1|A-1")
@click.option(
    "--digest", default="", help="Refuse unless what is decided has this digest (a prefix will do)."
)
@click.option(
    "--with-asks", is_flag=True, help="With a plan: also approve the questions that its flags announce."
)
@click.option(
    "--scope", type=click.Choice(["once", "task"]), default="once", help="For once, or for this task."
)
@click.option("-m", "reason", default="", help="Why.")
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Approve the plan of a run (R-1) or an action that waits (A-1); work goes on by itself.

    The answer is bound to the digest of what was shown and used once. On a terminal a plan asks for the first digits of its digest.
    """
    found = runtime.resolve(options["name"], kinds="RA")
    if found.startswith("R-"):
        _approve_plan(runtime, screen, found, options)
    else:
        _approve_action(runtime, screen, found, options)
    woken = runtime.nudge(found, start=not options["no_start"])
    if screen.json:
        screen.emit({**runtime.show(found), "engine": woken})
    else:
        say_engine(screen, woken)


def _approve_plan(runtime: Runtime, screen: Screen, run: str, options: dict[str, Any]) -> None:
    if options["scope"] != "once":
        raise UsageError("--scope belongs to an action (A-1), not to a plan")
    plan = runtime.plan_view(run)
    if screen.interactive and not options["digest"]:
        runtime.check_plan_open(run)
        screen.data(runtime.plan_text(run, width=screen.width))
        ask_plan_digest(runtime, screen, run, plan["digest"], with_asks=options["with_asks"])
    else:
        digest = options["digest"] or plan["digest"]
        runtime.approve_plan(run, digest=digest, via="command line", with_asks=options["with_asks"])
    if not screen.json:
        screen.verb("Approved", f"plan of {run}, digest {plan['digest'][:12]}")


def _approve_action(runtime: Runtime, screen: Screen, approval: str, options: dict[str, Any]) -> None:
    if options["with_asks"]:
        raise UsageError("--with-asks belongs to a plan (R-1), not to an action")
    item = runtime.show(approval)
    if screen.interactive and not options["digest"] and item["state"] == "pending" and item["risk"] in _RISKY:
        options["digest"] = ask_digest(screen, item)
    done = runtime.decide(
        approval,
        answer="approved",
        reason=options["reason"],
        scope=options["scope"],
        digest=options["digest"],
    )
    if not screen.json:
        screen.verb("Approved", f"{approval}  {done['task']}  {options['scope']}: {done['action']}")


def say_engine(screen: Screen, woken: str) -> None:
    """Say what goes on because of a decision."""
    words = {
        "woken": "the running engine goes on with it",
        "started": "a background host was started and goes on with it",
        "recorded": "recorded; nothing goes on with it now",
    }
    screen.verb("Engine", words[woken], "cyan")
    if woken == "recorded":
        screen.hint("go on: nightcrew resume")
