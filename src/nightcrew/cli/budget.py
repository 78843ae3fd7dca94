"""``nightcrew budget show | history``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import count
from nightcrew.runtime.api import Runtime


@make("show", example="nightcrew budget show\nnightcrew budget show R-1 --json", exits=(3,))
@click.argument("run", required=False, metavar="[R-1]")
def show(runtime: Runtime, screen: Screen, *, run: str | None) -> None:
    """Show what this day and this month have taken over all runs, and every budget that holds: of open runs, or of one."""
    view = runtime.money.show(runtime.resolve(run, kinds="R") if run else "")
    if screen.json:
        screen.emit(view)
        return
    for name in ("day", "month"):
        screen.data(f"{name} {view[name]['name']}: {view[name]['said']}")
    _print_budgets(screen, view["budgets"])
    for each in view["runs"]:
        screen.data(f"{each['id']}  {screen.state(each['state'])}  {each['title']}: {each['said']}")
        _print_budgets(screen, each["budgets"])
    if not view["budgets"] and not any(each["budgets"] for each in view["runs"]):
        screen.say("no budget holds")
        screen.hint(
            "name one in config.yaml: budget: {run: 25usd, day: 60usd}   or: nightcrew run -f tasks.md --budget 25usd"
        )


def _print_budgets(screen: Screen, budgets: list[dict[str, Any]]) -> None:
    rows = [
        [
            each["of"],
            each["name"],
            each["budget"],
            each["spent"],
            f"{each['share']:.0%}",
            each["extend"] if each["share"] >= 1 else "",
        ]
        for each in budgets
    ]
    for line in table(rows, indent="  ", header=["OF", "", "BUDGET", "SPENT", "", ""]) if rows else ():
        screen.data(line)


@make(
    "history",
    example="nightcrew budget history\nnightcrew budget history --by agent --days 7\nnightcrew budget history --by model --run R-1 --json",
    exits=(3,),
)
@click.option(
    "--by",
    type=click.Choice(["day", "month", "agent", "run", "model"]),
    default="day",
    show_default=True,
    help="What to add up by.",
)
@click.option(
    "--days", type=click.IntRange(1, 3660), default=31, show_default=True, help="Of the last so many days."
)
@click.option("--run", default="", metavar="R-1", help="Of one run only.")
def history(runtime: Runtime, screen: Screen, *, by: str, days: int, run: str) -> None:
    """Show what models have cost, by day of your own calendar, month, agent, run or model, over all runs."""
    view = runtime.money.history(by, days=days, run=runtime.resolve(run, kinds="R") if run else "")
    if screen.json:
        screen.emit(view)
        return
    if not view["lines"]:
        screen.say(f"nothing was spent since {view['since']}")
        return
    rows = [
        [each[by], each["said"], count(each["requests"], "answer"), _list_runs(each["runs"])]
        for each in view["lines"]
    ]
    for line in table(rows, header=[by.upper(), "SPENT", "", "RUNS"]):
        screen.data(line)
    screen.data(f"in all since {view['since']}: {view['total']['said']}")


def _list_runs(runs: list[str]) -> str:
    return ", ".join(runs[:4]) + (f" and {len(runs) - 4} more" if len(runs) > 4 else "")


command = group("budget", purpose="What may be spent, and what was.", commands=[show, history])
