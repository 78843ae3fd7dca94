"""Looks whether a run must stop by itself: the night is over, or its tasks end badly one after the other (see ``stops``)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nightcrew.engine.course import stops
from nightcrew.engine.course.stops import Conditions, Streaks
from nightcrew.host.clock import Clock, stamp
from nightcrew.model.lifecycle import TASK_FINAL
from nightcrew.model.records import RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal


class Watchman:
    """The watch over one run; used by its board.

    Args:
        journal, clock: of the host.
        run: id of the run.
    """

    def __init__(self, journal: Journal, clock: Clock, run: str) -> None:
        self._journal = journal
        self._clock = clock
        self._run = run
        self._conditions = Conditions(failures=0, low_confidence=0)
        self._streaks = Streaks()
        self._seen: set[tuple[str, int]] = set()
        self._found = ("", "")
        self._was_paused = False

    @property
    def next_at(self) -> str:
        """When the night is over (a stamp); empty when nobody has said."""
        return "" if self._was_paused else self._conditions.until

    @property
    def has_stopped(self) -> bool:
        """Whether the run is paused, by this or by a person."""
        return self._was_paused

    def load(self, run: RunRecord, tasks: Iterable[TaskRecord], since: str) -> None:
        """Begin with what is over already; what was over when a person last let the run go on counts no more."""
        self._conditions = stops.read_conditions(run)
        self._streaks, self._seen, self._found = Streaks(), set(), ("", "")
        over = sorted((task for task in tasks if task.state in TASK_FINAL), key=lambda task: task.ended_at)
        for task in over:
            if task.ended_at > since:
                self.note(task)
            self._seen.add((task.id, task.generation))

    def note(self, task: TaskRecord) -> None:
        """A task is as it is; one that has come to its end counts once."""
        if task.state not in TASK_FINAL or (task.id, task.generation) in self._seen:
            return
        self._seen.add((task.id, task.generation))
        self._streaks.note(task, self._conditions)
        self._found = self._streaks.find(self._conditions, task)

    def look(self, run: RunRecord) -> None:
        """Stop the run when it is time to."""
        if run.state == "paused":
            self._was_paused = True
            return
        if run.state != "running":
            return
        if self._was_paused:
            # Somebody has let it go on: what was before is no reason any more.
            self._was_paused, self._streaks, self._found = False, Streaks(), ("", "")
        # The end of the night can be set while it goes on.
        self._conditions = stops.read_conditions(run)
        condition, reason = self._found
        self._found = ("", "")
        until = self._conditions.until
        if until and stamp(self._clock.now()) >= until:
            condition, reason = (
                stops.UNTIL,
                f"stopped: it is {self._conditions.until_said}, until when it was to work",
            )
        if condition:
            with self._journal.write() as tx:
                stops.stop(tx, self._run, condition, reason)
            self._was_paused = True
