"""``nightcrew policy network``: where tasks may go."""

from __future__ import annotations

from typing import Any

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.model.text import shown
from nightcrew.model.units import describe_size
from nightcrew.runtime.api import Runtime


@make("network", example="nightcrew policy network\nnightcrew policy network --json", exits=(3,))
def network(runtime: Runtime, screen: Screen) -> None:
    """Tell where tasks may go: presets, lists that every task has, hosts of your own network, rules and limits.

    A task has no network unless its tasks file (`- Network: pypi, example.org`), its agent's settings or the policy
    gives it a list. Every request is judged and recorded; an unknown host is a question.
    """
    result = runtime.show_network()
    if screen.json:
        screen.emit(result)
        return
    limits = result["limits"]
    screen.data(f"a host on no list and in no rule: {result['default']}")
    screen.data(
        f"limits: {limits['rate_per_minute']} requests a minute to one host, {describe_size(limits['bytes'])} and"
        f" {limits['connections']} connections per attempt"
    )
    if result["upstream_proxy"]:
        screen.data(f"everything outward goes through the proxy {result['upstream_proxy']}")
    _show_lists(screen, result)
    screen.data("")
    screen.data("presets")
    rows = [
        [f"  {each['name']}", shown(each["about"]), " ".join(each["hosts"])] for each in result["presets"]
    ]
    for line in table(rows):
        screen.data(line)


def _show_lists(screen: Screen, result: dict[str, Any]) -> None:
    for name, words in (
        ("work", "every task, while its agent works"),
        ("install", "every task, while it installs"),
    ):
        screen.data(f"{words}: {' '.join(result[name]) or 'nothing'}")
    for name, places in result["agents"].items():
        screen.data(f"every task of the agent {shown(name)}: {shown(' '.join(places))}")
    for each in result["internal"]:
        screen.data(f"internal: {each['host']} at {each['address']}: {shown(each['reason'])}")
    for each in result["rules"]:
        screen.data(f"rule {each['id']}: {each['decision']}   {shown(each['reason'])}   {each['source']}")
