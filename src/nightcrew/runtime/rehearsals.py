"""The part of the library API that is about rehearsals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants rehearsed.

    Attributes:
        file: the tasks file. agent: who does the tasks that have a model; empty for each task's own.
        scenario: a file with what the model says; empty for one made of the tasks.
        also: command lines that are tried in every task beside. faults: what goes wrong, see ``playing.read_fault``.
        answer: ``approve``, ``deny`` or ``leave``: what is answered to the questions.
        keep: leave the folder. unsandboxed: also where nothing can be confined.
    """

    file: str
    agent: str = ""
    scenario: str = ""
    also: Sequence[str] = ()
    faults: Sequence[str] = ()
    answer: str = "approve"
    keep: bool = False
    unsandboxed: bool = False


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
        from nightcrew.runtime.rehearsing import rehearse

        return rehearse(self._parts, order, say)
