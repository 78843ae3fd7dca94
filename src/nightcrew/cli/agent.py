"""``nightcrew agent list | detect | test | add``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.runtime.api import Runtime


@make("list", example="nightcrew agent list\nnightcrew agent list --json")
def listing(runtime: Runtime, screen: Screen) -> None:
    """List the agents that `Agent:` can name here: whether each can be used, and what it asks before it acts."""
    agents = runtime.agents.known()
    if screen.json:
        screen.emit(agents)
        return
    rows = [[a["name"], a["adapter"], "yes" if a["usable"] else "no", a["asks"], a["text"]] for a in agents]
    for line in table(rows, header=["AGENT", "ADAPTER", "USABLE", "ASKS FOR", ""]):
        screen.data(line)


@make("detect", example="nightcrew agent detect")
def detect(runtime: Runtime, screen: Screen) -> None:
    """Look for coding agents on PATH: version, sign-in, and what is missing to use each here.

    Each one found is started with --version, outside of the sandbox, as you would do yourself.
    """
    found = runtime.agents.detect()
    if screen.json:
        screen.emit(found)
        return
    if not found:
        screen.say("no coding agent that nightcrew knows is on PATH")
        screen.hint(
            "any command line can be an agent: nightcrew agent add NAME -- PROGRAM ARGUMENTS '{prompt}'"
        )
        return
    words = {True: "yes", False: "no", None: "-"}
    rows = [[a["name"], a["version"], words[a["signed_in"]], a["text"]] for a in found]
    for line in table(rows, header=["PROGRAM", "VERSION", "SIGNED IN", ""]):
        screen.data(line)


@make("test", example="nightcrew agent test claude", exits=(1, 11))
@click.argument("name")
def test(runtime: Runtime, screen: Screen, *, name: str) -> int:
    """Start an agent in the sandbox and speak its protocol up to its first task. No key and no model is needed.

    Exits 1 when it does not come that far; what it printed is shown then.
    """
    result = runtime.agents.test(name)
    if screen.json:
        screen.emit(result)
    elif result["works"]:
        screen.verb("Works", f"{name}: {result['text']} ({result['isolation']})")
    else:
        screen.verb("Failed", f"{name}: {result['text']}")
        for line in result["said"].splitlines()[-12:]:
            screen.say(f"  | {line}")
    return 0 if result["works"] else 1


@make(
    "add",
    example="nightcrew agent add nightly --adapter claude -- claude --append-system-prompt 'Keep it short.'\n"
    "nightcrew agent add aider -- aider --yes-always --message '{prompt}'",
)
@click.argument("name")
@click.argument("argv", nargs=-1)
@click.option(
    "--adapter",
    default="command",
    type=click.Choice(["command", "claude", "codex", "gemini", "opencode", "acp"]),
    help="How it is driven; command asks nothing while it runs.",
)
@click.option(
    "--repository", is_flag=True, help="Into .nightcrew/config.yaml of this repository, not your own file."
)
def add(
    runtime: Runtime, screen: Screen, *, name: str, argv: tuple[str, ...], adapter: str, repository: bool
) -> None:
    """Add an agent to config.yaml, your own or the repository's; everything else in the file stays as it is."""
    done = runtime.agents.add(name, adapter, argv, repository=repository)
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Added", f"{name} to {done['file']}")
    screen.hint(
        f"name it in a task: Agent: {name}"
        + ("" if adapter == "command" else f"   try it: nightcrew agent test {name}")
    )


command = group("agent", purpose="Agents that tasks can name.", commands=[listing, detect, test, add])
