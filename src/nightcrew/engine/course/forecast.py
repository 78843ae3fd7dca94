"""Telling that two tasks will collide while both still work: at each checkpoint it is tried to put them together.

Only pairs that know nothing of each other are tried, and only when both have touched the same path (or one a path that
is a folder of the other): so a checkpoint normally costs a look at two sets, and a merge (20 ms) only when there is
something to find. Ignored files are left out: they never land.

With ``conflicts: serialise`` the one that stands later in the plan is paused and begins again when the earlier one is
done, on its result; see docs/decisions/0037.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course.outlook import CLEARED, FORECAST, Pair, read_forecasts
from nightcrew.engine.course.pausing import PAUSE_TASK
from nightcrew.engine.course.schedule import order_dependencies
from nightcrew.engine.workspace import Workspace
from nightcrew.model.actions import Change
from nightcrew.model.ids import find_origin, join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import CheckpointRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: A task in one of these states may still bring what it has done so far.
COUNTED: Final = ("running", "awaiting_approval", "awaiting_answer", "paused", "succeeded")
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a task has done so far: the tree it started from, the tree it has, and the paths that would land."""

    base_tree: str
    tree: str
    paths: frozenset[str]


@dataclass(slots=True)
class _RunOutlook:
    outlooks: dict[str, Outlook] = field(default_factory=dict)
    told: dict[Pair, tuple[str, ...]] = field(default_factory=dict)


