"""What can be done with agents: list them, find them, match them with a task, try one, write one down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

View = dict[str, Any]


class Agents:
    """The part of the library API that is about agents; ``Runtime.agents`` makes one.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def known(self, *, refresh: bool = False) -> list[View]:
        """Return the agents that tasks can name: programs with version and sign-in, then Markdown agents.

        Args:
            refresh: find everything out anew; else what was found out in the last 24 hours, of files unchanged since.
        """
        from nightcrew.runtime.crew.assigning import find_open_breakers
        from nightcrew.runtime.crew.finding import list_agents

        broken = find_open_breakers(self._parts)
        found = list_agents(self._parts, self._rules(), refresh=refresh)
        return [{**each, "breaker": broken.get(each["name"], "")} for each in found]

    def match(self, text: str) -> list[View]:
        """Return the agents with how well each fits a task in words, best first."""
        from nightcrew.runtime.crew.assigning import match_agents

        return match_agents(self._parts, self._rules(), text)

    def show(self, name: str) -> View:
        """Return all that is known of one agent; of a Markdown agent with its text (``persona``).

        Raises:
            NotFound: there is none of that name.
        """
        from nightcrew.runtime.crew.finding import show_agent

        return show_agent(self._parts, self._rules(), name)

    def detect(self) -> list[View]:
        """Return the coding agents found on PATH: program, version, and whether each could work here."""
        from nightcrew.runtime.crew.finding import detect_agents

        return detect_agents(self._parts, self._rules())

    def test(self, name: str) -> View:
        """Start an agent in the sandbox, speak its protocol up to the first task, and say what came of it."""
        from nightcrew.runtime.crew.trial import try_agent

        return try_agent(self._parts, self._rules(), name)

    def add(self, name: str, adapter: str, argv: Sequence[str], *, repository: bool) -> View:
        """Write an agent into config.yaml: the person's own, or the repository's."""
        from nightcrew.runtime.crew.adding import add_agent

        return add_agent(self._parts, name, adapter, argv, repository=repository)

    def hook(self, agent: str, event: str) -> int:
        """Answer an agent's own command hook with the call on stdin; 0 allows, 2 denies. See ``agents.hook``."""
        from nightcrew.agents.hook import main

        return main(agent, event)

    def _rules(self) -> Rules:
        from nightcrew.runtime.rules import read_rules

        return read_rules(self._parts.env, self._parts.find_root())
