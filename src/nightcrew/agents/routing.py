"""Choosing an agent for a task among those that can do it. Pure: the same candidates give the same choice.

Every choice says why, who else could have had the task, and how clear it was. An agent that fits better and cannot be
used is a gap, which a person is told of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.agents.match import Fit, order_quality
from nightcrew.model.routes import Alternative, Route

#: Others that are kept with a choice.
SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that may be chosen.

    Attributes:
        name: as in ``Agent:``. fit: how well it fits the task.
        problem: why it cannot be used now, in words; empty when it can.
        asks: it asks for what it does, so that policy decides before it is done.
        busy: tasks that it has or will have. slots: how many at once, 0 for no limit of its own.
        priority: higher is preferred. order: place in the order the person named, or in the list of agents.
        usd: what a million tokens of its model cost, roughly; None when nobody knows.
    """

    name: str
    fit: Fit
    problem: str = ""
    asks: bool = True
    busy: int = 0
    slots: int = 0
    priority: int = 0
    order: int = 0
    usd: float | None = None

    @property
    def load(self) -> float:
        """How busy it is: of its slots, or of one."""
        return self.busy / (self.slots or 1)


def choose(candidates: Sequence[Candidate], strategy: str, *, after: str = "") -> tuple[str, Route] | None:
    """Return the name of the agent that gets a task, and how that came; None when none can be used.

    Args:
        candidates: all that were looked at.
        strategy: ``capability``, ``load``, ``priority``, ``round_robin`` or ``cost``.
        after: for ``round_robin``: whoever was chosen last.
    """
    usable = [each for each in candidates if not each.problem]
    if not usable:
        return None
    fitting = [each for each in usable if each.fit.quality != "insufficient"] or usable
    ranked = _ORDERS[strategy](fitting, after)
    first = ranked[0]
    others = [*ranked[1:], *(each for each in usable if each not in fitting)]
    missing = sorted((each for each in candidates if each.problem), key=_by_capability)
    return first.name, Route(
        strategy=strategy,
        reason=_explain(first, ranked, strategy, after),
        quality=first.fit.quality,
        confidence=_weigh(first, others, strategy),
        alternatives=tuple(
            [Alternative(each.name, each.fit.quality, each.fit.why) for each in others]
            + [Alternative(each.name, each.fit.quality, each.problem, usable=False) for each in missing]
        )[:SHOWN],
        gap=_find_gap(first, missing),
    )


def _find_gap(first: Candidate, missing: Sequence[Candidate]) -> str:
    better = next(
        (each for each in missing if order_quality(each.fit.quality) < order_quality(first.fit.quality)), None
    )
    if better is not None:
        return (
            f"{better.name} would fit better ({better.fit.quality}: {better.fit.why}), but {better.problem}"
        )
    if first.fit.quality == "insufficient":
        return f"no agent fits well: {first.name} takes it although {first.fit.why}"
    return ""


def _weigh(first: Candidate, others: Sequence[Candidate], strategy: str) -> float:
    """Return how clear the choice was: 1 without another one, 0.5 when the next one is just as good."""
    if not others:
        return 1.0
    mine, next_best = _value(first, strategy), max(_value(each, strategy) for each in others)
    spread = max(abs(mine), abs(next_best))
    return round(0.5 + 0.5 * max(0.0, min(1.0, (mine - next_best) / spread)), 2) if spread else 0.5


def _value(each: Candidate, strategy: str) -> float:
    """Return what a strategy looks at, as a number of which more is better."""
    if strategy == "load":
        return -each.load
    if strategy == "priority":
        return float(each.priority)
    if strategy == "cost":
        return -each.usd if each.usd is not None else -1e6
    return each.fit.score + 2.0 * (2 - order_quality(each.fit.quality))


def _explain(first: Candidate, ranked: Sequence[Candidate], strategy: str, after: str) -> str:
    among = f" of {len(ranked)} that fit" if len(ranked) > 1 else ", the only one that fits"
    words = {
        "capability": f"fits best{among}: {first.fit.why}",
        "load": f"has the least to do{among} ({first.busy} of {first.slots or 'any number of'} at once)",
        "priority": f"comes first by priority {first.priority}{among}",
        "round_robin": f"its turn{f' after {after}' if after else ''}{among}",
        "cost": f"costs least{among}: "
        + (f"about {first.usd:g} USD per million tokens" if first.usd is not None else "no price is known"),
    }
    return words[strategy] + ("" if first.asks else "; it does not ask before it acts")


def _by_capability(each: Candidate) -> tuple[Any, ...]:
    # One that asks before it acts stands before one that does not, when they fit alike.
    return (
        order_quality(each.fit.quality),
        not each.asks,
        -each.fit.score,
        -each.priority,
        each.load,
        each.order,
    )


def _order_by(key: Callable[[Candidate], Any]) -> Callable[[Sequence[Candidate], str], list[Candidate]]:
    def order(candidates: Sequence[Candidate], after: str) -> list[Candidate]:
        return sorted(candidates, key=lambda each: (key(each), _by_capability(each)))

    return order


def _take_turns(candidates: Sequence[Candidate], after: str) -> list[Candidate]:
    """Return the candidates in their order, beginning behind the one that was chosen last."""
    ordered = sorted(candidates, key=lambda each: (each.order, each.name))
    names = [each.name for each in ordered]
    start = names.index(after) + 1 if after in names else 0
    return [*ordered[start:], *ordered[:start]]


_ORDERS: Final[Mapping[str, Callable[[Sequence[Candidate], str], list[Candidate]]]] = {
    "capability": _order_by(lambda each: 0),
    "load": _order_by(lambda each: each.load),
    "priority": _order_by(lambda each: -each.priority),
    "cost": _order_by(lambda each: (each.usd is None, each.usd or 0.0)),
    "round_robin": _take_turns,
}
