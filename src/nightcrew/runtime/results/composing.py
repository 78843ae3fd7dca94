"""Results of several tasks put together, and the proof that nothing of them got lost on the way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from nightcrew.model.errors import StaleError
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.text import count
from nightcrew.model.trees import Missing
from nightcrew.runtime.results.differing import describe_conflict

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store

Piece = tuple[str, str, str]
"""Name of a task, tree it started from, tree of its result as it would land."""

_SHOWN = 20


def cut_piece(store: Store, task: TaskRecord) -> Piece:
    """Return the change of a task without what the base ignores."""
    return task.name, task.base_tree, store.promotable(task.base_tree, task.tree)


def compose(store: Store, run: RunRecord, pieces: Sequence[Piece], *, waived: Collection[str] = ()) -> str:
    """Return the base tree of a run with the changes of tasks on it, every hunk of them.

    Args:
        pieces: in dependency order. waived: ids of hunks and names of tasks that a person said may be missing.

    Raises:
        StaleError: they do not fit together, or a hunk is not in the result although git merged without a conflict.
    """
    composed = store.compose(run.base_tree, pieces)
    if composed.conflicts:
        raise StaleError(
            f"the accepted results of {run.id} do not fit together; nothing was done",
            code="promote.conflict",
            where=[describe_conflict(each) for each in composed.conflicts],
            hint=f"promote them one after the other, or reject one: nightcrew reject {run.id}/T..",
        )
    check_landed(store, run, pieces, composed.tree, waived=waived)
    return composed.tree


def check_landed(
    store: Store,
    run: RunRecord,
    pieces: Sequence[Piece],
    tree: str,
    *,
    only: Collection[str] | None = None,
    waived: Collection[str] = (),
) -> None:
    """Prove that a tree made of pieces, perhaps merged with other commits, holds every hunk of them.

    Args:
        only: names of the tasks to look at; all by default. Those promoted earlier may have been changed since.

    Raises:
        StaleError: names the hunks that are missing and not waived.
    """
    missing = [
        each
        for each in store.missing(pieces, tree, only=only)
        if each.hunk.id not in waived and each.part not in waived
    ]
    if missing:
        raise StaleError(
            f"not in the tree that would land: {count(len(missing), 'accepted hunk')} of {run.id}; nothing was done",
            code="promote.missing",
            where=[_describe(each) for each in missing[:_SHOWN]],
            hint=f"look: nightcrew diff {run.id}/{missing[0].part} --hunks   "
            f"or leave it out knowingly: --waive {missing[0].hunk.id}",
        )


def _describe(missing: Missing) -> str:
    return f"{missing.part}: {missing.hunk.id} {missing.hunk.path}"
