"""``nightcrew keys``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import Exit
from nightcrew.runtime.api import Runtime


@make("list", example="nightcrew keys list\nnightcrew keys list --json")
def listing(runtime: Runtime, screen: Screen) -> None:
    """List your providers of models, where each is and where its key is. No key is ever shown.

    Providers stand in `providers:` of config.yaml in your own configuration directory, never in a repository's. An
    agent gets a placeholder; nightcrew puts the key in its place outside of the sandbox.
    """
    found = runtime.models.providers()
    if screen.json:
        screen.emit(found)
        return
    _print(screen, found)


@make("check", example="nightcrew keys check\nnightcrew keys check anthropic --json", exits=(1, 3, 4))
@click.argument("name", required=False, metavar="[PROVIDER]")
def check(runtime: Runtime, screen: Screen, *, name: str | None) -> int:
    """Ask each provider which models it has, with your key: that is free, and tells whether the key is taken."""
    found = runtime.models.check(name or "")
    if screen.json:
        screen.emit(found)
    else:
        _print(screen, found)
    bad = [each for each in found if not each["ok"]]
    if not bad:
        return int(Exit.OK)
    return int(Exit.AUTHENTICATION if any(each["class"] == "auth" for each in bad) else Exit.FAILED)


@make("prices", example="nightcrew keys prices\nnightcrew keys prices claude-sonnet-4-5", exits=(3,))
@click.argument("model", required=False, metavar="[MODEL]")
def prices(runtime: Runtime, screen: Screen, *, model: str | None) -> None:
    """Show what models cost, in US dollars per million tokens: your own `prices:` first, then the shipped table.

    A model that is not here has no known price: its tokens are counted, money is not, and where a budget in money holds
    it is not asked at all.
    """
    view = runtime.models.prices(model or "")
    if screen.json:
        screen.emit(view)
        return
    rows = []
    for each in view["prices"]:
        rows.append([each["model"], each["wire"], *_figures(each)])
        if "long" in each:
            rows.append([f"  above {each['above']:,} tokens", "", *_figures(each["long"])])
    header = ["MODEL", "WIRE", "INPUT", "CACHED", "WRITTEN", "1 HOUR", "OUTPUT"]
    for line in table(rows, header=header):
        screen.data(line)
    for each in view["prices"]:
        if "from" in each:
            screen.say(f"{each['model']}: from {each['from']}")
    screen.say(f"the shipped table is of {view['as_of']}, from {view['source']}")
    if view["library"]:
        screen.say(f"{view['library']} comes before it, and knows more models: nightcrew keys prices MODEL")
    else:
        screen.say(
            "a maintained table with more models comes before it where it is installed: pip install 'nightcrew[prices]'"
        )


def _figures(price: dict[str, Any]) -> list[str]:
    return [f"{price[name]:g}" for name in ("input", "cached", "written", "kept", "output")]


def _print(screen: Screen, found: list[dict[str, Any]]) -> None:
    if not found:
        screen.say("no providers: no agent can reach a model")
        screen.hint("name one in `providers:` of your own config.yaml: docs/formats/config.md")
        return
    rows = [
        [
            each["name"],
            each["wire"],
            each["url"],
            each["key"],
            "ready" if not each["problem"] else each["problem"],
        ]
        for each in found
    ]
    for line in table(rows, header=["PROVIDER", "WIRE", "URL", "KEY", ""]):
        screen.data(line)


command = group("keys", purpose="Your providers of models and their keys.", commands=[listing, check, prices])
