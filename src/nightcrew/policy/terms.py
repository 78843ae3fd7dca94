"""On what terms a person decides: who, how many, with which proof; and which of two is the stricter.

Both blocks (``approvals`` and ``factors``) can only be tightened by an inner layer, whoever wrote the outer one: what a
person wants of themselves cannot be taken back by a repository that they work on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from nightcrew.model.units import parse_duration
from nightcrew.model.yamltext import YamlPath
from nightcrew.policy.reading import Reading
from nightcrew.policy.rules import RISKS, Placed, Terms

PLAN: Final = "plan"
"""The key of the terms on which a plan is approved, beside those of risks; and the kind of that question."""
FACTORS: Final = ("plan", "promote", "undo", "policy", "role", "auth")
"""What can need a second factor: the keys of the block ``factors``."""

_STRENGTH: Final[Mapping[str, int]] = {"": 0, "any": 1, "pin": 2, "totp": 3}
_LENIENT: Final = ("deny", "park", "allow")


@dataclass(frozen=True, slots=True)
class Need:
    """A second factor that something needs: empty for none, ``any``, ``pin`` or ``totp``."""

    factor: str = ""


def stronger(one: str, other: str) -> str:
    """Return the stronger one of two needs for a factor; of ``pin`` and ``totp`` it is ``totp``."""
    return max(one, other, key=_STRENGTH.__getitem__)


def satisfies(used: str, needed: str) -> bool:
    """Tell whether the proof that was given is what is needed; a backup code stands for the authenticator that is lost."""
    if not needed:
        return True
    if needed == "any":
        return used in ("pin", "totp", "backup")
    return used == needed or (needed == "totp" and used == "backup")


def looser_terms(inner: Terms, outer: Terms) -> bool:
    """Tell whether terms ask for less than others in any respect."""
    return join_terms(outer, inner) != inner


def join_terms(outer: Terms, inner: Terms) -> Terms:
    """Return the strictest of both; nobody may answer where they name different people, which the reader refuses."""
    approvers = inner.approvers or outer.approvers
    if inner.approvers and outer.approvers:
        approvers = tuple(name for name in inner.approvers if name in outer.approvers)
    times = [each for each in (inner.timeout_s, outer.timeout_s) if each]
    # Without a time nothing times out: then what would follow is not compared.
    lenient = [each.on_timeout for each in (inner, outer) if each.timeout_s] or ["deny"]
    return replace(
        inner,
        approvers=approvers,
        quorum=max(inner.quorum, outer.quorum),
        not_requester=inner.not_requester or outer.not_requester,
        reason=inner.reason or outer.reason,
        factor=stronger(inner.factor, outer.factor),
        timeout_s=min(times, default=0.0),
        on_timeout=min(lenient, key=_LENIENT.index),
    )


def read_approvals(reading: Reading, found: dict[str, Placed[Any]]) -> None:
    """Take in the block ``approvals``: terms by risk, and those of plans."""
    for risk in (*RISKS, PLAN):
        path = ("approvals", risk)
        if not isinstance(reading.at(*path), dict):
            continue
        quorum = reading.at(*path, "quorum")
        terms = Terms(
            approvers=reading.texts(*path, "approvers"),
            reason=reading.at(*path, "reason") is True,
            timeout_s=_read_time(reading, (*path, "timeout")),
            quorum=quorum if isinstance(quorum, int) and not isinstance(quorum, bool) else 1,
            not_requester=reading.at(*path, "not_requester") is True,
            factor=_read_factor(reading, (*path, "factor")),
            on_timeout=_ON_TIMEOUT.get(reading.text(*path, "on_timeout"), "deny"),
        )
        _check_terms(reading, path, risk, terms)
        reading.put(found, path, terms)


_ON_TIMEOUT: Final = {"deny": "deny", "park": "park", "pause": "park", "allow": "allow"}


def _check_terms(reading: Reading, path: YamlPath, risk: str, terms: Terms) -> None:
    people = {name.casefold() for name in terms.approvers}
    if people and terms.quorum > len(people):
        reading.complain(
            (*path, "quorum"),
            f"{terms.quorum} people are needed, and {len(people)} may answer",
            "name more approvers, or ask for fewer",
        )
    if reading.at(*path, "on_timeout") is not None and not terms.timeout_s:
        reading.complain((*path, "on_timeout"), "has no effect without a timeout", "add timeout: 8h")
    if terms.on_timeout != "allow":
        return
    if risk != "low":
        reading.complain(
            (*path, "on_timeout"),
            f"nobody's silence is a yes to {'a plan' if risk == PLAN else f'a {risk} risk'}: allow is only for low",
            "write deny, or park (it goes on waiting)",
        )
    elif terms.approvers or terms.quorum > 1 or terms.not_requester or terms.reason or terms.factor:
        reading.complain(
            (*path, "on_timeout"),
            "cannot be allow where a yes needs certain people, a reason or a factor",
            "write deny, or park (it goes on waiting)",
        )


def read_factors(reading: Reading, found: dict[str, Placed[Any]]) -> None:
    """Take in the block ``factors``: what needs a second factor."""
    for name in FACTORS:
        path = ("factors", name)
        if reading.at(*path) is not None:
            reading.put(found, path, Need(_read_factor(reading, path)))


def _read_factor(reading: Reading, path: YamlPath) -> str:
    value = reading.at(*path)
    if value is True:
        return "any"
    return value if isinstance(value, str) and value in _STRENGTH else ""


def _read_time(reading: Reading, path: YamlPath) -> float:
    value = reading.at(*path)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        reading.complain(path, str(error))
        return 0.0
    if seconds <= 0:
        reading.complain(path, "must be more than nothing", "write such as 8h")
    return max(0.0, seconds)
