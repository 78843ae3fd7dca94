"""The time of questions: it runs only while somebody hosts the engine.

A host leaves its mark (the time of change of a file) every few seconds, and when it stops. Who hosts next moves the end of
every open question by the time in between; so does a host whose own mark is too old, because the machine slept or its clock
was set. Moving it is a row and an event like all else, and happens before anything expires.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.gate.timing import expire, move_end, next_due, remind
from nightcrew.host.clock import Clock, parse_stamp, stamp
from nightcrew.model.records import ApprovalRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader, Writer

MARK: Final = "engine.beat"
ASLEEP_S: Final = 60.0
"""A mark this old was not made by a host that was awake all the time."""


def last_beat(state_dir: Path) -> str:
    """Return when a host was last seen, as a stamp; empty when there was none yet."""
    try:
        at = (state_dir / MARK).stat().st_mtime
    except OSError:
        return ""
    return stamp(datetime.fromtimestamp(at, UTC))


class Deadlines:
    """The mark of one host.

    Args:
        journal, clock: the usual. state_dir: where the mark is.
    """

    def __init__(self, journal: Journal, clock: Clock, state_dir: Path) -> None:
        self._journal = journal
        self._clock = clock
        self._state_dir = state_dir

    def begin(self) -> None:
        """Move the end of every question by the time in which nobody hosted; this process does from now on."""
        before, now = last_beat(self._state_dir), stamp(self._clock.now())
        self._mark(now)
        self._move(before, now, "nobody hosted the engine")

    def beat(self) -> None:
        """Leave the mark; a long time since the last one was no time that anybody could have used."""
        before, now = last_beat(self._state_dir), stamp(self._clock.now())
        self._mark(now)
        gap_s = (parse_stamp(now) - parse_stamp(before)).total_seconds() if before else 0.0
        if gap_s > ASLEEP_S:
            self._move(before, now, "this machine was asleep, or its clock was set")

    def _mark(self, now: str) -> None:
        path = self._state_dir / MARK
        at = parse_stamp(now).timestamp()
        try:
            path.touch(mode=0o600)
            os.utime(path, (at, at))
        except OSError:
            # A full or read-only disk: the host has bigger trouble, and questions get more time, not less.
            return

    def _move(self, since: str, until: str, reason: str) -> None:
        with self._journal.read() as tx:
            names = [each.id for each in find_timed(tx)]
        if not names:
            return
        with self._journal.write() as tx:
            for name in names:
                record = tx.need(ApprovalRecord, name)
                moved = move_end(record, since, until)
                if moved.expires_at == record.expires_at:
                    continue
                by_s = (parse_stamp(moved.expires_at) - parse_stamp(record.expires_at)).total_seconds()
                data = {"by_s": round(by_s, 1), "expires_at": moved.expires_at, "reason": reason}
                tx.change(record, "approval.extended", data=data, expires_at=moved.expires_at)


def find_timed(tx: Reader) -> list[ApprovalRecord]:
    """Return the open questions that have an end."""
    return [each for each in tx.find(ApprovalRecord, state="pending") if each.expires_at]


def pass_time(tx: Writer, record: ApprovalRecord, now: str) -> ApprovalRecord:
    """Return a question as it is at a time: reminded of, or over; what changed is written."""
    ended = expire(record, now)
    if ended != record:
        return _end(tx, record, ended)
    reminded = remind(record, now)
    if reminded == record:
        return record
    left_s = (parse_stamp(record.expires_at) - parse_stamp(now)).total_seconds()
    data = {"percent": reminded.reminded, "left_s": round(left_s, 1), "expires_at": record.expires_at}
    return tx.change(record, "approval.reminded", data=data, reminded=reminded.reminded)


def _end(tx: Writer, record: ApprovalRecord, ended: ApprovalRecord) -> ApprovalRecord:
    if ended.state == "pending":
        data = {"reason": "nobody answered in time; it goes on waiting"}
        return tx.change(record, "approval.waits_on", data=data, expires_at="", reminded=ended.reminded)
    kind = "approval.expired" if ended.state == "expired" else "approval.decided"
    data = {"answer": ended.state, "via": "timeout", "digest": ended.digest, "action": ended.shown}
    return tx.change(
        record,
        kind,
        actor="policy",
        data=data if ended.state == "approved" else None,
        state=ended.state,
        decided_at=ended.decided_at,
        decided_by=ended.decided_by,
        decided_via=ended.decided_via,
        scope=ended.scope,
        uses=ended.uses,
    )


def when_due(records: list[ApprovalRecord]) -> str:
    """Return when something is to be done about one of these questions next; empty for never."""
    return min((at for record in records if (at := next_due(record))), default="")
