"""What follows in the journal from a promotion or undo that is in the repository, or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import Clock, stamp
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable
from nightcrew.model.records import PromotionRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Repository

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer
    from nightcrew.promote.promoter import Promoter

#: States of a run whose tasks are all over and that a person may promote from.
REVIEWED: Final = ("in_review", "partially_promoted", "promoted")


def settle_published(journal: Journal, clock: Clock, name: str) -> PromotionRecord:
    """Record that a prepared promotion is in the repository, with all that follows from it."""
    with journal.write() as tx:
        record = tx.need(PromotionRecord, name)
        at = stamp(clock.now())
        kind = "promotion.undone" if record.undo_of else "promotion.published"
        actor = f"user:{record.actor}"
        record = tx.change(
            record, kind, actor=actor, data=describe(record), state="published", published_at=at
        )
        if record.undo_of:
            _retract(tx, tx.need(PromotionRecord, record.undo_of), record.id)
        else:
            _mark_tasks(tx, record, record.id)
        _settle_run(tx, record.run)
    return record


def record_export(
    journal: Journal, clock: Clock, record: PromotionRecord, data: Mapping[str, Any]
) -> PromotionRecord:
    """Record that accepted results were written to a file; nothing in the repository changed, so no task counts as promoted."""
    actor = f"user:{record.actor}"
    with journal.write() as tx:
        tx.add(record, "promotion.prepared", actor=actor, data=data)
        return tx.change(
            record,
            "promotion.exported",
            actor=actor,
            data={**data, "file": record.file},
            state="exported",
            published_at=stamp(clock.now()),
        )


def _retract(tx: Writer, record: PromotionRecord, by: str) -> None:
    """Note that a promotion is not in the repository any more; what an undo had taken back is there again."""
    tx.change(record, "promotion.taken_back", data={"by": by}, state="undone", undone_by=by)
    if not record.undo_of:
        _mark_tasks(tx, record, "")
        return
    restored = tx.need(PromotionRecord, record.undo_of)
    restored = tx.change(restored, "promotion.restored", data={"by": by}, state="published", undone_by="")
    if restored.undo_of:
        _retract(tx, tx.need(PromotionRecord, restored.undo_of), restored.id)
    else:
        _mark_tasks(tx, restored, restored.id)


def _mark_tasks(tx: Writer, record: PromotionRecord, promotion: str) -> None:
    """Note of the tasks that went as a whole by which promotion; one that went in part, or of which a part was taken back, can go."""
    for name in record.tasks:
        if promotion and name in record.partial:
            continue
        tx.change(tx.need(TaskRecord, name), "", promoted=promotion)


def _settle_run(tx: Writer, name: str) -> None:
    run = tx.need(RunRecord, name)
    if run.state not in REVIEWED:
        return  # tasks of it still run; the state of a running run says nothing of promotions
    tasks = [task for task in tx.find(TaskRecord, run=name) if task.state != "skipped"]
    done = [task for task in tasks if task.promoted]
    there = [each for each in tx.find(PromotionRecord, run=name, state="published") if not each.undo_of]
    state = "in_review" if not there else "promoted" if len(done) == len(tasks) else "partially_promoted"
    if run.state != state:
        tx.change(run, f"run.{state}", state=state)


@contextmanager
def publication_lock(state: Path, *, wait_s: float = 30.0) -> Iterator[bool]:
    """Hold the lock that covers a publication and its record; gives whether it was free within ``wait_s``.

    Raises:
        EngineUnavailable: with a wait: another process publishes into this repository for too long.
    """
    lock = FileLock(state / "publication.lock")
    held = lock.acquire(wait_s)
    if wait_s and not held:
        raise EngineUnavailable(
            f"{lock.holder() or 'another process'} is publishing; nothing was changed", code="promote.busy"
        )
    try:
        yield held
    finally:
        lock.release()


def reconcile(
    journal: Journal, clock: Clock, promoter: Promoter, repository: Repository, state: Path
) -> list[str]:
    """Bring the journal up to the repository after a crash between publishing and recording; say what was done.

    Does nothing while another process publishes: what is unfinished then is its own.
    """
    said: list[str] = []
    with publication_lock(state, wait_s=0) as free:
        if free:
            said += [
                _reconcile_one(journal, clock, promoter, record)
                for record in _find_unsettled(journal, repository)
            ]
    return said


def _find_unsettled(journal: Journal, repository: Repository) -> list[PromotionRecord]:
    with journal.read() as tx:
        found = tx.find(PromotionRecord, state="prepared")
        return [each for each in found if tx.need(RunRecord, each.run).repo_key == repository.key]


def _reconcile_one(journal: Journal, clock: Clock, promoter: Promoter, record: PromotionRecord) -> str:
    if promoter.outcome(record.transaction) == "published":
        settle_published(journal, clock, record.id)
        return f"{record.id} was published before an interruption; it is recorded now"
    with journal.write() as tx:
        abort(tx, tx.need(PromotionRecord, record.id), "interrupted before it was published")
    return f"{record.id} was interrupted before it was published; nothing of it is in your repository"


def abort(tx: Writer, record: PromotionRecord, reason: str) -> None:
    """Record that a prepared promotion was not published."""
    tx.change(record, "promotion.aborted", data={"reason": reason}, state="aborted", reason=reason)


def describe(record: PromotionRecord) -> Mapping[str, Any]:
    """Return what events tell of a promotion."""
    return {
        "promotion": record.id,
        "tasks": list(record.tasks),
        "branch": record.branch,
        "old": record.old_commit,
        "new": record.new_commit,
        "undo_of": record.undo_of,
    }
