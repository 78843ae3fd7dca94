"""What can be asked about models: who provides them, with which keys, at what price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

View = dict[str, Any]


class Models:
    """The part of the library API that is about models; ``Runtime.models`` makes one.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def providers(self) -> list[View]:
        """Return the user's providers of models, with what is wrong with their keys."""
        from nightcrew.runtime.money.providing import list_providers

        return list_providers(self._parts, self._rules())

    def check(self, name: str = "") -> list[View]:
        """Ask the providers, or one of them, something free with its key."""
        from nightcrew.runtime.money.providing import check_providers

        return check_providers(self._parts, self._rules(), name)

    def prices(self, model: str = "") -> View:
        """Return what models cost."""
        from nightcrew.runtime.money.providing import list_prices

        return list_prices(self._rules(), model)

    def _rules(self) -> Rules:
        from nightcrew.runtime.rules import read_rules

        return read_rules(self._parts.env, self._parts.find_root())
