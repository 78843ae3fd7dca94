"""An agent that says nothing: told as such before the silence limit ends it, so that nobody takes a hung one for a busy one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import Clock
from nightcrew.model.records import AttemptRecord, TaskRecord
from nightcrew.model.usage import describe_minutes

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

#: Kinds of the events.
SILENT: Final = "agent.silent"
HEARD: Final = "agent.heard"
#: What the reason of such a task begins with.
UNHEALTHY: Final = "unhealthy: "
#: Told after this long at the latest, and at half of the limit where that is sooner.
LATEST_S: Final = 300.0
_LOOK_S: Final = 0.5


class Silence:
    """Listens to one agent by the size of its transcript.

    Args:
        journal, clock: of the host.
        record: of the attempt. idle_s: after so long a silence it is ended; 0 for never.
    """

    def __init__(self, journal: Journal, clock: Clock, record: AttemptRecord, idle_s: float) -> None:
        self._journal = journal
        self._clock = clock
        self._record = record
        self._idle_s = idle_s
        self._told_after_s = min(LATEST_S, idle_s / 2) if idle_s else LATEST_S
        self._path = Path(record.transcript)
        self._size = -1
        self._heard_s = self._looked_s = clock.monotonic()
        self._told = False

    def tick(self) -> None:
        """Called a few times a second while it works."""
        now = self._clock.monotonic()
        if now - self._looked_s < _LOOK_S:
            return
        self._looked_s = now
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            # It has not said anything yet.
            size = 0
        if size != self._size:
            self._size, self._heard_s = size, now
            if self._told:
                self._told = False
                self._tell(HEARD, "")
        elif not self._told and now - self._heard_s >= self._told_after_s:
            self._told = True
            self._tell(SILENT, self._describe(now - self._heard_s))

    def _describe(self, silent_s: float) -> str:
        end = f"; it is ended after {describe_minutes(self._idle_s)} of silence" if self._idle_s else ""
        return f"{UNHEALTHY}it has said nothing for {describe_minutes(silent_s)}{end}"

    def _tell(self, kind: str, reason: str) -> None:
        data = {"agent": self._record.agent, "reason": reason, "attempt": self._record.id}
        with self._journal.write() as tx:
            task = tx.need(TaskRecord, self._record.task)
            if task.state == "running":
                tx.change(task, kind, data=data, reason=reason)
