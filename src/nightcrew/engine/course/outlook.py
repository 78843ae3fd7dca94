"""What a run was last told of: coming conflicts and drift, read back from the journal. Light: lists of runs use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader

#: Kinds of events: two tasks will collide at these paths; they will not any more.
FORECAST: Final = "conflict.forecast"
CLEARED: Final = "conflict.cleared"
#: Kinds of events: the user's changes since the base commit are now these; there are none any more.
DETECTED: Final = "drift.detected"
GONE: Final = "drift.gone"

Pair = tuple[str, str]


def read_forecasts(tx: Reader, run_id: str) -> dict[Pair, tuple[str, ...]]:
    """Return the collisions that were told of and have not gone since: pair of task ids → paths."""
    found: dict[Pair, tuple[str, ...]] = {}
    for event in tx.events(run=run_id, kinds=(FORECAST, CLEARED)):
        one, other = event.data["tasks"]
        found[one, other] = tuple(event.data["paths"])
    return {pair: paths for pair, paths in found.items() if paths}


def read_drift(tx: Reader, run_id: str) -> dict[str, Any]:
    """Return the drift of a run as last told; empty when there is none."""
    found = tx.events(run=run_id, kinds=(DETECTED, GONE), newest=True, limit=1)
    return dict(found[0].data) if found and found[0].kind == DETECTED else {}
