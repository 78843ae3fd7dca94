"""``nightcrew doctor``."""

from __future__ import annotations

from typing import Any, Final

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import BACKENDS, Backend, Level
from nightcrew.runtime.api import Runtime

_STYLE: Final = {
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "held": "green",
    "BROKEN": "red",
    "open": "yellow",
}


@make(
    "doctor",
    example="nightcrew doctor\nnightcrew doctor --attack\nnightcrew doctor --attack --level S2 --json",
    exits=(1, 11),
)
@click.option("--attack", is_flag=True, help="Attack our own sandbox from inside and show what held.")
@click.option(
    "--level", type=click.Choice([str(each) for each in Level]), help="With --attack: the level to attack."
)
@click.option("--backend", type=click.Choice(BACKENDS), help="With --attack: what builds the sandbox.")
def command(
    runtime: Runtime, screen: Screen, attack: bool, level: str | None, backend: Backend | None
) -> int:
    """Tell what this machine can enforce: isolation, overlay, engine, git, agents, disk, settings; and how to mend gaps.

    --attack starts real programs in a sandbox that try to get out of it and to take more than they were given; it
    takes some seconds and ends with 1 when something that the level promises did not hold. It reaches only for bait.
    """
    if (level or backend) and not attack:
        raise UsageError(
            "--level and --backend say what to attack: they need --attack",
            hint="nightcrew doctor --attack --level S3",
        )
    result = runtime.attack(Level(level) if level else None, backend) if attack else runtime.doctor()
    if screen.json:
        screen.emit(result)
    elif attack:
        _show_attacks(screen, result)
    else:
        _show_checks(screen, result)
    return int(result["exit"])


def _show_checks(screen: Screen, result: dict[str, Any]) -> None:
    for check in result["checks"]:
        mark = screen.paint(check["status"].rjust(5), _STYLE[check["status"]], None)
        screen.data(f"{mark}  {check['name']:<12} {check['text']}")
        for line in check["more"]:
            screen.data(f"{'':20} {line}")
        for fix in check["fixes"]:
            screen.data(f"{'':20} fix: {fix}")


def _show_attacks(screen: Screen, result: dict[str, Any]) -> None:
    group = ""
    rows = {each["name"]: _row(screen, each) for each in result["findings"]}
    lines = dict(zip(rows, table(list(rows.values())), strict=True))
    for each in result["findings"]:
        if each["group"] != group:
            group = each["group"]
            screen.data(group)
        screen.data(f"  {lines[each['name']]}")
    counts = result["counts"]
    told = f"level {result['level']}, built by {result['backend']}: {counts['held']} attacks held off"
    told += f", {counts['not_promised']} that this level does not promise to hold off" * bool(
        counts["not_promised"]
    )
    screen.data(f"\n{told}, {counts['broken']} broken through")
    if counts["broken"]:
        screen.hint(
            "do not run agents at this level here; require a stronger one with isolation.require in config.yaml"
        )


def _row(screen: Screen, finding: dict[str, Any]) -> list[str]:
    word = "held" if finding["held"] else "BROKEN" if finding["promised"] else "open"
    said = f"{finding['said']} ({finding['why']})" if finding["why"] else finding["said"]
    return [screen.paint(word.ljust(6), _STYLE[word], None), finding["tried"], said]
