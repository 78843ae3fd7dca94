"""A role laid over a policy: only ever an ask or a deny more, a limit lower, a gate more, a host less.

What a role says stands beside the rules of the policy (``Policy.tighter``) and takes the place of none: the strictest
answer wins, so that no role, whatever it says, makes a decision weaker than it is without it. What is base holds for
every role and is laid on first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Final, cast, get_args

from nightcrew.model.actions import Verdict
from nightcrew.model.network import USUAL_PORTS
from nightcrew.policy.judge import TOLERANCE
from nightcrew.policy.network import presets_of
from nightcrew.policy.places import find_preset, read_item
from nightcrew.policy.roles.entries import ANYTHING
from nightcrew.policy.roles.reading import parse_role
from nightcrew.policy.roles.role import TOLERANCES, Confidence, Role, name_rule
from nightcrew.policy.rules import NetPattern, Patterns, Placed, Policy, Rule, Subject

BASE: Final = "base"
CONFIDENCE: Final = "role.confidence"
REVIEW: Final = "role.require_review_before_promote"
"""Names of single values that a role puts into ``Policy.settings``."""

TEMPLATES: Final = ("software-engineer", "technical-writer", "qa", "devops")
"""Roles that are shipped: usable as they are, and what ``role new`` begins with."""


@cache
def shipped_text(name: str) -> str:
    """Return the text of a shipped role, or of what is base."""
    return files("nightcrew.policy.roles").joinpath(f"{name}.yaml").read_text("utf-8")


@cache
def base_role() -> Role:
    """Return what holds under every role."""
    return parse_role(shipped_text(BASE), BASE, f"roles/{BASE}.yaml", layer="shipped")


def put_on(policy: Policy, roles: Sequence[Role]) -> Policy:
    """Return a policy with what is base and with roles laid over it, all of which hold.

    Raises:
        ValueError: a role names a network preset that the policy does not have.
    """
    for role in (base_role(), *roles):
        policy = _put_one(policy, role)
    return policy


def _put_one(policy: Policy, role: Role) -> Policy:
    settings = dict(policy.settings)
    for name, placed in role.limits.items():
        known = settings.get(name)
        if known is None or known.value is None or placed.value < known.value:
            settings[name] = placed
    if role.tolerance is not None:
        settings[TOLERANCE] = _lower(settings.get(TOLERANCE), role.tolerance)
    if role.confidence is not None:
        settings[CONFIDENCE] = _raise(settings.get(CONFIDENCE), role.confidence)
    if role.review is not None and role.review.value:
        settings[REVIEW] = role.review
    gates = tuple(
        replace(gate, value=replace(gate.value, id=name_rule(role.name, gate.value.id)))
        for gate in role.gates
    )
    return replace(
        policy,
        sources=(*policy.sources, role.source),
        settings=settings,
        gates=(*policy.gates, *gates),
        tighter=(*policy.tighter, *_name_apart(policy.tighter, _tighten(policy, role), role)),
    )


def _name_apart(there: Iterable[Rule], added: Iterable[Rule], role: Role) -> Iterator[Rule]:
    """Yield rules under names that are free: of two of one name only one would be looked at.

    A person and a repository may both have a role of a name, and an entry may be called like what a role has anyway.
    """
    taken = {(rule.subject, rule.id) for rule in there}
    for rule in added:
        name, number = rule.id, 1
        while (rule.subject, name) in taken:
            number += 1
            name = f"{rule.id}@{role.layer}" if number == 2 else f"{rule.id}@{role.layer}{number}"
        taken.add((rule.subject, name))
        yield rule if name == rule.id else replace(rule, id=name)


def _tighten(policy: Policy, role: Role) -> Iterator[Rule]:
    yield from role.forbidden
    yield from role.requires_approval
    if role.network is not None:
        yield _close_network(policy, role, role.network)
    if role.otherwise.value is not Verdict.ALLOW:
        yield from (_otherwise(role, subject) for subject in get_args(Subject))


def _otherwise(role: Role, subject: Subject) -> Rule:
    """Everything of a subject that the role's authority does not name."""
    named = tuple(pattern for rule in role.rules if rule.subject == subject for pattern in rule.when or ())
    verdict = role.otherwise.value
    said = "asks before it does" if verdict is Verdict.ASK else "does nothing of"
    return Rule(
        id=name_rule(role.name, "otherwise"),
        subject=subject,
        when=ANYTHING[subject],
        decision=verdict,
        reason=f"the role {role.name} {said} what its authority does not name",
        place=role.otherwise.place,
        hint="stay with what the role is for",
        unless=cast(Patterns, named),
    )


def _close_network(policy: Policy, role: Role, placed: Placed[tuple[str, ...]]) -> Rule:
    """All hosts but those of the role's list."""
    patterns: list[NetPattern] = []
    asks = False
    for text in placed.value:
        item = read_item(text)
        asks = asks or item.asks
        if item.asks:
            continue
        places = [item.place] if item.place else find_preset(item.preset, presets_of(policy)).places
        patterns += [NetPattern(host=(place.host,), port=place.ports or USUAL_PORTS) for place in places]
    listed = " ".join(text for text in placed.value if text != "ask") or "none"
    return Rule(
        id=name_rule(role.name, "network"),
        subject="net",
        when=ANYTHING["net"],
        decision=Verdict.ASK if asks else Verdict.DENY,
        reason=f"the role {role.name} has these hosts only: {listed}",
        place=placed.place,
        unless=tuple(patterns),
    )


def _lower(known: Placed[str] | None, placed: Placed[str]) -> Placed[str]:
    order = TOLERANCES.index
    return placed if known is None or order(placed.value) < order(known.value) else known


def _raise(known: Placed[Confidence] | None, placed: Placed[Confidence]) -> Placed[Confidence]:
    if known is None:
        return placed
    one, other = known.value, placed.value
    pairs = {name: max(getattr(one, name), getattr(other, name)) for name in ("auto", "flag", "ask")}
    return replace(placed, value=Confidence(**pairs))
