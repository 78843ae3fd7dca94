"""What follows in the journal from a promotion or undo that is in the repository, or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nightcrew.host.clock import Clock, stamp
from nightcrew.model.records import PromotionRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Repository
from nightcrew.runtime.views import tasks_of

if TYPE_CHECKING:
    from nightcrew.host.git import Git
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer


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
            _settle_undone(tx, record, tx.need(PromotionRecord, record.undo_of))
        else:
            _mark_tasks(tx, record.tasks, record.id)
        _settle_run(tx, record.run)
    return record


def _settle_undone(tx: Writer, undo: PromotionRecord, old: PromotionRecord) -> None:
    tx.change(old, "promotion.taken_back", data={"by": undo.id}, state="undone", undone_by=undo.id)
    if old.undo_of:
        # An undo was undone: the promotion before it is in the repository again.
        first = tx.need(PromotionRecord, old.undo_of)
        tx.change(first, "promotion.restored", data={"by": undo.id}, state="published", undone_by="")
        _mark_tasks(tx, first.tasks, first.id)
    else:
        _mark_tasks(tx, old.tasks, "")


def _mark_tasks(tx: Writer, tasks: Sequence[str], promotion: str) -> None:
    for name in tasks:
        tx.change(tx.need(TaskRecord, name), "", promoted=promotion)


def _settle_run(tx: Writer, name: str) -> None:
    run = tx.need(RunRecord, name)
    tasks = [task for task in tasks_of(tx, name) if task.state != "skipped"]
    done = [task for task in tasks if task.promoted]
    state = "in_review" if not done else "promoted" if len(done) == len(tasks) else "partially_promoted"
    if run.state != state:
        tx.change(run, f"run.{state}", state=state)


def reconcile(journal: Journal, clock: Clock, git: Git, repository: Repository) -> Iterator[str]:
    """Bring the journal up to the repository after a crash between publishing and recording; say what was done."""
    with journal.read() as tx:
        open_ones = tx.find(PromotionRecord, state="prepared")
        mine = [each for each in open_ones if tx.need(RunRecord, each.run).repo_key == repository.key]
    for record in mine:
        if _is_in(git, record):
            settle_published(journal, clock, record.id)
            yield f"{record.id} was published before an interruption; it is recorded now"
        else:
            with journal.write() as tx:
                abort(tx, tx.need(PromotionRecord, record.id), "interrupted before it was published")
            yield f"{record.id} was interrupted before it was published; nothing of it is in your repository"


def _is_in(git: Git, record: PromotionRecord) -> bool:
    done = git.run("merge-base", "--is-ancestor", record.new_commit, record.branch or "HEAD", check=False)
    return done.code == 0


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
