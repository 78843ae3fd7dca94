"""How an attempt ended, in words and as a class of failure."""

from __future__ import annotations

import errno
import logging
from typing import Final

from nightcrew.engine.course.attempts import Failure
from nightcrew.model.errors import (
    LimitReached,
    NightcrewError,
    NotAuthenticated,
    SandboxUnavailable,
    UsageError,
)
from nightcrew.model.isolation import Outcome

LOG: Final = logging.getLogger("nightcrew.engine")


def describe_ending(outcome: Outcome) -> str:
    """Return how a process ended, in words."""
    if outcome.ending == "exited":
        return f"exit code {outcome.exit_code} after {outcome.duration_s:.1f} s"
    return outcome.detail or f"{outcome.ending.replace('_', ' ')} after {outcome.duration_s:.1f} s"


def classify_problem(problem: Exception) -> Failure:
    """Return the failure that an exception amounts to; a defect of ours goes to the log with its traceback."""
    match problem:
        case SandboxUnavailable():
            return Failure("isolation", problem.message)
        case UsageError() | NotAuthenticated():
            return Failure("unusable", problem.message)
        case LimitReached():
            return Failure("disk", problem.message)
        case NightcrewError():
            LOG.warning("attempt failed: %s", problem.message, exc_info=problem)
            return Failure("internal", "; ".join([problem.message, *problem.where]))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return Failure("disk", f"the disk of the state directory is full: {problem}")
        case _:
            LOG.error("defect in an attempt", exc_info=problem)
            return Failure("internal", f"a defect in nightcrew: {type(problem).__name__}: {problem}")
