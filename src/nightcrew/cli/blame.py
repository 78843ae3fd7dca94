"""``nightcrew blame``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_WIDTH = 60


@make(
    "blame",
    example="nightcrew blame src/app.py:88\nnightcrew blame src/app.py:80-95\nnightcrew blame src/app.py --json",
    exits=(3,),
)
@click.argument("place", metavar="FILE[:LINE]")
def command(runtime: Runtime, screen: Screen, *, place: str) -> None:
    """Tell where a line comes from: commit, task, run, agent, checkpoint, approvals, and who promoted it.

    Lines are followed through moves by git. What nobody promoted is told as well: by whom it was committed, or that it is not committed.
    """
    found = runtime.blame(place)
    if screen.json:
        screen.emit(found)
        return
    if not found["lines"]:
        screen.data(f"{shown(found['file'])} is empty")
    for line in found["lines"]:
        said = _describe(line, found["origins"])
        screen.data(f"{line['line']:>5}  {shown(line['text'])[:_WIDTH]:<{_WIDTH}}  {said}".rstrip())
        following = _next(found["lines"], line)
        if line["origin"] and line["origin"] != following:
            for told in _tell_origin(found["origins"][line["origin"]]):
                screen.data(f"       {shown(told)}")


def _next(lines: list[dict[str, Any]], line: dict[str, Any]) -> str:
    after = [each for each in lines if each["line"] == line["line"] + 1]
    return str(after[0]["origin"]) if after else ""


def _describe(line: dict[str, Any], origins: dict[str, Any]) -> str:
    if line["by"] == "uncommitted":
        return "not committed yet; not by nightcrew"
    if line["by"] == "person":
        return shown(
            f"{line['commit'][:12]}  {line['author']}  {line['at'][:10]}  {line['summary']}; not by nightcrew"
        )
    origin = origins[line["origin"]]
    tasks = ", ".join(task["id"] for task in origin["tasks"])
    either = "" if origin["certain"] else "one of "
    changed = "" if line["exact"] else ", in a commit that was rebased or amended since"
    return shown(f"{line['commit'][:12]}  {either}{tasks}  {origin['promotion']}{changed}")


def _tell_origin(origin: dict[str, Any]) -> list[str]:
    lines = []
    for task in origin["tasks"]:
        models = f" ({', '.join(task['models'])})" if task["models"] else ""
        lines.append(
            f"{task['id']}  {task['title']}  {task['agent']}{models}  attempt {task['attempt'].rpartition('/')[2] or '-'}"
            f"  {task['checkpoint'] or '-'}  {task['verified']}"
        )
        lines += [f"  approved  {_tell_answer(each)}" for each in task["approved"]]
        lines += [f"  denied    {_tell_answer(each)}" for each in task["refused"]]
        if task["denied_by_policy"]:
            lines.append(
                f"  {count(task['denied_by_policy'], 'action')} denied by policy: nightcrew why {task['id']}"
            )
    via = f" ({origin['plan_approved_via']})" if origin["plan_approved_via"] else ""
    lines.append(
        f"plan {origin['plan']} approved by {origin['plan_approved_by']} {origin['plan_approved_at']}{via}"
    )
    factor = f" ({origin['factor']})" if origin["factor"] else ""
    act = (
        f"undone as {origin['promotion']} (undo of {origin['undo_of']})"
        if origin["undo_of"]
        else origin["promotion"]
    )
    lines.append(f"promoted {act} by {origin['promoted_by']} {origin['promoted_at']}{factor}")
    if origin["undone_by"]:
        lines.append(f"taken back since by {origin['undone_by']}")
    return lines


def _tell_answer(each: dict[str, Any]) -> str:
    said = f": {each['reason']}" if each["reason"] else ""
    proof = f" ({', '.join(each['factors'])})" if each["factors"] else ""
    return f"{each['id']} {each['action']}  by {each['by']} via {each['via']}{proof}{said}"
