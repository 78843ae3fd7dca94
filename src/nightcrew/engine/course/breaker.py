"""The circuit breaker of each agent: one that fails again and again is left alone for a while, over all runs of this machine.

| state | what may start | what moves it |
|---|---|---|
| `closed` | everything | FAILURES within WINDOW_S, two that came fast, or one that will not pass by itself: `open` |
| `open` | nothing of this agent, or its fallback | after RESET_S: `half_open` |
| `half_open` | one attempt | it ends well: `closed`; it fails: `open`, for twice as long, up to LONGEST_S |

Only failures of the agent itself count (see COUNTS): what it made being refused says nothing about whether it works. The agents that
are built in (`command`, `script`) have none: each task brings its own command. A breaker is a row, so it outlives its host; an
attempt that is let through to try and dies with its host counts for nothing, and the next one tries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.records import BreakerRecord
from nightcrew.model.settings import Breaking

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Failure classes that are the agent's own. What a setting or a task makes impossible (``unusable``) is not: it is mended
#: by the person, and the next attempt must show that at once.
COUNTS: Final = frozenset({"spawn", "agent", "idle", "provider_down", "provider_refused", "loop"})
#: It came to its end as it should; what it made was not good enough.
WORKED: Final = frozenset({"acceptance"})
#: Those that will not pass by themselves: they open it at once.
LASTING: Final = frozenset({"provider_refused"})
#: An attempt that fails within this long counts as fast.
FAST_S: Final = 5.0
#: However often it opens, it lets one attempt through after this long.
LONGEST_S: Final = 1800.0
WITHOUT: Final = frozenset({"command", "script"})

#: Kinds of events. They belong to no run: an agent is the same in all of them.
OPENED: Final = "breaker.opened"
TRIED: Final = "breaker.half_opened"
CLOSED: Final = "breaker.closed"


@dataclass(frozen=True, slots=True)
class Breaker:
    """How the breaker of an agent stands.

    Attributes:
        state: ``closed``, ``open`` or ``half_open``. until: stamp of when one attempt may try; empty when it may now.
        failures: that count at the moment. reason: why it opened, in words.
    """

    state: str = "closed"
    until: str = ""
    failures: int = 0
    reason: str = ""


def read_breakers(tx: Reader) -> Mapping[str, Breaker]:
    """Return how the breakers stand that are not closed, by agent."""
    found = tx.find(BreakerRecord, state=("open", "half_open"))
    return {each.id: Breaker(each.state, each.until, len(each.failures), each.reason) for each in found}


def find_hold(tx: Reader, agent: str, now: datetime) -> tuple[str, str]:
    """Return until when (a stamp) an agent may start nothing, and why; empty when it may."""
    record = tx.get(BreakerRecord, agent) if agent not in WITHOUT else None
    if record is None or record.state == "closed":
        return "", ""
    if record.state == "open" and stamp(now) >= record.until:
        return "", ""
    why = f"{agent} is left alone until {record.until[11:16]} UTC: {record.reason}"
    if record.state == "half_open":
        return stamp(now + timedelta(seconds=1)), f"{agent} is tried with {record.trial}: {record.reason}"
    return record.until, why


def let_try(tx: Writer, agent: str, task: str, now: datetime) -> bool:
    """Take the one attempt that an open breaker lets through after its time; True where nothing is held at all."""
    if agent in WITHOUT:
        return True
    record = tx.get(BreakerRecord, agent)
    if record is None or record.state == "closed":
        return True
    if record.state == "open" and stamp(now) >= record.until:
        tx.change(record, TRIED, data={"agent": agent, "task": task}, state="half_open", trial=task)
        return True
    return record.state == "half_open" and record.trial == task


def note_success(tx: Writer, agent: str, task: str) -> None:
    """An agent has done what it was asked: what failed before is forgotten."""
    record = tx.get(BreakerRecord, agent) if agent not in WITHOUT else None
    if record is None:
        return
    if record.state == "closed":
        if record.failures:
            tx.change(record, "", failures=(), openings=0)
        return
    data = {"agent": agent, "task": task}
    tx.change(
        record, CLOSED, data=data, state="closed", failures=(), until="", trial="", openings=0, reason=""
    )


def note_failure(
    tx: Writer, agent: str, failure: str, reason: str, *, task: str, began: str, now: str, settings: Breaking
) -> bool:
    """An attempt of an agent has failed; returns whether its breaker is open now.

    Args:
        failure: its class. reason: in words. began, now: stamps.
    """
    if agent in WITHOUT or not settings.failures:
        return False
    if failure in WORKED:
        note_success(tx, agent, task)
        return False
    record = tx.get(BreakerRecord, agent)
    if failure not in COUNTS:
        return _free_trial(tx, record, task, now)
    if record is None:
        record = tx.add(BreakerRecord(agent, "closed"), "breaker.made", data={"agent": agent})
    moment = parse_stamp(now)
    young = stamp(moment - timedelta(seconds=settings.window_s))
    failures = (*(each for each in record.failures if each >= young), now)
    fast = bool(began) and (moment - parse_stamp(began)).total_seconds() < FAST_S
    pair = fast and len(failures) >= 2 and failures[-2] >= began
    trips = failure in LASTING or pair or len(failures) >= settings.failures
    if record.state == "open" or (record.state == "closed" and not trips):
        tx.change(record, "", failures=failures)
        return record.state == "open"
    openings = record.openings + 1
    wait_s = min(max(LONGEST_S, settings.reset_s), settings.reset_s * 2 ** (openings - 1))
    until = stamp(moment + timedelta(seconds=wait_s))
    data = {
        "agent": agent, "failures": len(failures), "failure": failure, "reason": reason, "until": until,
        "task": task, "wait_s": wait_s,
    }  # fmt: skip
    tx.change(
        record, OPENED, data=data, state="open", failures=failures, until=until, trial="", openings=openings,
        reason=f"{failure}: {reason}",
    )  # fmt: skip
    return True


def _free_trial(tx: Writer, record: BreakerRecord | None, task: str, now: str) -> bool:
    """What was tried says nothing about the agent: the next attempt tries again, at once."""
    if record is None or record.state == "closed":
        return False
    if record.state == "half_open" and record.trial == task:
        data = {"agent": record.id, "until": now, "reason": record.reason, "failures": len(record.failures)}
        tx.change(record, OPENED, data=data, state="open", until=now, trial="")
    return False


def reset(tx: Writer, agent: str, *, actor: str) -> bool:
    """Close a breaker because a person says so; returns whether it was open."""
    record = tx.get(BreakerRecord, agent)
    if record is None or record.state == "closed":
        return False
    data = {"agent": agent, "by": actor}
    tx.change(
        record, CLOSED, actor=actor, data=data, state="closed", failures=(), until="", trial="", openings=0,
        reason="",
    )  # fmt: skip
    return True
