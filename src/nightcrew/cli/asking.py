"""Questions to a person on a terminal. Enter never approves."""

from __future__ import annotations

import sys
from typing import Any

from nightcrew.cli.inbox import describe_item
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import StaleError, WaitingForHuman

_DIGITS = 4


def ask_plan_digest(screen: Screen, run: str, digest: str) -> str:
    """Return the first digits of the digest of a plan as the person types them who approves it.

    Raises:
        WaitingForHuman: nothing was typed; the plan stays open.
        StaleError: something else was typed.
    """
    typed = ask(screen, f"Approve the plan of {run}? type the first {_DIGITS} digits of the digest: ")
    if not typed:
        raise WaitingForHuman(
            f"the plan of {run} is not approved; nothing runs",
            code="plan.waiting",
            hint=f"nightcrew approve {run}",
        )
    if len(typed) < _DIGITS or not digest.startswith(typed.lower()):
        raise StaleError(
            f"{typed!r} is not how the digest of the plan of {run} begins; nothing was approved",
            code="digest.mismatch",
            where=[f"digest {digest[:12]}"],
            hint=f"nightcrew plan {run}, then: nightcrew approve {run}",
        )
    return typed.lower()


def ask_digest(screen: Screen, item: dict[str, Any]) -> str:
    """Show a risky question and return what the person typed as the beginning of its digest.

    Raises:
        WaitingForHuman: nothing was typed; the question stays open.
    """
    for line in describe_item(item):
        screen.data(line)
    typed = ask(screen, f"Risk {item['risk']}. Approve? type the first {_DIGITS} digits of the digest: ")
    if not typed:
        raise WaitingForHuman(
            f"{item['id']} is not approved", code="approval.waiting", hint=f"nightcrew approve {item['id']}"
        )
    return typed.lower()


def confirm(screen: Screen, question: str, *, yes: bool, otherwise: str) -> None:
    """Return when the person says yes, or ``--yes`` was given.

    Args:
        screen: decides whether a person can be asked.
        question: what will happen.
        yes: ``--yes`` was given.
        otherwise: the command that would go on without a terminal.

    Raises:
        WaitingForHuman: there is no one to ask, or the answer was not ``yes``; nothing was done.
    """
    if yes:
        return
    if not screen.interactive:
        raise WaitingForHuman(
            "nothing was done: this needs a yes, and there is no terminal to ask on",
            code="confirm.waiting",
            where=[question],
            hint=otherwise,
        )
    if ask(screen, f"{question} type yes: ").lower() != "yes":
        raise WaitingForHuman("nothing was done", code="confirm.no", hint=otherwise)


def ask(screen: Screen, question: str) -> str:
    """Print a question on stderr and return one typed line, stripped; end of file is an empty answer."""
    sys.stdout.flush()
    sys.stderr.write(screen.paint(question, "bold"))
    sys.stderr.flush()
    return sys.stdin.readline().strip()
