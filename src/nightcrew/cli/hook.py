"""``nightcrew hook``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make(
    "hook",
    example="nightcrew hook claude PreToolUse < call.json\nnightcrew hook gemini BeforeTool < call.json",
)
@click.argument("agent", type=click.Choice(["claude", "codex", "gemini"]))
@click.argument("event", type=click.Choice(["PreToolUse", "BeforeTool"]))
def command(runtime: Runtime, screen: Screen, *, agent: str, event: str) -> int:
    """Answer an agent's own command hook, inside a task: pass on what was decided on the call that stands on stdin.

    A second net under the agent's protocol: it decides nothing by itself. Exits 0 when just this call was allowed, and 2, with
    the reason on stderr, in every other case: not allowed, not asked about, not inside a task, no answer in time.
    """
    return runtime.agents.hook(agent, event)
