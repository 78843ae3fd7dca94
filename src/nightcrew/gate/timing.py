"""The time that a question has: reminders, its end, and what follows when nobody answers.

The time runs only while somebody hosts the engine: what nobody could be told of must not run out. Who hosts again
moves the end by the time that was lost (``move_end``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from nightcrew.gate.answering import is_overdue
from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.records import ApprovalRecord

REMINDERS: Final = (50, 90)
"""When a person is reminded, in percent of the time that a question has."""
OVER: Final = 100
"""What ``reminded`` is once the time is over and the question waits on."""


def expire(record: ApprovalRecord, now: str) -> ApprovalRecord:
    """Return the question as it is when its time is over, else as it is.

    ``deny``: expired. ``park``: pending without an end. ``allow``: a yes for once, where nothing but silence is against it.
    """
    if not is_overdue(record, now):
        return record
    if record.on_timeout in ("park", "pause"):
        return replace(record, expires_at="", reminded=OVER)
    if record.on_timeout == "allow" and _may_pass(record):
        return replace(
            record,
            state="approved",
            decided_at=now,
            decided_by="policy",
            decided_via="timeout",
            scope="once",
            uses=1,
        )
    return replace(record, state="expired", decided_at=now, decided_by="policy", decided_via="timeout")


def _may_pass(record: ApprovalRecord) -> bool:
    """Tell whether silence may be a yes; the policy reader refuses all else, this is for what was written otherwise."""
    asks_more = record.quorum > 1 or record.approvers or record.not_requester or record.need_reason
    return record.risk == "low" and record.kind == "action" and not asks_more and not record.factor


def remind(record: ApprovalRecord, now: str) -> ApprovalRecord:
    """Return the question with the reminder that is due noted in ``reminded``, else as it is."""
    due = [each for each in REMINDERS if each > record.reminded and now >= _at(record, each)]
    if not due or record.state != "pending" or not record.expires_at or is_overdue(record, now):
        return record
    return replace(record, reminded=due[-1])


def next_due(record: ApprovalRecord) -> str:
    """Return when something is to be done about a pending question next; empty for never."""
    if record.state != "pending" or not record.expires_at:
        return ""
    left = [_at(record, each) for each in REMINDERS if each > record.reminded]
    return min([record.expires_at, *left])


def _at(record: ApprovalRecord, percent: int) -> str:
    if not record.expires_at or not record.timeout_s:
        return "~"  # after every time
    left_s = record.timeout_s * (100 - percent) / 100
    return stamp(parse_stamp(record.expires_at) - timedelta(seconds=left_s))


def move_end(record: ApprovalRecord, since: str, until: str) -> ApprovalRecord:
    """Return a pending question with its end moved by the time between two moments, as far as it was open then."""
    if record.state != "pending" or not record.expires_at:
        return record
    begun = max(since, record.requested_at)
    lost = parse_stamp(until) - parse_stamp(begun)
    if lost <= timedelta(0):
        return record
    return replace(record, expires_at=stamp(parse_stamp(record.expires_at) + lost))
