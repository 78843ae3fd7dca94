"""``nightcrew inbox``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime

_OVER = 100  # percent of its time


@make("inbox", example="nightcrew inbox\nnightcrew inbox --json")
def command(runtime: Runtime, screen: Screen) -> None:
    """List what waits for you: plans, actions and changes, with the exact thing that an answer would be about."""
    items = runtime.inbox()
    if screen.json:
        screen.emit(items)
        return
    if not items:
        screen.say("nothing waits for you")
    for line in describe_items(items):
        screen.data(line)


def describe_items(items: Sequence[dict[str, Any]]) -> list[str]:
    """Return the lines that show several questions; those that one answer serves are one."""
    lines: list[str] = []
    told: set[str] = set()
    for item in items:
        if item["id"] not in told:
            told |= {item["id"], *item.get("same", ())}
            lines += describe_item(item)
    return lines


def describe_item(item: dict[str, Any]) -> list[str]:
    """Return the lines that show one open question; the action is never shortened."""
    if item["kind"] == "question":
        return _describe_question(item)
    place = item["task"] or item["run"]
    lines = [f"{item['id']}  {item['kind']}  {place}  risk {item['risk']}{_describe_time(item)}"]
    # What an agent wants to run is its own text: what a terminal would obey, or nobody would see, is shown by name.
    lines += [f"    {shown(line)}" for line in item["action"].splitlines()]
    if item.get("same"):
        others = item["same"]
        lines.append(
            f"    {len(others) + 1} tasks ask this; one answer serves all: {', '.join([item['id'], *others])}"
        )
    if item["rule"]:
        lines.append(f"    rule {item['rule']} ({item['source']}): {item['reason']}")
    lines += [f"    {line}" for line in describe_needs(item)]
    lines.append(f"    digest {item['digest'][:12]}")
    if item["state"] != "pending":
        return [*lines, f"    {_describe_end(item)}"]
    lines.append(
        f"    nightcrew approve {item['id']}{_options(item)}   |   nightcrew deny {item['id']} -m WHY"
    )
    return lines


def _describe_time(item: dict[str, Any]) -> str:
    if not item["expires_at"]:
        return "   its time is over, it waits on" if item.get("reminded") == _OVER else ""
    follows = {"park": ", then it waits on", "allow": ", then it is allowed"}.get(
        item.get("on_timeout", ""), ""
    )
    return f"   expires {item['expires_at']}{follows}"


def describe_needs(item: dict[str, Any]) -> list[str]:
    """Return what a yes needs beside a person's word, and who has given theirs."""
    needs = item.get("needs") or {}
    said = [f"{needs['quorum']} people"] if needs.get("quorum", 1) > 1 else []
    said += [f"of {', '.join(needs['approvers'])}"] if needs.get("approvers") else []
    said += [f"not {item['owner']}, who handed it over"] if needs.get("not_requester") else []
    said += ["a reason (-m)"] if needs.get("reason") else []
    words = {"any": "a PIN or a code (--pin, --otp)", "pin": "a PIN (--pin)", "totp": "a code (--otp)"}
    said += [words[needs["factor"]]] if needs.get("factor") else []
    lines = [f"a yes needs {'; '.join(said)} ({needs['source']})"] if said else []
    votes = [f"{each['by']} at {each['at']}" for each in item.get("votes", ())]
    return [
        *lines,
        *(
            [f"{len(votes)} of {needs['quorum']} yeses: {', '.join(votes)}"]
            if votes and needs.get("quorum", 1) > 1
            else []
        ),
    ]


def _options(item: dict[str, Any]) -> str:
    """Return what belongs to a yes of this question."""
    needs = item.get("needs") or {}
    factor = {"any": " --pin", "pin": " --pin", "totp": " --otp CODE"}.get(needs.get("factor", ""), "")
    named = f" --digest {item['digest'][:12]}" if item.get("offer") else ""
    return named + (" -m WHY" if needs.get("reason") else "") + factor


def _describe_end(item: dict[str, Any]) -> str:
    by = f" by {item['decided_by']}" if item["decided_by"] else ""
    via = f" via {item['decided_via']}" if item["decided_via"] else ""
    why = f": {shown(item['answer'])}" if item["answer"] else ""
    return f"{item['state']}{by}{via} at {item['decided_at']}{why}"


def _describe_question(item: dict[str, Any]) -> list[str]:
    """Return the lines of a question that an agent asks: its own words, its choices, how to answer."""
    until = f"   expires {item['expires_at']}" if item["expires_at"] else ""
    lines = [f"{item['id']}  question  {item['task']}  asked by {item.get('requester', 'its agent')}{until}"]
    # An agent's own words: what a terminal would obey, or nobody would see, is shown by name.
    lines += [f"    {shown(line)}" for line in item["action"].splitlines()]
    lines.append(f"    digest {item['digest'][:12]}")
    asked = item.get("question", {})
    ways = [f"nightcrew answer {item['id']} TEXT"] if asked.get("free", True) else []
    if asked.get("choices"):
        ways.insert(
            0, f"nightcrew answer {item['id']} --choice N{' [--choice M]' if asked.get('several') else ''}"
        )
    lines.append("    " + "   |   ".join([*ways, f"nightcrew deny {item['id']} -m WHY"]))
    return lines
