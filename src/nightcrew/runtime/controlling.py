"""Changing the course of a run: cancel, run a task again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightcrew.model.records import RunRecord

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def cancel(parts: Parts, name: str, *, reason: str) -> tuple[str, ...]:
    """Cancel a run or a task and return, when its agents are dead, the ids of the tasks that were cancelled.

    Raises:
        StaleError: it is over already.
        EngineUnavailable: the host did not answer in time; the request is recorded.
    """
    from nightcrew.engine import client

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

    actor = f"user:{parts.env.user}"
    return client.pause(
        parts.journal, name, actor=actor, reason=reason, state_dir=parts.env.state, clock=parts.clock
    )


def resume(parts: Parts, name: str) -> tuple[str, ...]:
    """Let a run go on if it is paused, or a paused task; return the ids of the tasks that were paused.

    Raises:
        StaleError: the task is not paused, or its whole run is.
    """
    from nightcrew.engine import client

    if "/" not in name:
        with parts.journal.read() as tx:
            if tx.need(RunRecord, name).state != "paused":
                return ()
    return client.resume(parts.journal, name, actor=f"user:{parts.env.user}")


def retry(parts: Parts, name: str) -> tuple[str, ...]:
    """Have a task run again from the start, with everything that was blocked by it; return the task ids.

    Raises:
        StaleError: it runs or waits now, is promoted, or its run is over for good.
    """
    from nightcrew.engine import client

    return client.retry(parts.journal, name, actor=f"user:{parts.env.user}", clock=parts.clock)
