"""The part of the library API that is about rehearsals."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.showing.playing import Order


class Rehearsals:
    """Mixed into ``Runtime``."""

    _parts: Parts

    def rehearse(self, order: Order, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
        """Play the tasks of a file with real agents and a scripted model, on a copy; return what would be asked.

        Args:
            order: what to rehearse, and how. say: told of every answer that is given.

        Raises:
            UsageError: an option, the tasks file or a setting is no good; nothing was started.
        """
        from nightcrew.runtime.showing.rehearsing import rehearse

        return rehearse(self._parts, order, say)
