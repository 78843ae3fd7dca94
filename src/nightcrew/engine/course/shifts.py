"""Working hours of roles: outside of them no task of the role starts, and what runs is paused until they begin again.

Everything is in the tables: a task that waits for its hours is ``pending`` (or ``paused``, when it had begun) and says in
``opens_at`` when they begin. A host that comes back looks at the clock and does the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course import pausing, settle
from nightcrew.host.clock import stamp
from nightcrew.model.ids import join_task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.policy.roles.hours import Hours, read_hours

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: Kinds of the events of a task that waits for its hours, and for which they begin.
WAITING: Final = "task.waiting"
BEGAN: Final = "task.hours_began"
#: What the reason of such a task begins with.
OUTSIDE: Final = "outside the working hours of role"
_MOST_CHANGES: Final = 64
"""Changes looked at for a moment at which all hours of a role are open; some never are at the same time."""


class Shifts:
    """The working hours of the roles of one run, as its record has them."""

    def __init__(self, run: RunRecord) -> None:
        self._hours: dict[str, tuple[Hours, ...]] = {}
        self._sources: dict[str, str] = {}
        known = run.settings.get("roles")
        for role, plain in (known if isinstance(known, Mapping) else {}).items():
            listed: list[Mapping[str, Any]] = list(plain.get("hours", ()))
            if listed:
                self._hours[role] = tuple(map(read_hours, listed))
                self._sources[role] = str(listed[0].get("source", ""))

    def find_closed(self, now: datetime) -> frozenset[str]:
        """Return the roles that do not work now."""
        return frozenset(role for role in self._hours if not self._is_open(role, now))

    def next_change(self, now: datetime) -> datetime | None:
        """Return when some hours next begin or end; None without any."""
        return min((each.next_change(now) for hours in self._hours.values() for each in hours), default=None)

    def opens_at(self, role: str, now: datetime) -> datetime:
        """Return when a role works again."""
        for _ in range(_MOST_CHANGES):
            if self._is_open(role, now):
                break
            now = min(each.next_change(now) for each in self._hours[role])
        return now

    def describe(self, role: str, now: datetime) -> str:
        """Return why a task of a role that does not work now waits, in words."""
        hours = " and ".join(each.describe() for each in self._hours[role])
        at = stamp(self.opens_at(role, now))
        return f"{OUTSIDE} {role} ({hours}, {self._sources[role]}); it goes on at {at[:16].replace('T', ' ')} UTC"

    def is_told(self, task: TaskRecord, now: datetime) -> bool:
        """Tell whether the record of a task says until when it waits."""
        return task.reason.startswith(OUTSIDE) and task.opens_at == stamp(self.opens_at(task.role, now))

    def data(self, role: str, now: datetime) -> dict[str, str]:
        """Return the same for an event."""
        opens = stamp(self.opens_at(role, now))
        return {
            "role": role,
            "reason": self.describe(role, now),
            "source": self._sources[role],
            "opens_at": opens,
        }

    def _is_open(self, role: str, now: datetime) -> bool:
        return all(each.is_open(now) for each in self._hours[role])


def waits_for_hours(task: TaskRecord) -> bool:
    """Tell whether a task waits because its role does not work, and not because somebody wants it."""
    return (task.state == "pending" and bool(task.opens_at)) or _is_outside(task)


def _is_outside(task: TaskRecord) -> bool:
    return task.state == "paused" and task.reason.startswith(OUTSIDE)


def keep_hours(
    journal: Journal,
    run: str,
    shifts: Shifts,
    began: Collection[str],
    waiting: Collection[str],
    now: datetime,
) -> tuple[list[TaskRecord], dict[str, str]]:
    """Bring the tasks of a run to where their hours have them.

    Args:
        began: names of tasks whose hours have begun. waiting: of those that could go on, and are held for their hours.

    Returns:
        The tasks that were changed, and the ids of those whose attempt is to pause, each with the reason.
    """
    with journal.read() as tx:
        closed = shifts.find_closed(now)
        running = [task for task in tx.find(TaskRecord, run=run, state="running") if task.role in closed]
        held = [tx.need(TaskRecord, join_task(run, name)) for name in waiting]
        untold = [task.name for task in held if waits_or_could(task) and not shifts.is_told(task, now)]
    if not began and not running and not untold:
        return [], {}
    with journal.write() as tx:
        for name in began:
            _begin(tx, tx.need(TaskRecord, join_task(run, name)))
        for name in untold:
            _tell(tx, tx.need(TaskRecord, join_task(run, name)), shifts, now)
        alive = {attempt.task for attempt in settle.find_alive(tx, run=run)}
        reasons = {task.id: shifts.describe(task.role, now) for task in running}
        for task in running:
            if task.id not in alive:
                pausing.hold(tx, tx.need(TaskRecord, task.id), reason=reasons[task.id])
        names = {*began, *untold, *(task.name for task in running)}
        changed = [tx.need(TaskRecord, join_task(run, name)) for name in sorted(names)]
    return changed, {name: reason for name, reason in reasons.items() if name in alive}


def waits_or_could(task: TaskRecord) -> bool:
    """Tell whether a task is one that only its hours keep from going on."""
    return bool(task.role) and (task.state == "pending" or _is_outside(task))


def _tell(tx: Writer, task: TaskRecord, shifts: Shifts, now: datetime) -> None:
    """Write down that a task waits for its hours, and until when."""
    if waits_or_could(task):
        data = shifts.data(task.role, now)
        tx.change(task, WAITING, data=data, reason=data["reason"], opens_at=data["opens_at"])


def _begin(tx: Writer, task: TaskRecord) -> None:
    """Let a task go on whose hours have begun."""
    if _is_outside(task):
        pausing.go_on(tx, task, "engine")
        task = tx.need(TaskRecord, task.id)
    if task.opens_at:
        tx.change(task, BEGAN, data={"role": task.role}, opens_at="", reason="")
