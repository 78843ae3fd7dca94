"""``nightcrew rehearse``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.runtime.api import Runtime
from nightcrew.runtime.showing.playing import Order


@make(
    "rehearse",
    example="nightcrew rehearse tasks.md --agent claude\n"
    "nightcrew rehearse tasks.md --agent codex --also 'git push' --also 'npm install left-pad'\n"
    "nightcrew rehearse tasks.md --agent gemini --fault 529x2 --fault cut@2\n"
    "nightcrew rehearse tasks.md --scenario night.json --answer leave --json",
    exits=(5, 6, 10, 11),
)
@click.argument("file", metavar="TASKS.md", type=click.Path())
@click.option("--agent", default="", help="Who does the tasks; by default each task's own agent.")
@click.option(
    "--scenario",
    default="",
    metavar="FILE",
    type=click.Path(),
    help="What the model says, as JSON; made of the tasks by default.",
)
@click.option(
    "--also", multiple=True, metavar="COMMAND", help="A command line that the agent tries in every task."
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="FAULT",
    help="What goes wrong: 529, 401x3 (three times), cut, hang, garbage; cut@2: at the second turn.",
)
@click.option(
    "--answer",
    type=click.Choice(["approve", "deny", "leave"]),
    default="approve",
    show_default=True,
    help="What is answered to the questions of the rehearsal.",
)
@click.option("--keep", is_flag=True, help="Keep the copy and its state to look around in.")
@click.option(
    "--allow-unsandboxed", is_flag=True, help="Rehearse even where this machine cannot confine agents (S0)."
)
def command(runtime: Runtime, screen: Screen, **options: Any) -> int:
    """Play a night with a real agent, a scripted model and no key, on a copy of the repository.

    It prints what would be asked and what would be denied, by which rule. Your repository, state and settings are only
    read. What the model says is made of the tasks: it looks around, changes a file in the scope, runs what proves the task;
    so the work itself is not done, and `Accept:` lines of tasks that are played are tried and not required.
    """
    order = Order(
        file=options["file"],
        agent=options["agent"],
        scenario=options["scenario"],
        also=options["also"],
        faults=options["faults"],
        answer=options["answer"],
        keep=options["keep"],
        unsandboxed=options["allow_unsandboxed"],
    )
    report = runtime.rehearse(order, lambda text: screen.verb("Answered", text))
    if screen.json:
        screen.emit(report)
    else:
        _show(screen, report)
    return int(report["exit"])


def _show(screen: Screen, report: dict[str, Any]) -> None:
    rows = [
        [
            task["id"],
            task["agent"],
            screen.state(task["state"]),
            str(task["attempts"]),
            task["reason"] or task["title"],
        ]
        for task in report["tasks"]
    ]
    for line in table(rows, header=["TASK", "AGENT", "STATE", "TRIES", ""]):
        screen.data(line)
    for title, key in (("You would be asked", "asked"), ("Would be denied", "denied")):
        screen.data("")
        found = report[key]
        screen.data(f"{title}: {len(found) or 'nothing'}")
        for each in found:
            screen.data(f"  {each['task']}  {each['action']}")
            screen.data(f"       {each['reason']} (rule {each['rule']}, {each['source']})")
    for each in report["refused"]:
        screen.data(f"  not answered by the rehearsal: {each['id']} {each['action']}: {each['reason']}")
    screen.data("")
    screen.data(f"Allowed without a question: {report['allowed']}. Isolation: {report['isolation']}.")
    if report["kept"]:
        screen.hint(f"look around: {report['kept']} (XDG_STATE_HOME={report['kept']}/state)")
