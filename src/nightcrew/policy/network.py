"""A request to the network → allow, ask or deny, with the rule, its place and the reason. Pure.

In this order: what no policy can open (addresses inside, metadata services, names that only exist inside); a rule that
denies; the list that was approved with the plan; other rules; ``defaults.network``. A list that a person has approved
answers the questions of rules, but no rule that denies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nightcrew.model.actions import Action, Decision, Verdict, strictest
from nightcrew.model.network import AllowList, Internal, NetLimits, NetRequest
from nightcrew.policy.hosts import (
    BadHost,
    as_address,
    is_inward,
    is_metadata,
    read_host,
    read_port,
    split_port,
)
from nightcrew.policy.matching import matcher_of, tighter_of
from nightcrew.policy.places import (
    PHASES,
    Item,
    Phase,
    Preset,
    find_place,
    make_allow_list,
    matches_host,
    read_item,
    read_place,
    shipped_presets,
)
from nightcrew.policy.rules import Openings, Policy, Rule

_BUILT_IN = "built in"
_PLAIN_PORT = 80
#: Names that only ever exist inside (RFC 6761, 6762, 8375, and what resolvers use for themselves).
_INSIDE_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "localdomain")


def judge_request(policy: Policy, request: NetRequest, allowed: AllowList) -> Decision:
    """Decide on one request.

    Args:
        policy: layers put together by ``load.layer``.
        request: what is wanted.
        allowed: what this phase of this task may reach.
    """
    closed = _find_closed(policy, request)
    if closed:
        return Decision(Verdict.DENY, "net.inside", _BUILT_IN, closed, "high", hint=_NO_INSIDE)
    role = tighter_of(policy).rules_for_request(request)
    denying = [rule for rule in role if rule.decision is Verdict.DENY]
    if denying:
        return _say(denying[0], role)
    decision = _judge_open(policy, request, allowed)
    if role and decision.verdict is Verdict.ALLOW and find_place(allowed, request) is None:
        return _say(role[0], role)
    return decision


def _judge_open(policy: Policy, request: NetRequest, allowed: AllowList) -> Decision:
    rules = matcher_of(policy).rules_for_request(request)
    denying = [rule for rule in rules if rule.decision is Verdict.DENY]
    if denying:
        return _say(denying[0], rules)
    place = find_place(allowed, request)
    if place is not None:
        reason = f"{request.host} is on the list of this task ({place.why or place.host})"
        return Decision(Verdict.ALLOW, "net.listed", place.why or _BUILT_IN, reason)
    if rules:
        verdict = strictest(*(rule.decision for rule in rules))
        return _say(next(rule for rule in rules if rule.decision is verdict), rules)
    return _default(policy, request)


_NO_INSIDE = (
    "work with what is on the public internet; a host of your own network is named in network.internal"
)


def _find_closed(policy: Policy, request: NetRequest) -> str:
    """Return why no policy can open this; empty when it may be looked at."""
    if is_metadata(request.host):
        return f"{request.host} is a metadata service, which gives out the keys of the machine"
    if find_internal(policy, request) is not None:
        return ""
    address = as_address(request.host)
    if address is not None:
        return f"{address} is no address of the public internet" if is_inward(address) else ""
    last = request.host.rpartition(".")[2]
    if "." not in request.host or last in _INSIDE_NAMES or request.host.endswith(".home.arpa"):
        return f"{request.host} is a name of this machine's own network"
    return ""


def _say(rule: Rule, rules: Iterable[Rule]) -> Decision:
    others = tuple(each.id for each in rules if each is not rule)
    return Decision(
        rule.decision,
        rule.id,
        rule.source,
        rule.reason,
        rule.risk or "medium",
        also_matched=others,
        hint=rule.hint,
    )


def _default(policy: Policy, request: NetRequest) -> Decision:
    placed = policy.verdict("defaults.network")
    verdict = placed.value if placed else Verdict.ASK
    reason = {
        Verdict.ALLOW: f"no rule matches {request.target}",
        Verdict.ASK: f"{request.target} is not on the list of this task, so a human decides",
        Verdict.DENY: f"{request.target} is not on the list of this task",
    }[verdict]
    source = placed.source if placed else _BUILT_IN
    return Decision(verdict, "defaults.network" if placed else "no_rule", source, reason, "medium")


def judge_action(policy: Policy, action: Action) -> Decision:
    """Decide on a network action without the list of any task; one that cannot be read is denied."""
    try:
        request = read_request(action.detail)
    except ValueError as problem:
        return Decision(Verdict.DENY, "net.unreadable", _BUILT_IN, str(problem), "high")
    return judge_request(policy, request, AllowList())


def read_request(text: str) -> NetRequest:
    """Return the request that ``CONNECT host:port``, ``host:port`` or ``GET http://host`` stands for.

    Raises:
        ValueError: it is neither.
    """
    method, _, target = text.strip().rpartition(" ")
    method = method or "CONNECT"
    plain = target.startswith("http://")
    host, port = split_port(target.removeprefix("http://").partition("/")[0])
    if not method.isalpha() or not method.isupper() or (method == "CONNECT") is plain or not (port or plain):
        raise BadHost(f"write it like CONNECT example.org:443 or GET http://example.org, not {text!r}")
    return NetRequest(method, read_host(host), read_port(port) if port else _PLAIN_PORT)


def find_internal(policy: Policy, request: NetRequest) -> Internal | None:
    """Return where a host of the user's own network is; None for one that is not named as such."""
    for each in internals_of(policy):
        if (each.host, each.port) == (request.host, request.port):
            return each
    return None


