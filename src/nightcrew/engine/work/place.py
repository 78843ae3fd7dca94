"""Where an attempt works: a shadow of the base commit with the results of its dependencies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.course.schedule import order_dependencies
from nightcrew.engine.course.starts import Start, name_attempt
from nightcrew.engine.workspace import Workspace
from nightcrew.model.answers import choose_answers
from nightcrew.model.errors import StaleError
from nightcrew.model.ids import find_origin, join_task
from nightcrew.model.isolation import Level
from nightcrew.model.plans import Plan
from nightcrew.model.records import AttemptRecord, CheckpointRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader
    from nightcrew.shadow.shadows import Shadow, Shadows


#: States of a run of which a plan may be in the making.
PLANNED: Final = ("draft", "awaiting_approval", "running", "paused", "in_review")


class AttemptFailed(Exception):
    """The attempt cannot succeed any more; says as which class of failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Place:
    """A shadow, ready to be worked in.

    Attributes:
        shadow: the shadow.
        name: its name.
        base_tree: base commit plus dependencies: what the task's change is measured against.
        lower: tree that the shadow's read-only layers hold; its writable layer is the difference to it.
        begun: tree that the shadow held when the attempt began.
    """

    shadow: Shadow
    name: str
    base_tree: str
    lower: str
    begun: str


def find_shadows_in_use(tx: Reader) -> set[str]:
    """Return the names that shadows of unfinished tasks may have; acceptance copies are called after theirs."""
    open_states = ("pending", "running", "awaiting_approval", "awaiting_answer", "paused")
    names: set[str] = set()
    for task in tx.find(TaskRecord, state=open_states):
        attempt = tx.get(AttemptRecord, name_attempt(task.id, task.attempts)) if task.attempts else None
        if attempt is not None and attempt.state != "lost":
            names |= {attempt.nonce, str(attempt.progress.get("shadow", ""))}
            names.add(str(attempt.progress["start"]["shadow"]))
    # What is planned just now, by whatever process, works in a copy too; such a run has no attempts yet.
    for run in tx.find(RunRecord, state=PLANNED):
        names.add(str(run.settings.get("planning", {}).get("shadow", "")))
    return names


def sweep_shadows(journal: Journal, workspace: Workspace) -> None:
    """Remove the working copies that nothing will go on in; only while holding the engine's lock."""
    workspace.shadows.sweep()
    # Listed first: what is opened after the list was made is not in it, whoever opens it.
    listed = workspace.shadows.names()
    with journal.read() as tx:
        used = find_shadows_in_use(tx)
    for name in listed:
        if name.partition("-")[0] in used:
            continue
        try:
            shadow = workspace.shadows.reopen(name)
        except StaleError:
            # Being discarded by its own attempt at this moment.
            continue
        if shadow is not None:
            workspace.shadows.discard(shadow)


def find_base_tree(
    journal: Journal, workspace: Workspace, run: RunRecord, plan: Plan, task: TaskRecord
) -> tuple[str, Mapping[str, str]]:
    """Return the tree a task starts from, and the results of other tasks in it (task name → tree).

    Raises:
        AttemptFailed: results it builds on do not fit together; names the tasks and the paths.
    """
    if task.base_tree:
        return task.base_tree, task.built_on
    if task.forked_from:
        with journal.read() as tx:
            source = tx.need(CheckpointRecord, task.forked_from)
        return source.base_tree, source.built_on
    names = order_dependencies(plan, task.name)
    for after in task.after:
        # It waited for these because they change the same: now it builds on them.
        names += tuple(each for each in (*order_dependencies(plan, after), after) if each not in names)
    with journal.read() as tx:
        needs = [_find_answer(tx, run, plan, name) for name in names]
    parts = [(need.id, need.base_tree, need.tree) for need in needs if need.tree]
    if not parts:
        return run.base_tree, {}
    composed = workspace.store.compose(run.base_tree, parts)
    if not composed.conflicts:
        return composed.tree, {need.name: need.tree for need in needs if need.tree}
    lines = [
        f"{conflict.part} does not fit {', '.join(conflict.others) or 'the base'} in {', '.join(conflict.paths)}"
        for conflict in composed.conflicts
    ]
    reason = f"the results it depends on conflict: {'; '.join(lines)}"
    raise AttemptFailed(Failure("conflict", reason, task_state="blocked"))


def _find_answer(tx: Reader, run: RunRecord, plan: Plan, name: str) -> TaskRecord:
    """Return the task, or the fork of it that a person has accepted in its place."""
    names = [each.id for each in plan.tasks if find_origin(each.id) == find_origin(name)]
    answers = [tx.need(TaskRecord, join_task(run.id, each)) for each in names]
    return answers[0] if len(answers) == 1 else choose_answers(answers)[find_origin(name)]


def open_place(
    journal: Journal, workspace: Workspace, run: RunRecord, base_tree: str, start: Start, nonce: str
) -> Place:
    """Open a new shadow, or the one that a parked attempt left; called ``nonce`` when new."""
    begun = base_tree
    if start.checkpoint:
        with journal.read() as tx:
            begun = tx.need(CheckpointRecord, start.checkpoint).tree
    if start.shadow:
        shadow = workspace.shadows.reopen(start.shadow)
        if shadow is not None:
            return Place(shadow, start.shadow, base_tree, start.lower, begun)
    base = workspace.shadows.export(run.base_commit)
    shadow = workspace.shadows.open(nonce, base, workspace.store.delta(base.tree, begun), tree=begun)
    return Place(shadow, nonce, base_tree, begun, begun)


def leave_place(shadows: Shadows, attempt: AttemptRecord, place: Place | None, begun: str) -> None:
    """Keep the working copy for an attempt that goes on in it; else remove it: its checkpoint has everything.

    Args:
        attempt: as it has ended.
        place: what it opened, if it came so far.
        begun: name of the shadow that it would have begun in.
    """
    name = place.name if place else begun or attempt.progress.get("shadow", "")
    resume = attempt.progress.get("resume", {}) if attempt.state in ("parked", "paused") else {}
    kept = bool(name) and resume.get("shadow") == name
    if place is None:
        left = shadows.reopen(name) if name and not kept else None
        if left is not None:
            shadows.discard(left)
    elif kept:
        shadows.close(place.shadow)
    else:
        shadows.discard(place.shadow)


def place_of(workspace: Workspace, shadow: Shadow, level: Level) -> str:
    """Return where a program finds the copy: at the repository's own path, or where it lies when nothing can be mounted."""
    return workspace.root if level.mounts else os.path.realpath(shadow.path)
