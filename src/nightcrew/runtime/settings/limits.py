"""The parts of config.yaml about what ends things: budgets, stops, loops, breakers, fallback agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from nightcrew.engine.books.budgets import FOLLOWS
from nightcrew.model.settings import Breaking, Budgets, Looping, Settings, Stopping
from nightcrew.model.units import parse_duration
from nightcrew.model.usage import Budget, parse_budget
from nightcrew.runtime.settings.models import Reading

#: Keys of ``budget`` that only a person's own file may have.
_OWN: Final = ("day", "month")


def read_limits(reading: Reading, old: Settings, *, repository: bool) -> dict[str, Any]:
    """Return the fields of settings that this module knows, as the document has them."""
    return {
        "budgets": read_budgets(reading, old.budgets, repository=repository),
        "stopping": read_stopping(reading, old.stopping),
        "looping": read_looping(reading, old.looping),
        "fallback": read_names(reading.at(("fallback",))) or old.fallback,
    }


def read_names(given: Any) -> tuple[str, ...]:
    """Return one name, or several, as a tuple."""
    if isinstance(given, str):
        return (given,)
    return tuple(str(each) for each in given) if isinstance(given, list) else ()


def read_budgets(reading: Reading, old: Budgets, *, repository: bool) -> Budgets:
    """Return the budgets of ``old`` with those of the document in their place."""
    keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
        **{name: (name, parse_budget) for name in ("run", "task", "day", "month")},
        "warn_at": ("warn_at", float),
        "steep": ("steep", float),
        "on_spent": ("on_spent", _read_follow),
        "cheaper": ("cheaper", lambda block: {str(k): str(v) for k, v in dict(block).items()}),
    }
    for name in _OWN if repository else ():
        if reading.at(("budget", name)) is not None:
            reading.complain(
                ("budget", name),
                "a repository does not decide what you spend in all",
                "move it into config.yaml of your own configuration directory",
            )
    taken = reading.take(keys, "budget")
    for name in ("agents", "roles"):
        found = _read_group(reading, name, getattr(old, name))
        if found is not None:
            taken[name] = found
    return replace(old, **taken)


def _read_follow(value: Any) -> str:
    # One that is none of these was reported by the schema.
    if value not in FOLLOWS:
        raise TypeError(value)
    return str(value)


def _read_group(reading: Reading, name: str, old: Mapping[str, Budget]) -> dict[str, Budget] | None:
    block = reading.at(("budget", name))
    if not isinstance(block, dict):
        return None
    found = dict(old)
    for key, text in block.items():
        try:
            found[str(key)] = parse_budget(str(text))
        except ValueError as error:
            reading.complain(("budget", name, str(key)), str(error))
    return found


def read_stopping(reading: Reading, old: Stopping) -> Stopping:
    """Return when a run stops by itself."""
    keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
        **{name: (name, int) for name in ("failures", "low_confidence", "no_progress")},
        "confidence": ("confidence", float),
    }
    return replace(old, **reading.take(keys, "stop"))


def read_looping(reading: Reading, old: Looping) -> Looping:
    """Return when an agent goes round in circles."""
    keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
        name: (name, int) for name in ("same_action", "same_answer")
    }
    return replace(old, **reading.take(keys, "loops"))


def read_breaker(reading: Reading, old: Breaking) -> Breaking:
    """Return when an agent is left alone for a while."""
    keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "failures": ("failures", int),
        "window": ("window_s", parse_duration),
        "reset": ("reset_s", parse_duration),
    }
    return replace(old, **reading.take(keys, "breaker"))


def narrow_limits(outer: Settings, inner: Settings) -> dict[str, Any]:
    """Return the fields of ``inner`` (a repository's) that are looser than ``outer`` (its user's), tightened."""
    ours, theirs = outer.budgets, inner.budgets
    follow = theirs.on_spent
    return {
        "budgets": replace(
            theirs,
            run=ours.run.narrow(theirs.run),
            task=ours.task.narrow(theirs.task),
            warn_at=min(ours.warn_at, theirs.warn_at),
            agents=_narrow_group(ours.agents, theirs.agents),
            roles=_narrow_group(ours.roles, theirs.roles),
            day=ours.day,
            month=ours.month,
            on_spent="stop" if "stop" in (ours.on_spent, follow) else follow,
        ),
        "stopping": Stopping(
            _fewer(outer.stopping.failures, inner.stopping.failures),
            _fewer(outer.stopping.low_confidence, inner.stopping.low_confidence),
            max(outer.stopping.confidence, inner.stopping.confidence),
            _fewer(outer.stopping.no_progress, inner.stopping.no_progress),
        ),
        "looping": Looping(
            _fewer(outer.looping.same_action, inner.looping.same_action),
            _fewer(outer.looping.same_answer, inner.looping.same_answer),
        ),
    }


def _narrow_group(ours: Mapping[str, Budget], theirs: Mapping[str, Budget]) -> dict[str, Budget]:
    return {name: ours.get(name, Budget()).narrow(theirs.get(name, Budget())) for name in {**ours, **theirs}}


def _fewer(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other