def internals_of(policy: Policy) -> tuple[Internal, ...]:
    """Return the hosts of the user's own network that may be reached by name."""
    placed = policy.settings.get("network.internal")
    found: tuple[Internal, ...] = placed.value.items if placed is not None else ()
    return found


def presets_of(policy: Policy) -> Mapping[str, Preset]:
    """Return the presets that are shipped, and those of the policy."""
    presets = dict(shipped_presets())
    for name, placed in policy.settings.items():
        if name.startswith("network.presets."):
            key = name.removeprefix("network.presets.")
            opened: Openings = placed.value
            places = tuple(read_place(text, f"preset {key}") for text in opened.items)
            presets[key] = Preset(key, f"of your policy ({placed.source})", places)
    return presets


def allow_list(policy: Policy, phase: Phase, items: Iterable[tuple[str, str]]) -> AllowList:
    """Return what a phase of a task may reach: what the policy gives to every task, and what was asked for.

    Args:
        policy: its ``network.work`` and ``network.install`` are for every task.
        phase: of the task.
        items: what the task and its agent's settings name, each with who named it, in words.

    Raises:
        ValueError: an item that is none, or a preset that does not exist.
    """
    read: list[Item] = []
    for own in PHASES:
        placed = policy.settings.get(f"network.{own}")
        if placed is not None:
            read += [read_item(text, f"network.{own}, {placed.source}", own) for text in placed.value.items]
    named = [_name(read_item(text, why), why) for text, why in items]
    return make_allow_list([*read, *named], presets_of(policy), phase)


def _name(item: Item, why: str) -> Item:
    return item if item.place is None else replace(item, place=replace(item.place, why=why))


def net_limits(policy: Policy) -> NetLimits:
    """Return the limits in force."""
    limits = NetLimits()
    names = ("rate_per_minute", "total_bytes", "connections")
    given = {name: policy.settings.get(f"network.limits.{name}") for name in names}
    return replace(limits, **{name: placed.value for name, placed in given.items() if placed is not None})


def may_be_known(policy: Policy, name: str, allowed: AllowList) -> bool:
    """Tell whether a name may be answered inside: something at it could be reached without a question."""
    wide = any(matches_host(place.host, name) for place in allowed.places)
    ports = {port for place in allowed.places for port in place.ports} | {443, 80}
    methods = ("CONNECT", "GET")
    return (wide or bool(matcher_of(policy).net_rules)) and any(
        judge_request(policy, NetRequest(method, name, port), allowed).verdict is Verdict.ALLOW
        for port in sorted(ports)
        for method in methods
    )
