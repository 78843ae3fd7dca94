"""Where an attempt begins from: nothing, what a person or a pause interrupted, or the best that a lost one left. Only rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nightcrew.engine.course import rerouting
from nightcrew.model.records import AttemptRecord, CheckpointRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer


@dataclass(frozen=True, slots=True)
class Start:
    """What an attempt begins from.

    Attributes:
        shadow: name of the shadow to go on in; empty for a new one.
        lower: tree that its read-only layers hold.
        checkpoint: id of the checkpoint to begin from, when the shadow is gone or must not be trusted.
        asked: what must be decided before the agent starts was decided; the answers are used up.
        captured: the agent's work is done and stands in ``checkpoint``; only judging is left.
        agent: progress as the adapter reported it.
    """

    shadow: str = ""
    lower: str = ""
    checkpoint: str = ""
    asked: bool = False
    captured: bool = False
    agent: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Start:
        """Return the start that was stored as ``plain``."""
        return cls(**plain)


def name_attempt(task: str, number: int) -> str:
    """Return the id of an attempt: ``R-7/T04/2``."""
    return f"{task}/{number}"


def choose_start(tx: Writer, task: TaskRecord, number: int, fallback_from: str) -> Start:
    """A parked or paused attempt is gone on with; a lost one from where it can be, but never in its own shadow.

    From nothing, a fork begins with the checkpoint it was made of.
    """
    before = tx.get(AttemptRecord, name_attempt(task.id, number - 1))
    if before is None or before.progress["generation"] != task.generation:
        return Start(checkpoint=task.forked_from)
    if before.state in ("parked", "paused"):
        start = Start.read(before.progress["resume"])
        # Another agent goes on with what is there; how far this one was in its own conversation means nothing to it.
        return (
            start
            if task.agent == before.agent or not before.transcript
            else replace(start, shadow="", agent={})
        )
    if before.state == "lost":
        return recover(tx, before)
    first = rerouting.find_predecessor(tx, task, number) if fallback_from == "checkpoint" else None
    left = find_left(tx, first) if first is not None else None
    return Start(checkpoint=left.id if left is not None else task.forked_from)


def find_left(tx: Reader, attempt: AttemptRecord) -> CheckpointRecord | None:
    """Return the best checkpoint of an attempt that did not come to its end: what it left, else the last between two actions."""
    left = tx.get(CheckpointRecord, str(attempt.progress.get("checkpoint", "")))
    return left if left is not None and not left.pruned else find_boundary(tx, attempt)


def recover(tx: Reader, attempt: AttemptRecord) -> Start:
    """Return where to go on after an attempt whose shadow cannot be trusted.

    That is judging when its agent was done, else the last checkpoint between two of its actions, else where it had begun.
    """
    begun = Start.read(attempt.progress["start"])
    if attempt.progress["phase"] == "captured":
        return Start(
            checkpoint=attempt.progress.get("checkpoint") or begun.checkpoint, asked=True, captured=True
        )
    last = find_boundary(tx, attempt)
    if last is not None:
        return Start(checkpoint=last.id, asked=True, agent=last.progress)
    return replace(begun, shadow="")


def find_boundary(tx: Reader, attempt: AttemptRecord) -> CheckpointRecord | None:
    """Return the last checkpoint of an attempt that was taken between two actions of its agent."""
    found = tx.find(CheckpointRecord, attempt=attempt.id)
    return next((each for each in reversed(found) if each.between and not each.pruned), None)
