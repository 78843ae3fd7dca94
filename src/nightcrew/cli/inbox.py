"""``nightcrew inbox``."""

from __future__ import annotations

from typing import Any

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
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
    until = f"   expires {item['expires_at']}" if item["expires_at"] else ""
    lines = [f"{item['id']}  {item['kind']}  {item['task'] or item['run']}  risk {item['risk']}{until}"]
    lines += [f"    {line}" for line in item["action"].splitlines()]
    if item["rule"]:
        lines.append(f"    rule {item['rule']} ({item['source']}): {item['reason']}")
    lines.append(f"    digest {item['digest'][:12]}")
    lines.append(f"    nightcrew approve {item['id']}   |   nightcrew deny {item['id']} -m WHY")
    return lines
