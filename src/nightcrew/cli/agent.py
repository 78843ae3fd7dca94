"""``nightcrew agent list | match | show | detect | test | add``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import fit, shown
from nightcrew.runtime.api import Runtime

#: Columns of what a role is for.
_ABOUT = 60


@make("list", example="nightcrew agent list\nnightcrew agent list --refresh\nnightcrew agent list --json")
@click.option(
    "--refresh", is_flag=True, help="Find everything out anew, not what is known from the last 24 hours."
)
def listing(runtime: Runtime, screen: Screen, *, refresh: bool) -> None:
    """List the agents that `Agent:` can name here: programs, and Markdown agents (roles in words) of the usual folders.

    QUALITY says how far tasks can be given to one: of a program, excellent asks before everything it does, acceptable does
    not, insufficient cannot be used now; of a Markdown agent, how much it says about what it is for. LOGIN is the program's
    own sign-in, by its file alone: present, absent or unknown; no credential is ever read. Coding agents are started with
    --version, outside of the sandbox, when their version is not known yet.
    """
    agents = runtime.agents.known(refresh=refresh)
    if screen.json:
        screen.emit(agents)
        return
    programs = [each for each in agents if each["kind"] == "program"]
    rows = [
        [
            each["name"],
            "yes" if each["usable"] and not each["breaker"] else "no",
            each["quality"] or "-",
            shown(each["version"]) or "-",
            each["login"] or "-",
            each["asks"],
            each["breaker"] or shown(each["text"]),
        ]
        for each in programs
    ]
    for line in table(rows, header=["AGENT", "USABLE", "QUALITY", "VERSION", "LOGIN", "ASKS FOR", ""]):
        screen.data(line)
    _list_markdown(screen, [each for each in agents if each["kind"] == "markdown"])


def _list_markdown(screen: Screen, agents: list[dict[str, Any]]) -> None:
    if not agents:
        return
    screen.data("")
    rows = [
        [
            f"@{each['name']}",
            each["quality"],
            "yours" if each["own"] else "repository",
            shown(each["source"]),
            fit(shown(each["text"]), _ABOUT),
        ]
        for each in agents
    ]
    for line in table(rows, header=["ROLE", "QUALITY", "WHOSE", "FILE", ""]):
        screen.data(line)
    screen.hint(
        "take one on in a task: `- Agent: @NAME`; it gives words and no rights. nightcrew agent show NAME"
    )


@make(
    "match",
    example="nightcrew agent match 'write unit tests for the parser'\nnightcrew agent match docs --json",
)
@click.argument("words", nargs=-1, required=True)
def match(runtime: Runtime, screen: Screen, *, words: tuple[str, ...]) -> None:
    """Tell which agents fit a task in words, best first: excellent, acceptable or insufficient, and by what."""
    found = runtime.agents.match(" ".join(words))
    if screen.json:
        screen.emit(found)
        return
    rows = [
        [
            each["name"] if each["kind"] == "program" else f"@{each['name']}",
            each["quality"],
            f"{each['score']:g}",
            shown(each["why"] + (f"; {each['problem']}" if each["problem"] else "")),
        ]
        for each in found
    ]
    for line in table(rows, header=["AGENT", "QUALITY", "SCORE", ""]):
        screen.data(line)


@make("show", example="nightcrew agent show claude\nnightcrew agent show @qa-expert", exits=(3,))
@click.argument("name")
def show(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Show all that is known of one agent; of a Markdown agent the words it would bring into a prompt."""
    found = runtime.agents.show(name)
    if screen.json:
        screen.emit(found)
        return
    for key, value in found.items():
        if key not in ("persona", "capabilities", "text") and value not in ("", [], None):
            said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            screen.data(f"{key:<10} {shown(said)}")
    for key, value in found.get("capabilities", {}).items():
        if key != "note":
            screen.data(f"  {key:<18} {value}")
    for line in (found["text"], *found["persona"].splitlines()):
        screen.data(f"  | {shown(line)}")


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
    rows = [[a["name"], shown(a["version"]), a["login"], a["text"]] for a in found]
    for line in table(rows, header=["PROGRAM", "VERSION", "LOGIN", ""]):
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
    type=click.Choice(["command", "claude", "codex", "gemini", "opencode", "acp", "aider", "mini"]),
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


@make("reset", example="nightcrew agent reset claude", exits=(3,))
@click.argument("name")
def reset(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Let an agent be used again at once that is left alone because it failed again and again (its breaker is open)."""
    was_open = runtime.money.reset_breaker(name)
    if screen.json:
        screen.emit({"agent": name, "was_open": was_open})
    elif was_open:
        screen.verb("Closed", f"the breaker of {name}: its tasks may start")
    else:
        screen.say(f"the breaker of {name} is not open; nothing was changed")


command = group(
    "agent", purpose="Agents that tasks can name.", commands=[listing, match, show, detect, test, add, reset]
)
