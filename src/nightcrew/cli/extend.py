"""``nightcrew extend``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make(
    "extend",
    example="nightcrew extend R-1 --budget 50usd\n"
    "nightcrew extend R-1/T02 --budget '10usd 2M'\n"
    "nightcrew extend R-1 --agent claude --budget 20usd\n"
    "nightcrew extend day --budget 60usd",
    exits=(3, 6, 7, 8),
)
@click.argument("name", metavar="R-1|R-1/T01|day|month")
@click.option(
    "--budget",
    required=True,
    metavar="AMOUNT",
    help="What it may take from now on in all: 50usd, 2M (tokens), 300calls, 8h, or several; none.",
)
@click.option("--agent", default="", metavar="NAME", help="The budget of one agent in the run.")
@click.option("--role", default="", metavar="NAME", help="The budget of one role in the run.")
def command(runtime: Runtime, screen: Screen, *, name: str, budget: str, agent: str, role: str) -> None:
    """Give a run or one task another budget, and let go on what was paused because the old one was spent.

    The amount is what it may cost in all, what is spent already included. `day` and `month` are today and this month, for all
    runs together; what config.yaml says holds again after that.
    """
    found = name if name in ("day", "month") else runtime.resolve(name, kinds="RT")
    if (agent and role) or ((agent or role) and not (found.startswith("R-") and "/" not in found)):
        raise click.UsageError("--agent and --role go with a run, one at a time")
    done = runtime.money.extend(found, budget, agent=agent, role=role)
    if screen.json:
        screen.emit(done)
        return
    whose = f"{done['id']}{f' agent {agent}' if agent else ''}{f' role {role}' if role else ''}"
    screen.verb("Extended", f"{whose}: budget {done['budget']} (was {done['before']})")
    if done["spent"]:
        screen.say(f"spent so far: {done['spent']}")
    for said in done["still_spent"].values():
        screen.warn(said)
    if done["resumed"]:
        screen.verb("Resumed", ", ".join(done["resumed"]))
        screen.hint(f"follow it: nightcrew resume {done['resumed'][0].partition('/')[0]}")
