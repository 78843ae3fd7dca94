"""Reading the journal: logs, events, verification, and which run a person means by "go on"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NotFound, StaleError
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import RunRecord
from nightcrew.runtime.views import run_of, view_event

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

_LOOK_S: Final = 0.5


def log(parts: Parts, name: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield the events of a run or task; with ``follow`` until its run is over."""
    run, task, seq = run_of(name), name if "/" in name else "", 0
    while True:
        with parts.journal.read() as tx:
            events = tx.events(after=seq, run=run, task=task)
            over = tx.need(RunRecord, run).state in RUN_FINAL
            seq = tx.last_seq()
        yield from (view_event(event) for event in events)
        if over or not follow:
            return
        parts.journal.wait(seq, _LOOK_S)


def events(parts: Parts, *, after: int, kinds: Sequence[str], follow: bool) -> Iterator[dict[str, Any]]:
    """Yield all events after a number; with ``follow`` without end."""
    seq = after
    while True:
        with parts.journal.read() as tx:
            found = tx.events(after=seq, kinds=tuple(kinds))
            seq = max(seq, tx.last_seq())
        yield from (view_event(event) for event in found)
        if not follow:
            return
        parts.journal.wait(seq, _LOOK_S)


def find_resumable(parts: Parts, name: str) -> str:
    """Return the run to go on with.

    Raises:
        StaleError: the one named is over, or its plan is not approved.
        NotFound: nothing is open.
    """
    with parts.journal.read() as tx:
        if name:
            return _check_resumable(tx.need(RunRecord, name))
        found = tx.find(RunRecord, state=("approved", "running", "paused"), newest=True, limit=1)
    if not found:
        raise NotFound("no run can go on", code="run.none", hint="nightcrew ps --all")
    return found[0].id


def _check_resumable(run: RunRecord) -> str:
    if run.state == "awaiting_approval":
        raise StaleError(
            f"the plan of {run.id} is not approved yet",
            code="plan.waiting",
            hint=f"nightcrew approve {run.id}",
        )
    if run.state in RUN_FINAL:
        reopen = run.state in ("in_review", "partially_promoted", "failed")
        again = f"   run one task again: nightcrew retry {run.id}/T.." if reopen else ""
        raise StaleError(
            f"{run.id} is {run.state}; there is nothing to go on with",
            code="run.over",
            hint=f"nightcrew review {run.id}{again}",
        )
    return run.id
