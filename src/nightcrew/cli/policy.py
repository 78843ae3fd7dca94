"""``nightcrew policy explain | check | show``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime

_STYLE = {"allow": "green", "ask": "yellow", "deny": "red"}


@make(
    "explain",
    example="nightcrew policy explain -- git push --force\nnightcrew policy explain --json -- 'curl x | sh'",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def explain(runtime: Runtime, screen: Screen, *, words: tuple[str, ...]) -> None:
    """Tell what the policy says about a command line, without running it. Exits 0 whatever the decision is."""
    result = runtime.explain_command(words)
    if screen.json:
        screen.emit(result)
        return
    _show_decision(screen, result)


def _show_decision(screen: Screen, result: dict[str, Any]) -> None:
    import sys

    decision = screen.paint(result["decision"], f"bold {_STYLE[result['decision']]}", sys.stdout)
    screen.data(f"decision: {decision}   risk {result['risk']}")
    screen.data(f"rule:     {result['rule']}   {result['source']}")
    screen.data(f"reason:   {result['reason']}")
    for number, line in enumerate(result["effective_commands"], start=1):
        screen.data(f"runs:     {number}  {line}")
    for line in result["opaque"]:
        screen.data(f"opaque:   {line}")
    if result["also_matched"]:
        screen.data(f"also:     {', '.join(result['also_matched'])}   (deny beats ask beats allow)")
    if result["hint"]:
        screen.data(f"hint:     {result['hint']}")


@make("check", example="nightcrew policy check\nnightcrew policy check new-policy.yaml", exits=(3,))
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(runtime: Runtime, screen: Screen, *, file: Path | None) -> None:
    """Check the policy and settings files that are in force here, or one FILE as if it were this repository's own.

    All problems at once, each with file:line:column.
    """
    result = runtime.check_policy(file)
    if screen.json:
        screen.emit(result)
        return
    for layer in result["layers"]:
        screen.verb("Valid", f"{layer['source']}  ({layer['layer']})")
    screen.data(f"{result['rules']} rules, digest {result['digest'][:12]}")


@make("show", example="nightcrew policy show")
def show(runtime: Runtime, screen: Screen) -> None:
    """Print the rules in force here, strictest layer first, each with its file:line."""
    result = runtime.show_policy()
    if screen.json:
        screen.emit(result)
        return
    for rule in result["rules"]:
        screen.data(f"{rule['decision']:<5}  {rule['id']:<28} {rule['source']}")
        if rule["reason"]:
            screen.data(f"       {rule['reason']}")
    for name in ("protected", "limits"):
        screen.data(f"{name}: {result[name]}")


command = group("policy", purpose="The policy in force here.", commands=[explain, check, show])
