"""What can be done with agents: list them, find them, try one, write one down."""

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

    def known(self) -> list[View]:
        """Return the agents that tasks can name, and the coding agents found on PATH."""
        from nightcrew.runtime.finding import list_agents

        return list_agents(self._parts, self._rules())

    def detect(self) -> list[View]:
        """Return the coding agents found on PATH: program, version, and whether each could work here."""
        from nightcrew.runtime.finding import detect_agents

        return detect_agents(self._parts, self._rules())

    def test(self, name: str) -> View:
        """Start an agent in the sandbox, speak its protocol up to the first task, and say what came of it."""
        from nightcrew.runtime.agenttrial import try_agent

        return try_agent(self._parts, self._rules(), name)

    def add(self, name: str, adapter: str, argv: Sequence[str], *, repository: bool) -> View:
        """Write an agent into config.yaml: the person's own, or the repository's."""
        from nightcrew.runtime.agentadding import add_agent

        return add_agent(self._parts, name, adapter, argv, repository=repository)

    def _rules(self) -> Rules:
        from nightcrew.runtime.rules import read_rules

        return read_rules(self._parts.env, self._parts.find_root())
