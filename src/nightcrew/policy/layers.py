"""Layers of policy put together: what an inner layer may change, and what an outer one has fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from nightcrew.model.actions import Verdict, strictest
from nightcrew.model.errors import Place, Problem
from nightcrew.model.text import closest
from nightcrew.model.yamltext import refuse_problems
from nightcrew.policy.rules import (
    Allowance,
    Gate,
    HandoffClass,
    Openings,
    Patterns,
    Placed,
    Policy,
    Rule,
    Terms,
)
from nightcrew.policy.terms import Need, join_terms, looser_terms, stronger

#: What holds where no rule of a subject matches. Of files it holds beside the rules.
_DEFAULTS: Final = {"command": "defaults.commands", "net": "defaults.network"}


def layer_over(policies: Sequence[Policy]) -> Policy:
    """Return one policy of several layers, outermost first.

    Raises:
        InvalidInput: with every place where a layer loosens what is fixed or refers to a rule that is not there.
    """
    stack = _Stack()
    for policy in policies:
        stack.add(policy)
    sources = tuple(s for p in policies for s in p.sources)
    refuse_problems(stack.problems, ", ".join(dict.fromkeys(p.place.file for p in stack.problems)))
    return Policy(
        sources=sources,
        rules=(*stack.rules.values(), *stack.guards),
        fixed_paths=tuple(stack.fixed),
        protected_paths=tuple(stack.protected),
        handoff_paths=tuple(stack.handoff),
        handoff_classes=tuple(stack.classes.values()),
        allowances=tuple(stack.allowances),
        gates=tuple(stack.gates.values()),
        settings=stack.settings,
    )


@dataclass
class _Stack:
    """The layers put together so far. ``guards`` hold the floors of rules that were replaced with another ``when``."""

    rules: dict[str, Rule] = field(default_factory=dict)
    guards: list[Rule] = field(default_factory=list)
    fixed: list[Placed[str]] = field(default_factory=list)
    protected: list[Placed[str]] = field(default_factory=list)
    handoff: list[Placed[str]] = field(default_factory=list)
    classes: dict[str, Placed[HandoffClass]] = field(default_factory=dict)
    allowances: list[Placed[Allowance]] = field(default_factory=list)
    gates: dict[str, Placed[Gate]] = field(default_factory=dict)
    settings: dict[str, Placed[Any]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add(self, policy: Policy) -> None:
        self.fixed += policy.fixed_paths
        # What the owner of the machine protects stays protected, whatever inner layers open.
        target = self.fixed if policy.ceiling else self.protected
        target += policy.protected_paths
        self.handoff += policy.handoff_paths
        self.classes |= {placed.value.id: placed for placed in policy.handoff_classes}
        self.add_allowances(policy)
        for gate in policy.gates:
            self.add_gate(gate)
        for rule in policy.rules:
            self.add_rule(rule)
        for name, placed in policy.settings.items():
            self.add_setting(name, placed)

    def complain(self, place: Place, message: str, hint: str = "") -> None:
        self.problems.append(Problem(place, message, hint))

    def add_allowances(self, policy: Policy) -> None:
        """Take in what a layer lets land, unless an outer one has fixed that no secret may."""
        fixed = self.settings.get("secrets.change")
        for placed in policy.allowances:
            if fixed is not None and fixed.fixed and fixed.value is Verdict.DENY:
                self.complain(placed.place, f"secrets.allow cannot open what {fixed.source} has fixed")
            else:
                self.allowances.append(placed)

    def add_gate(self, placed: Placed[Gate]) -> None:
        """Take in a gate; one of the same name takes the place of an outer one that is not fixed."""
        outer = self.gates.get(placed.value.id)
        if outer is not None and outer.fixed:
            self.complain(
                placed.place, f"gate {placed.value.id!r} is fixed in {outer.source}", "choose another id"
            )
            return
        self.gates[placed.value.id] = placed

    def add_rule(self, rule: Rule) -> None:
        outer = self.rules.get(rule.id)
        self.check_default(rule)
        if outer is None:
            if rule.when is None:
                near = closest(rule.id, self.rules)
                hint = f"did you mean {near!r}?" if near else "say what the rule is about with 'when'"
                self.complain(
                    rule.place,
                    f"rule {rule.id!r} has no 'when', and there is no rule of that name to change",
                    hint,
                )
                return
            self.rules[rule.id] = rule
            return
        if outer.subject != rule.subject:
            self.complain(
                rule.place,
                f"rule {rule.id!r} is a {outer.subject} rule in {outer.source}",
                "choose another id",
            )
            return
        self.rules[rule.id] = self.replace_rule(outer, rule)

    def check_default(self, rule: Rule) -> None:
        """Complain of a rule that allows by a ``when`` of its own what a ceiling leaves to nobody but a person."""
        name = _DEFAULTS.get(rule.subject, "")
        fixed = self.settings.get(name)
        if fixed is None or not fixed.fixed or fixed.value is Verdict.ALLOW or rule.when is None:
            return
        if rule.decision is Verdict.ALLOW:
            self.complain(
                rule.place,
                f"rule {rule.id!r} cannot allow where {name} is {fixed.value} (fixed in {fixed.source})",
                "write decision: ask, or leave it out",
            )

    def replace_rule(self, outer: Rule, rule: Rule) -> Rule:
        """Return what stands for ``outer`` from now on; its floor goes on to hold, for its own ``when``."""
        if rule.when is None:
            rule = replace(
                rule,
                when=outer.when,
                hint=rule.hint or outer.hint,
                risk=rule.risk or outer.risk,
                reason=rule.reason or outer.reason,
                unless=_join(outer.unless, rule.unless),
            )
        if outer.floor is None:
            return rule
        if strictest(outer.floor, rule.decision) != rule.decision:
            self.complain(
                rule.place,
                f"rule {rule.id!r} cannot be weaker than {outer.floor} (fixed in {outer.source})",
                f"write decision: {outer.floor}",
            )
        if (rule.when, rule.unless) != (outer.when, outer.unless) and outer.floor is not Verdict.ALLOW:
            self.guards.append(replace(outer, decision=outer.floor))
        return replace(rule, floor=strictest(outer.floor, rule.floor or outer.floor))

    def add_setting(self, name: str, placed: Placed[Any]) -> None:
        outer = self.settings.get(name)
        if outer is not None and outer.fixed:
            if is_looser(placed.value, outer.value):
                self.complain(placed.place, f"{name} cannot be looser than in {outer.source}")
                return
            placed = replace(placed, fixed=True)
        elif outer is not None:
            placed = self.tighten(name, outer, placed)
        self.settings[name] = placed

    def tighten(self, name: str, outer: Placed[Any], placed: Placed[Any]) -> Placed[Any]:
        """Return what a layer says of how a person decides, together with what an outer one says of it."""
        if isinstance(outer.value, Need) and isinstance(placed.value, Need):
            factor = stronger(placed.value.factor, outer.value.factor)
            return placed if factor == placed.value.factor else outer
        if not isinstance(outer.value, Terms) or not isinstance(placed.value, Terms):
            return placed
        joined = join_terms(outer.value, placed.value)
        allowed = len({each.casefold() for each in joined.approvers})
        if (outer.value.approvers or placed.value.approvers) and allowed < joined.quorum:
            said = (
                f"with {outer.source} it needs {joined.quorum} of the people that both name: {allowed} there"
            )
            self.complain(placed.place, f"{name} {said}")
        return replace(placed, value=joined)


def _join(outer: Patterns, inner: Patterns) -> Patterns:
    """Return the exceptions of two rules of one subject together."""
    return cast(Patterns, (*outer, *inner))


def is_looser(inner: Any, outer: Any) -> bool:
    """Tell whether a value is looser than another: higher, weaker, less than all of it, or (of a text) any other."""
    if isinstance(outer, Verdict):
        return bool(strictest(inner, outer) != inner)
    if outer is None:
        return False
    if isinstance(outer, Terms):
        return looser_terms(inner, outer)
    if isinstance(outer, Need):
        return bool(stronger(inner.factor, outer.factor) != inner.factor)
    if isinstance(outer, Openings):
        return not set(inner.items) <= set(outer.items)
    if isinstance(outer, bool):
        return outer and not inner
    if isinstance(outer, tuple):
        return not set(outer) <= set(inner)
    if isinstance(outer, int | float):
        return inner is None or bool(inner > outer)
    return bool(inner != outer)
