"""What stands against a promotion, shown to a person: secrets, and paths that something on the machine will execute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from nightcrew.cli.asking import ask
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count, shown
from nightcrew.runtime.landing.promoting import Publication

_MANY = 40

allowing_handoff = click.option(
    "--allow-handoff",
    multiple=True,
    metavar="CLASS|PATH",
    help="Say yes to paths that something on your machine will execute; --yes does not cover them.",
)
"""Gives a command that lands something the option ``--allow-handoff``."""


def show_guard(screen: Screen, view: dict[str, Any]) -> None:
    """Say what was found in the tree that would land."""
    for each in view.get("planted", ()):
        screen.verb("Tripwire", each["message"], "red")
    loud = [each for each in view.get("secrets", ()) if each["severity"] != "low"]
    for each in loud[:_MANY]:
        screen.verb("Secret", each["message"], "yellow" if each["decision"] == "allow" else "red")
    by_class: dict[str, list[dict[str, Any]]] = {}
    for each in view.get("handoff", ()):
        by_class.setdefault(each["class"], []).append(each)
    for name, found in by_class.items():
        first = found[0]
        screen.verb("Hand off", f"{name} ({first['decision']}): {first['who']}: {first['reason']}", "yellow")
        for each in found[:_MANY]:
            screen.say(f"              {shown(each['path'])}")
        if len(found) > _MANY:
            screen.say(f"              and {len(found) - _MANY} more (all: --dry-run --json)")


def answer_guard(
    screen: Screen, prepared: Publication, allowed: Sequence[str], *, yes: bool, otherwise: str
) -> None:
    """Return when nothing stands against it: every path that is handed off has its own yes.

    Args:
        allowed: classes and paths of ``--allow-handoff``.
        yes: ``--yes`` was given, which is no answer to this question, and means that nobody is to be asked.
        otherwise: the command that would go on without a terminal.

    Raises:
        DeniedByPolicy: a secret, or a path that may never land.
        WaitingForHuman: a path has no yes; nothing was done.
    """
    prepared.allow_handoff(allowed)
    prepared.guard.refuse_secrets()
    waiting = prepared.guard.open
    if waiting and screen.interactive and not yes:
        kinds = ", ".join(dict.fromkeys(each.kind for each in waiting))
        some = f"{count(len(waiting), 'path')} above {'is' if len(waiting) == 1 else 'are'}"
        question = f"{some} executed by programs of your machine ({kinds}). Let that land? type yes: "
        if ask(screen, question).lower() == "yes":
            prepared.allow_handoff([each.path for each in waiting])
    prepared.guard.refuse(otherwise)
