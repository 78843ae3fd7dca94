"""Who does a task, and why: the outcome of routing, and the role an agent is given by a text. Values of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: How well an agent fits a task, best first.
QUALITIES: Final = ("excellent", "acceptable", "insufficient")
#: Ways to choose among agents that fit.
STRATEGIES: Final = ("capability", "load", "priority", "round_robin", "cost", "manual")
#: What stands in ``Agent:`` for an agent that is to be chosen.
ANY: Final = "any"


@dataclass(frozen=True, slots=True)
class Alternative:
    """An agent that could have been chosen, or why it could not.

    Attributes:
        agent: its name. quality: how well it fits, empty when it was not looked at. why: in words.
        usable: it could do the task in place of the one that was chosen.
    """

    agent: str
    quality: str = ""
    why: str = ""
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """How the agent of a task was found.

    Attributes:
        strategy: see STRATEGIES; ``manual`` when the task named it.
        reason: in words.
        quality: how well it fits, see QUALITIES.
        confidence: how clear the choice was, 0 (a toss) to 1 (nobody else came near).
        alternatives: the others, best first.
        gap: what would have fitted better and is not there, in words; empty for none.
    """

    strategy: str
    reason: str
    quality: str
    confidence: float
    alternatives: tuple[Alternative, ...] = ()
    gap: str = ""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Route:
        """Return the route that was stored as ``plain``."""
        others = tuple(Alternative(**each) for each in plain.get("alternatives", ()))
        return cls(**{**plain, "alternatives": others})


@dataclass(frozen=True, slots=True)
class Persona:
    """A role in words that an agent takes on for a task, from a Markdown file. It permits nothing.

    Attributes:
        name: of the Markdown agent. text: its instructions.
        source: the file, as a person knows it. own: it is the person's own, and not part of a repository.
        ignored: keys of its front matter that ask for more than words, and get nothing.
    """

    name: str
    text: str
    source: str
    own: bool
    ignored: tuple[str, ...] = ()

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Persona:
        """Return the persona that was stored as ``plain``."""
        return cls(**{**plain, "ignored": tuple(plain.get("ignored", ()))})
