"""What a function that is asked questions gets, and what it says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from nightcrew.model.records import ApprovalRecord


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a person, as a callback gets it.

    Attributes:
        id: ``A-19``. kind, run, task, risk, requester: as in ``nightcrew show A-19 --json``.
        action: the exact text that an answer is about; ``digest`` what it is bound to.
        rule, source, reason: why it is asked.
        asked_at, expires_at: times, the second one empty for never.
        quorum: so many people must say yes. factor: second factor that a yes needs, which no program has.
    """

    id: str
    kind: str
    run: str
    task: str
    action: str
    rule: str
    source: str
    reason: str
    risk: str
    digest: str
    requester: str
    asked_at: str
    expires_at: str
    quorum: int
    factor: str

    @classmethod
    def of(cls, record: ApprovalRecord) -> Question:
        """Return the question of a record."""
        named: dict[str, Any] = {"action": record.shown, "asked_at": record.requested_at}
        names = [each.name for each in fields(cls)]
        return cls(**{name: named.get(name, getattr(record, name, "")) for name in names})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a callback says."""

    answer: Literal["approved", "denied"]
    reason: str = ""
    scope: Literal["once", "task", "run"] = "once"

    @classmethod
    def approve(cls, reason: str = "", scope: Literal["once", "task", "run"] = "once") -> Reply:
        """Say yes."""
        return cls("approved", reason, scope)

    @classmethod
    def deny(cls, reason: str) -> Reply:
        """Say no; the reason is told to the agent."""
        return cls("denied", reason)


Callback = Callable[[Question], "Reply | Awaitable[Reply | None] | None"]


@dataclass(frozen=True)
class Registered:
    """A callback and how long it may take."""

    callback: Callback
    timeout_s: float