class Forecasts:
    """The outlooks of the runs that this process hosts; safe to use from any thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._runs: dict[str, _RunOutlook] = {}

    def note(
        self, workspace: Workspace, run: RunRecord, plan: Plan, checkpoint: CheckpointRecord, change: Change
    ) -> None:
        """Take in a checkpoint of a task, and tell of every collision that comes or goes with it."""
        with self._lock:
            known = self._runs.get(run.id)
            if known is None:
                known = self._runs[run.id] = self._learn(workspace, run)
            known.outlooks[checkpoint.task] = _make_outlook(checkpoint, change)
            for other in self._find_others(known, run, plan, checkpoint.task):
                pair = _order(plan, checkpoint.task, other)
                paths = self._try_pair(known, workspace, run, plan, pair)
                if paths != known.told.get(pair, ()):
                    self._tell(workspace, run, pair, paths)
                    known.told[pair] = paths

    def find_paths(self, workspace: Workspace, run: RunRecord) -> Mapping[str, frozenset[str]]:
        """Return the paths that the tasks of a run have changed so far, by task."""
        with self._lock:
            known = self._runs.get(run.id)
            if known is None:
                known = self._runs[run.id] = self._learn(workspace, run)
            return {name: each.paths for name, each in known.outlooks.items()}

    def forget(self, run_id: str) -> None:
        """Let go of a run that is over."""
        with self._lock:
            self._runs.pop(run_id, None)

    def _learn(self, workspace: Workspace, run: RunRecord) -> _RunOutlook:
        """Read what tasks had done before this process hosted the run, and what was told of it."""
        with self._journal.read() as tx:
            known = _RunOutlook(told=read_forecasts(tx, run.id))
            tasks = tx.find(TaskRecord, run=run.id, state=COUNTED)
            last = [tx.need(CheckpointRecord, task.checkpoint) for task in tasks if task.checkpoint]
        for checkpoint in last:
            if not checkpoint.pruned:
                change = workspace.store.compare(checkpoint.base_tree, checkpoint.tree)
                known.outlooks[checkpoint.task] = _make_outlook(checkpoint, change)
        return known

    def _find_others(self, known: _RunOutlook, run: RunRecord, plan: Plan, name: str) -> list[str]:
        """Return the tasks that could collide with this one, or were going to."""
        own = known.outlooks[name]
        found = {other for pair in known.told if name in pair for other in pair if other in known.outlooks}
        found |= {other for other, each in known.outlooks.items() if touch(own.paths, each.paths)}
        # A fork is another answer to the same task: only one of them lands. And what is newer than this plan has its own.
        planned, origin = {join_task(run.id, task.id) for task in plan.tasks}, find_origin(name)
        found = {other for other in found & planned if find_origin(other) != origin}
        if not found:
            return []
        with self._journal.read() as tx:
            built_on = tx.need(TaskRecord, name).built_on
            counted = {other for other in found if tx.need(TaskRecord, other).state in COUNTED}
        below = _find_below(plan, run.id, name) | {join_task(run.id, each) for each in built_on}
        return [other for other in sorted(counted - below) if name not in _find_below(plan, run.id, other)]

    def _try_pair(
        self, known: _RunOutlook, workspace: Workspace, run: RunRecord, plan: Plan, pair: Pair
    ) -> tuple[str, ...]:
        one, other = (known.outlooks[name] for name in pair)
        if not touch(one.paths, other.paths):
            return ()
        store = workspace.store
        parts = [
            (name, each.base_tree, store.promotable(each.base_tree, each.tree))
            for name, each in zip(pair, (one, other), strict=True)
        ]
        below = self._find_parts(run, plan, pair) if one.base_tree != other.base_tree else []
        found = store.forecast(run.base_tree, parts[0], parts[1], below=below)
        return tuple(sorted({path for conflict in found if conflict.part in pair for path in conflict.paths}))

    def _find_parts(self, run: RunRecord, plan: Plan, pair: Pair) -> list[tuple[str, str, str]]:
        wanted = _find_below(plan, run.id, pair[0]) | _find_below(plan, run.id, pair[1])
        order = [join_task(run.id, task.id) for task in plan.tasks]
        with self._journal.read() as tx:
            tasks = [tx.need(TaskRecord, name) for name in order if name in wanted]
        return [(task.id, task.base_tree, task.tree) for task in tasks if task.tree]

    def _tell(self, workspace: Workspace, run: RunRecord, pair: Pair, paths: tuple[str, ...]) -> None:
        earlier, later = pair
        with self._journal.write() as tx:
            tx.append(
                FORECAST if paths else CLEARED,
                run=run.id,
                task=later,
                data={"tasks": list(pair), "paths": list(paths[:_SHOWN]), "count": len(paths)},
            )
            if paths and workspace.settings.conflicts == "serialise":
                _serialise(tx, earlier, later, paths)


def _serialise(tx: Writer, earlier: str, later: str, paths: tuple[str, ...]) -> None:
    """Have the later task wait for the earlier one, when it still works; it begins again on what that one did."""
    task = tx.need(TaskRecord, later)
    first = tx.need(TaskRecord, earlier).name
    if task.state != "running" or first in task.after:
        return
    tx.change(task, "", after=(*task.after, first))
    reason = f"waits for {earlier}: both change {', '.join(paths[:3])}" + (" …" if paths[3:] else "")
    tx.append(PAUSE_TASK, run=task.run, task=later, data={"reason": reason, "after": earlier})


def touch(one: frozenset[str], other: frozenset[str]) -> bool:
    """Tell whether two sets of paths have one in common, or one of them a path that is a folder of the other's."""
    if not one.isdisjoint(other):
        return True
    return not one.isdisjoint(_folders(other)) or not other.isdisjoint(_folders(one))


def _folders(paths: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) and path not in found:
            found.add(path)
    return found


def _make_outlook(checkpoint: CheckpointRecord, change: Change) -> Outlook:
    return Outlook(checkpoint.base_tree, checkpoint.tree, frozenset(path.path for path in change.promotable))


def _order(plan: Plan, one: str, other: str) -> Pair:
    """Return two tasks in the order they stand in the plan."""
    position = {task.id: number for number, task in enumerate(plan.tasks)}
    first, second = sorted((one, other), key=lambda name: position[name.partition("/")[2]])
    return first, second


def _find_below(plan: Plan, run_id: str, name: str) -> set[str]:
    return {join_task(run_id, each) for each in order_dependencies(plan, name.partition("/")[2])}
