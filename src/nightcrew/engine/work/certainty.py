"""How sure an agent says it is of its work: kept, shown, and never a reason to allow anything.

It is the last line ``confidence: 0.8`` (or ``80 %``) of what an attempt printed. What follows from it says the task's role:
a result may need a look, or a yes, or fail; a high number, or none, opens nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.agents.transcript import read_last_lines
from nightcrew.model.actions import Finding, Verdict
from nightcrew.model.records import AttemptRecord, TaskRecord
from nightcrew.policy.roles.putting import CONFIDENCE, REVIEW

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer
    from nightcrew.policy.roles.role import Confidence
    from nightcrew.policy.rules import Placed, Policy

_LINES: Final = 100
_SAID: Final = re.compile(
    r"[\W_]*confidence[\s*_`]*[:=][\s*_`]*(?P<number>[0-9]{1,3}(?:\.[0-9]{1,6})?)[ \t]*(?P<percent>%?)[\W_]*\Z",
    re.IGNORECASE,
)


def parse_certainty(lines: list[str]) -> float | None:
    """Return the number in the last line that says one, 0 to 1; None for none, or for one that is no such number."""
    for line in reversed(lines):
        found = _SAID.match(line.strip()) if len(line) < 200 else None
        if found is not None:
            number = float(found["number"]) / (100 if found["percent"] else 1)
            return number if 0 <= number <= 1 else None
    return None


def note(tx: Writer, attempt: AttemptRecord, pending: str) -> float | None:
    """Write down how sure the agent of an attempt said it is, and return it.

    Args:
        pending: a last line without an end, which is not in the transcript yet.
    """
    said = parse_certainty([*read_last_lines(Path(attempt.transcript), limit=_LINES), *pending.splitlines()])
    task = tx.need(TaskRecord, attempt.task)
    if task.confidence != said:
        tx.change(task, "", confidence=said)
    return said


def doubt(journal: Journal, policy: Policy, attempt: AttemptRecord) -> tuple[Finding, ...]:
    """Return what the role of a task makes of how sure its agent is, and that its result needs a look of its own."""
    placed: Placed[Confidence] | None = policy.settings.get(CONFIDENCE)
    found = []
    if placed is not None:
        with journal.read() as tx:
            said = tx.need(TaskRecord, attempt.task).confidence
        verdict, words = _weigh(said, placed.value)
        if words:
            found.append(Finding("role", verdict, CONFIDENCE, placed.source, words))
    review: Placed[bool] | None = policy.settings.get(REVIEW)
    if review is not None and review.value:
        words = "its role wants each result to be accepted by its own id"
        found.append(Finding("role", Verdict.ALLOW, REVIEW, review.source, words))
    return tuple(found)


def _weigh(said: float | None, wanted: Confidence) -> tuple[Verdict, str]:
    if said is None:
        return Verdict.ALLOW, "its agent did not say how sure it is"
    words = f"its agent says it is {said:.0%} sure"
    if said >= wanted.auto:
        return Verdict.ALLOW, ""
    if said >= wanted.flag:
        return Verdict.ALLOW, f"{words}, less than {wanted.auto:.0%}"
    if said >= wanted.ask:
        return Verdict.ASK, f"{words}, less than {wanted.flag:.0%}"
    return Verdict.DENY, f"{words}, less than {wanted.ask:.0%}: too little for its role"
