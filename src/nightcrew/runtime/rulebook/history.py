"""Decisions of the past, made anew from the journal so that they can be judged again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import stamp
from nightcrew.model.actions import Action
from nightcrew.model.events import Event
from nightcrew.model.records import ApprovalRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

DECIDED: Final = "policy.decided"
"""Kind of the events that tell of decisions."""


@dataclass(frozen=True, slots=True)
class Past:
    """One decision that was made.

    Attributes:
        event: where it is recorded. action: what it was about, made anew from that.
        exact: it is the very same action; otherwise a secret was taken out of it before it was recorded.
        role: of the task that wanted it; empty for none.
    """

    event: Event
    action: Action
    exact: bool
    role: str = ""

    @property
    def verdict(self) -> str:
        """What was decided then."""
        return str(self.event.data["verdict"])

    @property
    def question(self) -> tuple[str, str]:
        """What makes two questions the same one: a person is asked once for it."""
        return (self.event.task, str(self.event.data["digest"]))


@dataclass(frozen=True, slots=True)
class History:
    """What was decided in a time.

    Attributes:
        past: decisions, oldest first. changes: questions about whole changes, which cannot be judged again.
        answers: task and digest → how a person answered.
    """

    past: tuple[Past, ...]
    changes: int
    answers: Mapping[tuple[str, str], str]


def read_history(parts: Parts, *, since_s: float = 0.0, run: str = "") -> History:
    """Return what was decided in the runs of the repository around here (of all, where there is none).

    Args:
        since_s: how far back, in seconds; 0 for everything.
        run: only of this run.
    """
    repository = parts.find_here()
    after = stamp(parts.clock.now() - timedelta(seconds=since_s)) if since_s else ""
    with parts.journal.read() as tx:
        mine = _find_runs(tx, repository.key if repository else "")
        events = [
            event
            for event in tx.events(run=run, kinds=(DECIDED,))
            if event.at >= after and (run or event.run in mine)
        ]
        answers = {
            (each.task, each.digest): each.state
            for each in tx.find(ApprovalRecord)
            if each.state in ("approved", "denied", "expired")
        }
        roles = {
            task.id: task.role
            for run in {event.run for event in events}
            for task in tx.find(TaskRecord, run=run)
            if task.role
        }
    past = [
        replace(found, role=roles.get(event.task, ""))
        for event in events
        if (found := read_past(event)) is not None
    ]
    return History(tuple(past), sum(event.data["kind"] == "change" for event in events), answers)


def _find_runs(tx: Reader, key: str) -> frozenset[str]:
    return frozenset(run.id for run in tx.find(RunRecord) if not key or run.repo_key == key)


def read_past(event: Event) -> Past | None:
    """Return the decision that an event tells of; None when it was about a whole change, which rests on its contents."""
    data = event.data
    kind, purpose = str(data["kind"]), str(data["purpose"])
    if kind == "exec":
        action = Action(kind, command=str(data["action"]), purpose=purpose)
    elif kind != "change" and "paths" in data:
        action = Action(kind, paths=tuple(data["paths"]), purpose=purpose, detail=str(data["detail"]))
    else:
        return None
    # The content of a written file is not recorded, and no rule looks at it before it is there.
    same = action.digest == data["digest"] or kind in ("write", "append")
    return Past(event, action, same)
