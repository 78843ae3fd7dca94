"""``nightcrew agent list``."""

from __future__ import annotations

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.runtime.api import Runtime


@make("list", example="nightcrew agent list --json")
def listing(runtime: Runtime, screen: Screen) -> None:
    """List the agents that `Agent:` can name here, and the coding agents found on PATH."""
    agents = runtime.agents()
    if screen.json:
        screen.emit(agents)
        return
    rows = [[a["name"], a["adapter"], "yes" if a["usable"] else "no", a["text"]] for a in agents]
    for line in table(rows, header=["AGENT", "ADAPTER", "USABLE", ""]):
        screen.data(line)


command = group("agent", purpose="Agents that tasks can name.", commands=[listing])
