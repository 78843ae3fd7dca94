"""``nightcrew show``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.inbox import describe_item
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime


@make("show", example="nightcrew show R-1\nnightcrew show R-1/T01 --json", exits=(3,))
@click.argument("name", metavar="ID")
def command(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Show a run, task, approval, checkpoint, promotion or event."""
    found = runtime.resolve(name, kinds="RTCAME")
    view = runtime.show(found)
    if screen.json:
        screen.emit(view)
    elif found.startswith("R-") and "/" not in found:
        show_run(screen, view)
    elif found.startswith("A-"):
        for line in describe_item(view):
            screen.data(line)
    else:
        _show_fields(screen, view)


def show_run(screen: Screen, view: dict[str, Any]) -> None:
    """Print a run with its tasks on stdout."""
    plan = view["plan"]
    screen.data(f"{view['id']}  {screen.state(view['state'])}  {shown(view['title'])}")
    if view["reason"]:
        screen.data(f"     {shown(view['reason'])}")
    screen.data(
        f"     base {view['base_commit'][:12]}  plan {plan['digest'][:12]}  isolation {view['isolation'] or '-'}"
    )
    screen.data(f"     confined by {view['confined']['text'] or '-'}")
    for line in view["confined"]["missing"]:
        screen.data(f"       does not hold: {line}")
    if view["usage"]["requests"] or view["usage"]["budget"]:
        screen.data(f"     spent {describe_usage(view['usage'])}")
    show_ends(screen, view)
    for line in table([task_row(screen, task) for task in view["tasks"]], indent="  "):
        screen.data(line)
    if view["drift"]:
        screen.data(f"  drift {view['drift']['severity']}: {shown(view['drift']['said'])}")
    for each in view["forecast"]:
        where = shown(", ".join(each["paths"]))
        screen.data(f"  {' and '.join(each['tasks'])} will collide in {where}")
    if view["state"] == "awaiting_approval":
        screen.data(f"  its plan waits for you   nightcrew plan {view['id']}")
    if view["offered"]:
        screen.data(
            f"  waits for you: P{view['offered']['version']} of its plan   nightcrew plan {view['id']}"
        )
    for approval in view["approvals"]:
        screen.data(f"  waits for you: {approval}   nightcrew inbox")


def show_ends(screen: Screen, view: dict[str, Any]) -> None:
    """Print what will end the run, what has ended it, and what gives more of a budget that is spent."""
    if view["until"]:
        screen.data(f"     works until {view['until_said']}")
    if view["stopped"] and view["stopped"]["reason"] != view["reason"]:
        screen.data(f"     {view['stopped']['reason']}")
    exhausted = view["usage"]["exhausted"]
    for each in view["usage"]["budgets"]:
        if each["key"] in exhausted and view["state"] in ("running", "paused", "interrupted"):
            screen.data(f"     {exhausted[each['key']]}   {each['extend']}")


def describe_share(usage: dict[str, Any]) -> str:
    """Return what was spent in a few characters: ``$1.20``, with a budget ``$1.20 12%``; tokens where no price is known."""
    if not usage["requests"]:
        return ""
    said = str(usage["said"]).partition(",")[0]
    return f"{said} {usage['share']:.0%}" if usage["share"] is not None else said


def describe_usage(usage: dict[str, Any]) -> str:
    """Return what was spent, and of what."""
    said = usage["said"] or "nothing"
    more = f"; {usage['estimated']} answers were cut off and are estimated" if usage["estimated"] else ""
    return f"{said} of {usage['budget']} ({usage['share']:.0%}){more}" if usage["budget"] else said + more


def task_row(screen: Screen, task: dict[str, Any]) -> list[str]:
    """Return the cells of one task: name, state, proof, verdict, attempts, agent, what to know."""
    verdict = f"promoted {task['promoted']}" if task["promoted"] else task["verdict"]
    note = task["waiting_for"] or (task["reason"] if task["state"] != "succeeded" else "")
    return [
        task["name"],
        screen.state(task["state"]),
        screen.state(task["verified"]) if task["verified"] else "-",
        verdict or "-",
        f"{task['attempts']}x",
        task["agent"],
        describe_share(task["usage"]),
        shown(task["title"] + (f"   ({note})" if note else "")),
    ]


def _show_fields(screen: Screen, view: dict[str, Any]) -> None:
    for key, value in view.items():
        if value in ("", None, [], {}):
            continue
        for line in _field(key, value):
            screen.data(line)


def _field(key: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"{key}:"] + [f"  {_inline(item)}" for item in value]
    return [f"{key}: {_inline(value)}"]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(
            f"{key}={_inline(item)}" for key, item in value.items() if item not in ("", None, [], {})
        )
    return " ".join(_inline(item) for item in value) if isinstance(value, list) else shown(str(value))
