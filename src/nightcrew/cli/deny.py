"""``nightcrew deny``."""

from __future__ import annotations

import click

from nightcrew.cli.approve import say_engine
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make(
    "deny",
    example='nightcrew deny A-1 -m "open a pull request instead"\nnightcrew deny R-1 -m "too much at once"',
    exits=(3, 4, 6, 7),
)
@click.argument("name", metavar="R-1|A-1")
@click.option("-m", "reason", required=True, help="Why; the agent is told.")
@click.option(
    "--digest", default="", help="Refuse unless what is decided has this digest (a prefix will do)."
)
@click.option(
    "--only", is_flag=True, help="Not the other questions of the run that are about exactly the same."
)
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(
    runtime: Runtime, screen: Screen, *, name: str, reason: str, digest: str, only: bool, no_start: bool
) -> None:
    """Deny the plan of a run (R-1) or an action that waits (A-1); the reason is recorded and told to the agent."""
    found = runtime.resolve(name, kinds="RA")
    if found.startswith("R-"):
        offered = runtime.plan_view(found)["offered"]
        runtime.deny_plan(found, reason=reason, digest=digest)
        if not screen.json:
            left = "it goes on with the plan that it has" if offered else "it will not run"
            screen.verb("Denied", f"plan of {found}: {left}", "yellow")
    else:
        done = runtime.decide(found, answer="denied", reason=reason, digest=digest, only=only)
        if not screen.json:
            screen.verb("Denied", f"{found}  {done['task']}  {done['action']}", "yellow")
            if done["also"]:
                screen.say(f"              and {', '.join(done['also'])}, which ask for exactly the same")
    woken = "recorded" if found.startswith("R-") else runtime.nudge(found, start=not no_start)
    if screen.json:
        screen.emit({**runtime.show(found), "engine": woken})
    elif not found.startswith("R-"):
        say_engine(screen, woken)
