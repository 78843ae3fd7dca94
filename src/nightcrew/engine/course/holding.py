"""Tasks that could start, and must not yet: the agent that would do them is left alone for a while (see ``breaker``).

Held tasks take no slot, and others go on meanwhile; the host looks again when the first of them may start. Whether a task is held is
never stored: it is asked again. That it is held is told once, with the reason in its row, for whoever looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course import breaker
from nightcrew.engine.course.schedule import Frontier, Moves
from nightcrew.host.clock import Clock, stamp
from nightcrew.model.ids import join_task
from nightcrew.model.records import TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: Kind of the event.
HELD: Final = "task.held"


class Bars:
    """The tasks of one run that are held at the moment; used by its board.

    Args:
        journal, clock: of the host.
        run: id of the run.
    """

    def __init__(self, journal: Journal, clock: Clock, run: str) -> None:
        self._journal = journal
        self._clock = clock
        self._run = run
        self._until: dict[str, str] = {}

    @property
    def next_at(self) -> str:
        """When the first of them is looked at again (a stamp); empty when there is none."""
        return min(self._until.values(), default="")

    def choose(self, frontier: Frontier, is_new: Callable[[str], bool]) -> Moves:
        """Return the moves of a run without those that must wait.

        Args:
            is_new: tells whether a task has not been started yet.
        """
        now = stamp(self._clock.now())
        frontier.unbar(name for name in list(self._until) if self._until[name] <= now)
        self._until = {name: until for name, until in self._until.items() if until > now}
        moves = frontier.moves()
        if not any(map(is_new, moves.start)):
            return moves
        with self._journal.read() as tx:
            if not breaker.read_breakers(tx):
                return moves
        while held := self._hold([name for name in moves.start if is_new(name)]):
            self._until |= held
            frontier.bar(held)
            moves = frontier.moves()
        return moves

    def _hold(self, names: Sequence[str]) -> dict[str, str]:
        """Return which of these must wait, and until when; what may try takes its try by that."""
        held: dict[str, str] = {}
        now = self._clock.now()
        with self._journal.write() as tx:
            for name in names:
                task = tx.need(TaskRecord, join_task(self._run, name))
                if breaker.let_try(tx, task.agent, task.id, now):
                    continue
                until, why = breaker.find_hold(tx, task.agent, now)
                held[name] = until
                _tell(tx, task, why, until)
        return held


def _tell(tx: Writer, task: TaskRecord, reason: str, until: str) -> None:
    """Write down why a task does not start, unless that is what was written last."""
    if task.state == "pending" and task.reason != reason:
        data = {"agent": task.agent, "reason": reason, "until": until}
        tx.change(task, HELD, data=data, reason=reason)
