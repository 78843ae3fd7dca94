"""Where the tasks of a plan may go, before anything runs: checked, and told to the person who approves it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place, Problem
from nightcrew.model.network import USUAL_PORTS, AllowList
from nightcrew.model.network import Place as NetPlace
from nightcrew.model.plans import Flag, Task
from nightcrew.policy.network import allow_list, internals_of, net_limits, presets_of
from nightcrew.policy.places import PHASES, Phase, find_preset, read_item

if TYPE_CHECKING:
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.rules import Rules

_WORDS: Final = {"work": "while its agent works", "install": "while its Install: commands run"}


def check_network(task: Task, rules: Rules) -> Iterator[Problem]:
    """Yield what is wrong with the presets that a task names, and an ``Install:`` list that nothing uses."""
    presets = presets_of(rules.policy)
    for text, place in zip(
        task.network, task.network_places or (task.place,) * len(task.network), strict=True
    ):
        try:
            item = read_item(text)
            if item.preset and not item.asks:
                find_preset(item.preset, presets)
        except ValueError as problem:
            yield Problem(place, str(problem), "see what there is: nightcrew policy network")
            continue
        if item.phase == "install" and not task.install:
            said = f"`{text}` holds while `Install:` commands run, and task {task.number} has none"
            yield Problem(place, said, "add `- Install: <command>`, or drop `install:`")


def check_agents(rules: Rules) -> Iterator[Problem]:
    """Yield the presets that agents of config.yaml name and that do not exist."""
    for name, setting in rules.settings.agents.items():
        try:
            allow_list(rules.policy, "work", [(text, "") for text in setting.network])
        except ValueError as problem:
            yield Problem(
                Place("config.yaml", 1), f"agents.{name}.network: {problem}", "nightcrew policy network"
            )


def allowed_of(task: Task, rules: Rules, phase: Phase) -> AllowList:
    """Return what a phase of a task may reach.

    Raises:
        ValueError: a preset that does not exist.
    """
    from nightcrew.engine.work.network import find_allowed

    setting = rules.settings.agents.get(task.agent)
    return find_allowed(rules.policy, task, setting.network if setting else (), phase)


def flag_network(task: Task, rules: Rules) -> Iterator[Flag]:
    """Yield one flag for each phase in which a task has a network, with every place it may go to."""
    for phase in PHASES:
        if phase == "install" and not task.install:
            continue
        try:
            allowed = allowed_of(task, rules, phase)
        except ValueError:
            continue  # told as a problem of the file
        if allowed.any:
            yield Flag(task.id, "network", f"{_WORDS[phase]}: {describe(allowed, rules.policy)}")


def describe(allowed: AllowList, policy: Policy) -> str:
    """Return a list in words: each place, who named it, and what happens with all others."""
    groups: dict[str, list[str]] = {}
    for place in allowed.places:
        groups.setdefault(place.why, []).append(name_place(place))
    listed = [f"{' '.join(names)} ({why})" if why else " ".join(names) for why, names in groups.items()]
    placed = policy.verdict("defaults.network")
    verdict = placed.value if placed is not None else Verdict.ASK
    others = {
        Verdict.ASK: "any other host is a question to you",
        Verdict.DENY: "any other host is refused",
        Verdict.ALLOW: "any other host is allowed (defaults.network)",
    }[verdict]
    placed = policy.settings.get("network.internal")
    source = placed.source if placed is not None else ""
    # By its name nobody can tell where such a host leads to, and a repository's policy can name some.
    inner = [
        f"{each.host}:{each.port} is {each.address}:{each.address_port} of your own network ({source})"
        for each in internals_of(policy)
    ]
    return "; ".join([*listed, *inner, others])


def name_place(place: NetPlace) -> str:
    """Return a place as it is written in a list."""
    return place.host if place.ports in ((), USUAL_PORTS) else ":".join((place.host, *map(str, place.ports)))


def show_network(rules: Rules) -> dict[str, Any]:
    """Return all that a policy says about the network: presets, lists for every task, internal hosts, rules, limits."""
    policy = rules.policy
    limits = net_limits(policy)
    upstream = rules.settings.upstream_proxy
    return {
        "default": str(placed.value) if (placed := policy.verdict("defaults.network")) else str(Verdict.ASK),
        "work": [name_place(place) for place in allow_list(policy, "work", []).places],
        "install": [name_place(place) for place in allow_list(policy, "install", []).places],
        "agents": {
            name: list(agent.network) for name, agent in rules.settings.agents.items() if agent.network
        },
        "internal": [
            {
                "host": f"{each.host}:{each.port}",
                "address": f"{each.address}:{each.address_port}",
                "reason": each.reason,
            }
            for each in internals_of(policy)
        ],
        "rules": [
            {"id": rule.id, "decision": str(rule.decision), "reason": rule.reason, "source": rule.source}
            for rule in policy.rules
            if rule.subject == "net"
        ],
        "upstream_proxy": f"{upstream.host}:{upstream.port}" if upstream else "",
        "limits": {
            "rate_per_minute": limits.rate_per_minute,
            "bytes": limits.total_bytes,
            "connections": limits.connections,
        },
        "presets": [
            {
                "name": preset.name,
                "about": preset.about,
                "hosts": [name_place(place) for place in preset.places],
            }
            for _, preset in sorted(presets_of(policy).items())
        ],
    }
