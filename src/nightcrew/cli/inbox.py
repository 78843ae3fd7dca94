"""``nightcrew inbox``."""

from __future__ import annotations

from typing import Any

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime


@make("inbox", example="nightcrew inbox\nnightcrew inbox --json")
def command(runtime: Runtime, screen: Screen) -> None:
    """List what waits for you: plans, actions and changes, with the exact thing that an answer would be about."""
    items = runtime.inbox()
    if screen.json:
        screen.emit(items)
        return
    if not items:
        screen.say("nothing waits for you")
    for item in items:
        for line in describe_item(item):
            screen.data(line)


def describe_item(item: dict[str, Any]) -> list[str]:
    """Return the lines that show one open question; the action is never shortened."""
    if item["kind"] == "question":
        return _describe_question(item)
    until = f"   expires {item['expires_at']}" if item["expires_at"] else ""
    lines = [f"{item['id']}  {item['kind']}  {item['task'] or item['run']}  risk {item['risk']}{until}"]
    lines += [f"    {line}" for line in item["action"].splitlines()]
    if item["rule"]:
        lines.append(f"    rule {item['rule']} ({item['source']}): {item['reason']}")
    lines.append(f"    digest {item['digest'][:12]}")
    lines.append(f"    nightcrew approve {item['id']}   |   nightcrew deny {item['id']} -m WHY")
    return lines


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
        ways.insert(0, f"nightcrew answer {item['id']} --choice N{' [--choice M]' if asked.get('several') else ''}")
    lines.append("    " + "   |   ".join([*ways, f"nightcrew deny {item['id']} -m WHY"]))
    return lines
