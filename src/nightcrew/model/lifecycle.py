"""States and the moves between them, as tables.

A run is one execution of one plan. ``interrupted`` is never stored: it is what a person sees when a run is
``running`` and no process hosts the engine. A waiting task (``awaiting_approval``, ``awaiting_answer``) holds no
slot and no thread; it goes back to ``pending`` when the answer is there. So does a ``paused`` one when somebody resumes
it; a paused run starts nothing, and what ran in it is paused task by task. ``finished`` of a run means that every
task is in a final state; what a person decides afterwards (review, promotion) moves it on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Table = Mapping[str, frozenset[str]]


def _table(**moves: str) -> Table:
    return {state: frozenset(targets.split()) for state, targets in moves.items()}


RUN: Final = _table(
    draft="awaiting_approval failed cancelled",
    awaiting_approval="approved cancelled failed",
    approved="running cancelled failed awaiting_approval",
    running="paused in_review failed cancelled completed_empty",
    paused="running cancelled failed",
    in_review="partially_promoted promoted rejected running",
    partially_promoted="partially_promoted promoted in_review running",
    promoted="partially_promoted in_review",
    completed_empty="",
    rejected="in_review",
    failed="running",
    cancelled="",
)

TASK: Final = _table(
    pending="running blocked skipped cancelled awaiting_approval failed paused",
    running="pending awaiting_approval awaiting_answer succeeded failed cancelled paused",
    paused="pending cancelled",
    awaiting_approval="pending running failed cancelled succeeded",
    awaiting_answer="pending running failed cancelled",
    succeeded="pending",
    failed="pending",
    blocked="pending cancelled skipped",
    skipped="",
    cancelled="pending",
)

ATTEMPT: Final = _table(
    starting="running failed killed lost parked paused",
    running="succeeded failed timed_out killed lost parked paused",
    parked="",
    paused="",
    succeeded="",
    failed="",
    timed_out="",
    killed="",
    lost="",
)

APPROVAL: Final = _table(
    pending="approved answered denied expired cancelled superseded",
    approved="",
    answered="",
    denied="",
    expired="",
    cancelled="",
    superseded="",
)

PROMOTION: Final = _table(
    prepared="published aborted exported",
    published="undone",
    aborted="",
    exported="",
    undone="published",
)

BREAKER: Final = _table(
    closed="open",
    open="half_open closed",
    half_open="open closed",
)

TABLES: Final[Mapping[str, Table]] = {
    "run": RUN,
    "task": TASK,
    "attempt": ATTEMPT,
    "approval": APPROVAL,
    "promotion": PROMOTION,
    "breaker": BREAKER,
}

TASK_FINAL: Final = frozenset({"succeeded", "failed", "blocked", "skipped", "cancelled"})
TASK_WAITING: Final = frozenset({"awaiting_approval", "awaiting_answer"})
RUN_FINAL: Final = frozenset(
    {"in_review", "partially_promoted", "promoted", "rejected", "failed", "cancelled", "completed_empty"}
)
ATTEMPT_FINAL: Final = frozenset({"succeeded", "failed", "timed_out", "killed", "lost", "parked", "paused"})


class IllegalMove(Exception):
    """A state machine was asked for a move its table does not have (a defect of ours, never of the user)."""

    def __init__(self, machine: str, name: str, old: str, new: str) -> None:
        super().__init__(f"{machine} {name}: no move from {old!r} to {new!r}")
        self.machine, self.name, self.old, self.new = machine, name, old, new


def check_move(machine: str, name: str, old: str, new: str) -> None:
    """Raise IllegalMove unless the table of ``machine`` allows ``old`` → ``new`` for the thing ``name``."""
    if new not in TABLES[machine].get(old, frozenset()):
        raise IllegalMove(machine, name, old, new)
