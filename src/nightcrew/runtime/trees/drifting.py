"""Drift: what the user changed since the base commit, weighed against what is about to land, or waits for it.

While a run goes on its host looks at intervals. When it has come to its end somebody must look again: what the user does
in the morning is what counts when the results are looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightcrew.model.drift import Drift, weigh
from nightcrew.model.errors import NightcrewError, WaitingForHuman
from nightcrew.model.records import PromotionRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Repository

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.model.settings import Settings
    from nightcrew.promote.prepared import Prepared
    from nightcrew.runtime.parts import Parts

_SHOWN = 50


def find_drift(parts: Parts, repository: Repository, run: RunRecord, prepared: Prepared) -> Drift:
    """Compare the branch, and the working tree where it is part of the target, with the base of a run.

    Results of the run that are on the branch already are no drift, also where only a part of them went. What stands on disk
    as the base of the run has it, or as it lay there uncommitted before it was planned, is none either: the work began with it.
    """
    from nightcrew.checkpoint.snapshot import find_uncommitted
    from nightcrew.engine.course.drift import stood_before

    with parts.journal.read() as tx:
        landed = tx.find(PromotionRecord, run=run.id, state="published")
    store = parts.store(repository)
    base = prepared.base_tree or run.base_tree
    head = store.tree_of(prepared.start)
    moved = {path.path for path in store.compare(base, head).paths} - _landed(store, landed, head)
    if prepared.place != "here":
        return weigh(moved, set(prepared.paths))
    dirty = find_uncommitted(parts.git(repository), repository.root).paths
    theirs = (moved - dirty) | {path for path in dirty if _read(repository, path) != store.read(base, path)}
    return weigh(theirs, set(prepared.paths), stood_before(repository.root, dirty, run))


def _landed(store: Store, promotions: Iterable[PromotionRecord], head: str) -> set[str]:
    """Return the paths that are on the branch as promotions of the run have put them there."""
    found = set[str]()
    for each in promotions:
        if each.tree and not each.file:
            try:
                since = {path.path for path in store.compare(each.tree, head).paths}
            except NightcrewError:
                # Its commit was taken off the branch by hand, and collected: nothing of it is there.
                continue
            found |= set(each.paths) - since
    return found


def look_again(parts: Parts, run: RunRecord) -> dict[str, Any] | None:
    """Return the drift of a run whose results wait for review, as it is now; empty when there is none.

    None where that says nothing: it still goes on (its host looks), something of it is promoted already (promotion
    looks, path by path), or git cannot look at the repository now.
    """
    from nightcrew.engine.course import drift as engine_drift

    if run.state != "in_review":
        return None
    with parts.journal.read() as tx:
        if tx.find(PromotionRecord, run=run.id, state="published", limit=1):
            return None
        tasks = [task for task in tx.find(TaskRecord, run=run.id) if task.tree]
    try:
        repository = parts.repository_of(run)
        store = parts.store(repository)
        by_task = {
            task.id: {path.path for path in store.compare(task.base_tree, task.tree).promotable}
            for task in tasks
        }
        ours = {path for paths in by_task.values() for path in paths}
        found = engine_drift.find_drift(parts.git(repository), store, repository.root, run, ours)
    except (NightcrewError, OSError):
        # The repository was moved away, or is in the middle of something: what was told last still stands.
        return None
    return engine_drift.describe_drift(found, by_task)


def note_end(parts: Parts, name: str) -> None:
    """Look once more when a run has come to its end, and tell what is new."""
    from nightcrew.engine.course.drift import tell_drift

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
    said = look_again(parts, run)
    if said is not None:
        with parts.journal.write() as tx:
            tell_drift(tx, run.id, said)


def _read(repository: Repository, path: str) -> bytes | None:
    place = Path(repository.root) / path
    try:
        if place.is_symlink():
            return os.fsencode(os.readlink(place))  # noqa: PTH115  (bytes, whatever they are)
        return place.read_bytes() if place.is_file() else None
    except OSError:
        # Unreadable for us: it is not what the base has, and whether that matters promote itself finds out.
        return b""


def describe_drift(drift: Drift) -> dict[str, Any]:
    """Return drift for events and JSON; empty when there is none."""
    if not drift.severity:
        return {}
    return {
        "severity": drift.severity,
        "both": list(drift.both[:_SHOWN]),
        "critical": list(drift.critical[:_SHOWN]),
        "other": list(drift.other[:_SHOWN]),
        "count": drift.count,
        "said": drift.describe(),
    }


def note_drift(drift: Drift) -> list[str]:
    """Return what a person should know before saying yes; little drift is not worth a line."""
    return [f"drift ({drift.severity}): {drift.describe()}"] if drift.severity in ("high", "medium") else []


def refuse_drift(drift: dict[str, Any], settings: Settings, *, again: str) -> None:
    """Refuse a yes that was given beforehand, where the settings want drift to be seen first.

    Raises:
        WaitingForHuman: they do; nothing was changed.
    """
    severity = drift.get("severity", "")
    if severity and getattr(settings.drift, f"on_{severity}") != "go":
        raise WaitingForHuman(
            f"nothing was done: {drift['said']}, and drift.on_{severity} wants that to be seen first",
            code="drift.asks",
            where=[*drift["both"], *drift["critical"], *drift["other"]][:_SHOWN],
            hint=again,
        )
