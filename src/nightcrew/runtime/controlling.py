"""Changing the course of a run: cancel, run a task again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightcrew.host.clock import stamp
from nightcrew.model.ids import find_origin, split_task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.runtime.money.budgeting import refuse_exhausted
from nightcrew.runtime.money.stopping import forget_past
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.views import tasks_of

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def cancel(parts: Parts, name: str, *, reason: str) -> tuple[str, ...]:
    """Cancel a run or a task and return, when its agents are dead, the ids of the tasks that were cancelled.

    Raises:
        StaleError: it is over already.
        EngineUnavailable: the host did not answer in time; the request is recorded.
    """
    from nightcrew.engine import client

    need_person(parts, "plan")
    actor = f"user:{parts.env.user}"
    return client.cancel(
        parts.journal, name, actor=actor, reason=reason, state_dir=parts.env.state, clock=parts.clock
    )


def pause(parts: Parts, name: str, *, reason: str) -> tuple[str, ...]:
    """Pause a run or a task and return, when nothing of it runs any more, the ids of the tasks that are paused.

    Raises:
        StaleError: it is over, waits for a human, or is paused already.
        EngineUnavailable: the host did not answer in time; the request is recorded.
    """
    from nightcrew.engine import client

    need_person(parts, "plan")
    actor = f"user:{parts.env.user}"
    return client.pause(
        parts.journal, name, actor=actor, reason=reason, state_dir=parts.env.state, clock=parts.clock
    )


def resume(parts: Parts, name: str) -> tuple[str, ...]:
    """Let a run go on if it is paused, or a paused task; return the ids of the tasks that were paused.

    Raises:
        LimitReached: its budget is spent.
        StaleError: the task is not paused, or its whole run is.
    """
    from nightcrew.engine import client

    if "/" not in name:
        with parts.journal.read() as tx:
            if tx.need(RunRecord, name).state != "paused":
                return ()
    need_person(parts, "plan")
    with parts.journal.write() as tx:
        refuse_exhausted(parts, tx, name)
        if "/" not in name:
            actor = f"user:{parts.env.user}"
            forget_past(tx, tx.need(RunRecord, name), stamp(parts.clock.now()), actor)
    return client.resume(parts.journal, name, actor=f"user:{parts.env.user}")


def retry(parts: Parts, name: str, *, dependents: bool = False) -> tuple[str, ...]:
    """Have a task run again from the start, with everything that was blocked by it; return the task ids.

    Args:
        dependents: also what has a result that was built on its own; what of it is promoted, or runs, is left as it is.

    Raises:
        StaleError: it runs or waits now, is promoted, or its run is over for good.
    """
    from nightcrew.engine import client

    need_person(parts, "plan")
    actor = f"user:{parts.env.user}"
    with parts.journal.read() as tx:
        run = tx.need(TaskRecord, name).run
        task = find_origin(split_task(name)[1])
        behind = [
            each for each in tasks_of(tx, run) if each.id != name and task in map(find_origin, each.built_on)
        ]
    again = client.retry(parts.journal, name, actor=actor, clock=parts.clock)
    for each in behind if dependents else ():
        if each.state in client.AGAIN and not each.promoted:
            again += client.retry(parts.journal, each.id, actor=actor, clock=parts.clock)
    return tuple(dict.fromkeys(again))
