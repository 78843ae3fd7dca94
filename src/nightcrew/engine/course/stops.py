"""Stopping a run before its goal is reached: why, and what becomes of it. Only tables, so that any process can.

A run that is stopped is paused: what its agents did is kept as checkpoints, finished tasks can be reviewed and promoted, a
person can let it go on. With ``end`` it is over instead: what is not finished is cancelled and the run goes to review. Each
stop is one event that names its condition, and ``why`` tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.lifecycle import TASK_FINAL
from nightcrew.model.records import RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Kind of the event that names what stopped a run.
STOPPED: Final = "run.stopped"
#: Conditions that stop a run. ``goal`` (every task is over) and ``user`` are told by their own events.
UNTIL, BUDGET, FAILURES, CONFIDENCE, PROGRESS = "until", "budget", "failures", "low_confidence", "no_progress"


@dataclass(frozen=True, slots=True)
class Conditions:
    """When a run stops by itself; 0 and empty for never.

    Attributes:
        until: moment (a stamp) at which the night is over. until_said: the same as it is shown.
        failures: tasks that fail one after the other. low_confidence: tasks in a row whose agent was less sure than
            ``confidence``. no_progress: tasks in a row that changed nothing.
    """

    until: str = ""
    until_said: str = ""
    failures: int = 5
    low_confidence: int = 3
    confidence: float = 0.5
    no_progress: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return it for ``RunRecord.settings``."""
        return asdict(self)


def read_conditions(run: RunRecord) -> Conditions:
    """Return when a run stops; a run of before stops never by itself."""
    plain = run.settings.get("stop")
    if not isinstance(plain, Mapping):
        return Conditions(failures=0, low_confidence=0)
    known = {name: plain[name] for name in Conditions.__dataclass_fields__ if name in plain}
    return Conditions(**known)


def stop(tx: Writer, run_id: str, condition: str, reason: str, *, end: bool = False, **data: Any) -> bool:
    """Stop a run, and tell why; one that does not run stays as it is.

    Args:
        condition: see above. reason: in words.
        end: it is over: what is not finished is cancelled.

    Returns:
        Whether it was running.
    """
    # Late: whoever only shows why a run was stopped has no use for all that stopping needs.
    from nightcrew.engine.course import pausing, settle

    run = tx.need(RunRecord, run_id)
    if run.state != "running":
        return False
    tx.append(STOPPED, run=run_id, data={"condition": condition, "reason": reason, "end": end, **data})
    if not end:
        pausing.request(tx, run_id, actor="engine", reason=reason)
        return True
    for task in tx.find(TaskRecord, run=run_id):
        if task.state not in TASK_FINAL:
            data = {"reason": reason}
            tx.append(settle.CANCEL_TASK, run=run_id, task=task.id, data=data)
    return True


def find_stop(tx: Reader, run_id: str) -> dict[str, Any]:
    """Return what stopped a run, as long as nobody has let it go on; empty when nothing did."""
    last = tx.events(run=run_id, kinds=(STOPPED, "run.resumed"), newest=True, limit=1)
    if not last or last[0].kind != STOPPED:
        return {}
    return {"condition": "", "reason": "", **last[0].data, "event": last[0].id, "at": last[0].at}


@dataclass(slots=True)
class Streaks:
    """Tasks that ended badly one after the other, in the order of their ends."""

    failed: int = 0
    unsure: int = 0
    idle: int = 0

    def note(self, task: TaskRecord, conditions: Conditions) -> None:
        """A task has come to its end."""
        if task.state not in ("succeeded", "failed"):
            return
        self.failed = self.failed + 1 if task.state == "failed" else 0
        sure = getattr(task, "confidence", None)
        if sure is not None:
            self.unsure = self.unsure + 1 if float(sure) < conditions.confidence else 0
        changed = bool(task.tree) and task.tree != task.base_tree
        self.idle = 0 if changed else self.idle + 1

    def find(self, conditions: Conditions, last: TaskRecord) -> tuple[str, str]:
        """Return which condition holds now, and why in words; empty for none."""
        found = (
            (FAILURES, self.failed, conditions.failures, "tasks failed one after the other"),
            (CONFIDENCE, self.unsure, conditions.low_confidence,
             f"tasks in a row were done with less than {conditions.confidence:.0%} confidence"),
            (PROGRESS, self.idle, conditions.no_progress, "tasks in a row changed nothing"),
        )  # fmt: skip
        for condition, count, most, words in found:
            if most and count >= most:
                return condition, f"stopped: {count} {words}; the last one is {last.id}"
        return "", ""
