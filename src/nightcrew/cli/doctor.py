"""``nightcrew doctor``."""

from __future__ import annotations

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime

_STYLE = {"ok": "green", "warn": "yellow", "fail": "red"}


@make("doctor", example="nightcrew doctor\nnightcrew doctor --json", exits=(1, 11))
def command(runtime: Runtime, screen: Screen) -> int:
    """Tell what this machine can enforce: isolation, overlay, engine, git, agents, disk, settings; and how to mend gaps."""
    result = runtime.doctor()
    if screen.json:
        screen.emit(result)
        return int(result["exit"])
    for check in result["checks"]:
        mark = screen.paint(check["status"].rjust(5), _STYLE[check["status"]], None)
        screen.data(f"{mark}  {check['name']:<12} {check['text']}")
        for line in check["more"]:
            screen.data(f"{'':20} {line}")
        for fix in check["fixes"]:
            screen.data(f"{'':20} fix: {fix}")
    return int(result["exit"])
