"""What checkpoints cost: latencies as percentiles, how often less than a full one was taken, what is on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.records import CheckpointRecord, RunRecord, TaskRecord
from nightcrew.model.usage import Spent, describe_spent

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

#: Name of a measure → field of the record, milliseconds.
MEASURES: Final = {
    "checkpoint": "took_ms",
    "freeze": "frozen_ms",
    "capture": "capture_ms",
    "validation": "inspect_ms",
}
PERCENTILES: Final = (50, 95, 99)
_KINDS: Final = ("checkpoint.failed", "checkpoint.spaced_out", "checkpoint.slow")


def measure_checkpoints(parts: Parts, run: str = "") -> dict[str, Any]:
    """Return the figures of one run, or of all of them.

    ``freeze`` counts only checkpoints for which an agent had to stand still; the other measures count every one that
    was measured (those that a restore made, and those of earlier versions, were not).
    """
    with parts.journal.read() as tx:
        runs = [tx.need(RunRecord, run)] if run else tx.find(RunRecord)
        found = tx.find(CheckpointRecord, run=run) if run else tx.find(CheckpointRecord)
        tasks = tx.find(TaskRecord, run=run) if run else tx.find(TaskRecord)
        counted = {kind: _count_events(tx, run, kind) for kind in _KINDS}
    measured = [each for each in found if each.took_ms]
    view: dict[str, Any] = {
        "run": run,
        "checkpoints": len(found),
        "running": sum(each.frozen_ms > 0 for each in found),
        "degraded": sum(bool(each.degraded) for each in found),
        "pruned": sum(each.pruned for each in found),
        "failed": counted["checkpoint.failed"],
        "spaced_out": counted["checkpoint.spaced_out"],
        "alarms": counted["checkpoint.slow"],
        "usage": measure_models(tasks),
        "latency_ms": {},
        "disk": [_measure_disk(parts, key, path) for key, path in _list_places(runs)],
    }
    for name, field in MEASURES.items():
        values = [getattr(each, field) for each in measured if field != "frozen_ms" or each.frozen_ms]
        view["latency_ms"][name] = summarise(values)
    return view


def measure_models(tasks: Sequence[TaskRecord]) -> dict[str, Any]:
    """Return what models have cost: in all, and of each model by ``provider/model``."""
    spent: dict[str, Spent] = {}
    for task in tasks:
        for name, each in task.usage.get("models", {}).items():
            spent[name] = spent.get(name, Spent()) + Spent.from_plain(each)
    whole = sum(spent.values(), Spent())
    return {
        **whole.to_plain(),
        "models": {
            name: {**each.to_plain(), "said": describe_spent(each)} for name, each in sorted(spent.items())
        },
    }


def summarise(values: Sequence[float]) -> dict[str, float]:
    """Return count, percentiles (the smallest value that so many per cent do not exceed) and maximum."""
    if not values:
        return {"count": 0}
    ordered = sorted(values)
    ranks = {f"p{share}": ordered[math.ceil(len(ordered) * share / 100) - 1] for share in PERCENTILES}
    return {"count": len(ordered), **ranks, "max": ordered[-1]}


def _count_events(tx: Reader, run: str, kind: str) -> int:
    return len(tx.events(run=run, kinds=(kind,)))


def _list_places(runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return each repository once: its folder in our state directory, and where it is."""
    return sorted({run.repo_key: run.repo_path for run in runs}.items())


def _measure_disk(parts: Parts, key: str, path: str) -> dict[str, Any]:
    from nightcrew.checkpoint.inventory import measure_store

    objects = parts.env.state / key / "objects" / "objects"
    used = measure_store(objects) if objects.is_dir() else None
    return {
        "repository": path,
        "checkpoint_bytes": used.bytes if used else 0,
        "packs": used.packs if used else 0,
        "loose_objects": used.loose if used else 0,
    }
