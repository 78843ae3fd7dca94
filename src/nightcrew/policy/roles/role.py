"""A role as values. Format: docs/formats/role.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from nightcrew.model import canonical
from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place
from nightcrew.model.usage import Budget
from nightcrew.policy.roles.hours import Hours
from nightcrew.policy.rules import Gate, Placed, Rule

TOLERANCES: Final = ("low", "medium", "high")
"""How much risk a role takes by itself: actions of a higher one are asked about, even where they are allowed."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """What follows from how sure an agent says it is, 0 to 1. It is never a reason to allow anything.

    Attributes:
        auto: from here on nothing follows. flag: from here on it is shown at review. ask: from here on a person is
            asked, and below the task fails.
    """

    auto: float = 0.9
    flag: float = 0.7
    ask: float = 0.5


@dataclass(frozen=True, slots=True)
class Caps:
    """What the work of a role may cost at most; 0 (or an empty budget) for no limit of that kind.

    Attributes:
        task: of one task. run: of all its tasks of one run together. attempt_s: longest attempt, in seconds.
    """

    task: Budget = Budget()
    run: Budget = Budget()
    attempt_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Role:
    """One role file.

    Attributes:
        name: of the file, without its ending. source: the file, as messages name it. layer: ``shipped``, ``user`` or ``repository``.
        place: where it begins.
        title, description: in words; the agent is told both.
        competencies: what it is good at. agents: globs on agents that may do its work, empty for any.
        model: which model its tasks use that name none.
        autonomous, requires_approval, forbidden: its authority, as rules that allow, ask and deny. What allows is never
            put in force: it is what ``otherwise`` leaves alone.
        otherwise: what holds for everything that its authority does not name; ``allow`` leaves that to the policy.
        tolerance: one of TOLERANCES.
        confidence, hours, network, review: see the format; None where it says nothing. Of ``network`` the items.
        limits: like those of a policy, by dotted name; they only lower.
        gates: commands that must pass for each of its tasks.
        caps: see there, with the place of the block.
    """

    name: str
    source: str
    layer: str
    place: Place
    title: str = ""
    description: str = ""
    competencies: tuple[Placed[str], ...] = ()
    agents: tuple[Placed[str], ...] = ()
    model: str = ""
    autonomous: tuple[Rule, ...] = ()
    requires_approval: tuple[Rule, ...] = ()
    forbidden: tuple[Rule, ...] = ()
    otherwise: Placed[Verdict] = field(default_factory=lambda: Placed(Verdict.ASK, Place("built in")))
    tolerance: Placed[str] | None = None
    confidence: Placed[Confidence] | None = None
    limits: Mapping[str, Placed[int]] = field(default_factory=dict)
    gates: tuple[Placed[Gate], ...] = ()
    caps: Placed[Caps] | None = None
    network: Placed[tuple[str, ...]] | None = None
    hours: Placed[Hours] | None = None
    review: Placed[bool] | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides, and over what the agent is told."""
        plain = canonical.to_plain(self)
        return canonical.digest(_drop_places({**plain, "source": "", "layer": ""}))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All entries of its authority, the strictest first."""
        return (*self.forbidden, *self.requires_approval, *self.autonomous)


def _drop_places(value: object) -> object:
    """Return a plain value without the places and examples in it."""
    if isinstance(value, dict):
        return {key: _drop_places(item) for key, item in value.items() if key not in ("place", "examples")}
    if isinstance(value, list):
        return [_drop_places(item) for item in value]
    return value


def name_rule(role: str, entry: str) -> str:
    """Return the id of a role's rule. The colon keeps it apart from every rule of a policy."""
    return f"role:{role}.{entry}"
