"""Promotion and undo: what is selected, composed, prepared, shown, published, recorded. Writing is promote's alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model.errors import NightcrewError, NotFound, StaleError
from nightcrew.model.ids import PROMOTION, join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, PromotionRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Repository
from nightcrew.runtime.composing import Piece, check_landed, compose, cut_piece
from nightcrew.runtime.proving import Proof, prove
from nightcrew.runtime.settling import abort, describe, publication_lock, settle_published
from nightcrew.runtime.views import tasks_of, view_promotion

if TYPE_CHECKING:
    from nightcrew.promote.prepared import Prepared
    from nightcrew.runtime.parts import Parts

_SUBJECT_WIDTH = 72


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks of a run would be promoted, and which not, and why.

    Attributes:
        tasks: in dependency order.
        promoted: tasks of the run that are in the repository already.
        held: accepted tasks that cannot go yet, with the reason.
    """

    tasks: tuple[TaskRecord, ...]
    promoted: tuple[TaskRecord, ...]
    held: tuple[tuple[str, str], ...]


@dataclass
class Publication:
    """A prepared promotion or undo: look at ``view``, then ``publish`` once."""

    parts: Parts
    repository: Repository
    prepared: Prepared
    record: PromotionRecord
    view: dict[str, Any]
    undone: PromotionRecord | None = None
    done: dict[str, Any] = field(default_factory=dict)
    proof: Proof | None = None

    def publish(self) -> dict[str, Any]:
        """Put it into the repository and record it; return the view of the promotion.

        Raises:
            DriftError: the repository moved since it was prepared; nothing was changed.
        """
        with publication_lock(self.parts.state_of(self.repository)):
            self._publish()
        return self.done

    def _publish(self) -> None:
        actor = f"user:{self.parts.env.user}"
        with self.parts.journal.write() as tx:
            tx.add(self.record, "promotion.prepared", actor=actor, data=self._describe())
        try:
            self.parts.promoter(self.repository).publish(self.prepared)
        except NightcrewError as error:
            with self.parts.journal.write() as tx:
                abort(tx, tx.need(PromotionRecord, self.record.id), error.message)
            raise
        crash.point("runtime.promotion.published")
        self.done = view_promotion(settle_published(self.parts.journal, self.parts.clock, self.record.id))

    def prove(self, say: Callable[[str], None]) -> Proof:
        """Run acceptance on the tree that would land, where no task was proven on exactly that tree.

        Raises:
            StaleError: it does not pass; nothing was changed.
        """
        with self.parts.journal.read() as tx:
            run = tx.need(RunRecord, self.record.run)
            plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
            tasks = [tx.need(TaskRecord, task) for task in self.record.tasks]
        name, tree = self.record.id, self.prepared.tree
        self.proof = prove(self.parts, run, plan, tasks, tree=tree, name=name, say=say)
        return self.proof

    def _describe(self) -> dict[str, Any]:
        proof = self.proof.to_plain() if self.proof else "not run"
        waived = {"waived": self.view["waived"]} if self.view.get("waived") else {}
        return {**describe(self.record), **waived, **({} if self.record.undo_of else {"proof": proof})}


@contextmanager
def open_promotion(
    parts: Parts, name: str, tasks: Sequence[str], *, dry_run: bool, waive: Sequence[str] = ()
) -> Iterator[Publication]:
    """Prepare the promotion of the accepted tasks of a run.

    Args:
        name: run id.
        tasks: names (``T01``) or full ids; empty for everything that is accepted.
        dry_run: take no id and record nothing.
        waive: tasks that may go although they were built on results that are different now, and hunks that may be
            missing from what lands.

    Raises:
        StaleError: nothing is accepted, or what was named is not; an accepted hunk got lost and is not waived.
        DriftError: the repository holds something that overlaps; nothing was changed.
    """
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
        waived = tuple(each.rpartition("/")[2] for each in waive)
        wanted = [_full_name(run.id, task) for task in tasks]
        selection = select(run, plan, tasks_of(tx, run.id), wanted, waived)
    repository = parts.repository_of(run)
    tree, paths, pieces = _compose(parts, repository, run, selection, waived)
    promotion = _take_id(parts, keep=not dry_run)
    prepared = parts.promoter(repository).prepare(
        promotion,
        base_commit=run.base_commit,
        tree=tree,
        message=write_message(run, sorted(selection.tasks, key=lambda task: task.position)),
        author=_author(parts, run),
        allow_paths=paths,
    )
    # The branch may have moved: what lands is a merge again, and what came by earlier promotions may be changed in it.
    mine = {task.name for task in selection.tasks}
    check_landed(parts.store(repository), run, pieces, prepared.tree, only=mine, waived=waived)
    record = _record(parts, run, prepared, promotion, _in_order_written(selection.tasks))
    held = [{"id": task, "why": why} for task, why in selection.held]
    yield Publication(
        parts, repository, prepared, record, {**_view(record, prepared), "held": held, "waived": list(waived)}
    )


@contextmanager
def open_undo(parts: Parts, name: str, *, dry_run: bool) -> Iterator[Publication]:
    """Prepare the undo of a promotion.

    Raises:
        StaleError: it is not published (any more).
        DriftError: later work in the repository overlaps with it; nothing was changed.
    """
    with parts.journal.read() as tx:
        old = tx.need(PromotionRecord, name)
        run = tx.need(RunRecord, old.run)
    if old.state != "published":
        by = f" by {old.undone_by}" if old.undone_by else ""
        raise StaleError(
            f"{name} cannot be undone: it is {old.state}{by}",
            code="undo.state",
            hint=f"nightcrew show {name}",
        )
    repository = parts.repository_of(run)
    promotion = _take_id(parts, keep=not dry_run)
    message = f"Undo {name}: {run.title}\n\nNightcrew-Run: {run.id}\nNightcrew-Undo: {name}\n"
    prepared = parts.promoter(repository).undo(old, id=promotion, message=message)
    record = _record(parts, run, prepared, promotion, old.tasks, undo_of=name)
    yield Publication(
        parts, repository, prepared, record, {**_view(record, prepared), "held": []}, undone=old
    )


def select(
    run: RunRecord,
    plan: Plan,
    tasks: Sequence[TaskRecord],
    wanted: Sequence[str],
    waived: Collection[str] = (),
) -> Selection:
    """Choose what can be promoted: accepted on exactly the tree it has now, with everything it builds on.

    A result that was built on another result of some task than that has now is held, unless its name is in ``waived``.

    Raises:
        NotFound: a wanted task does not exist.
        StaleError: a wanted task is not accepted or is held, or nothing at all is accepted.
    """
    known = {task.id: task for task in tasks}
    for name in wanted:
        if name not in known:
            raise NotFound(f"there is no task {name}", hint=f"nightcrew show {run.id}")
    promoted = tuple(task for task in tasks if task.promoted)
    candidates = {
        t.id: t for t in tasks if _is_accepted(t) and not t.promoted and (not wanted or t.id in wanted)
    }
    stale = {name: why for name, why in _stale(tasks).items() if known[name].name not in waived}
    held = _hold(run, plan, known, candidates, stale)
    chosen = tuple(
        candidates[name] for name in _in_order(run, plan) if name in candidates and name not in held
    )
    _check_wanted(run, known, wanted, candidates, held)
    if not chosen:
        raise StaleError(
            f"nothing of {run.id} can be promoted: no task is accepted"
            if not held
            else f"nothing of {run.id} can go yet",
            code="promote.nothing",
            where=[f"{name}: {why}" for name, why in held.items()],
            hint=f"nightcrew review {run.id}, then: nightcrew accept {run.id}",
        )
    return Selection(chosen, promoted, tuple(held.items()))


def _is_accepted(task: TaskRecord) -> bool:
    return (
        task.state == "succeeded"
        and task.verdict == "accepted"
        and bool(task.tree)
        and task.verdict_tree == task.tree
    )


def _in_order(run: RunRecord, plan: Plan) -> list[str]:
    from nightcrew.plan.check import waves

    return [join_task(run.id, name) for wave in waves(plan.tasks) for name in wave]


def _hold(
    run: RunRecord,
    plan: Plan,
    known: dict[str, TaskRecord],
    candidates: dict[str, TaskRecord],
    stale: dict[str, str],
) -> dict[str, str]:
    """Return the candidates that miss something they build on; in dependency order, so that holding spreads."""
    held: dict[str, str] = {}
    for name in _in_order(run, plan):
        if name not in candidates:
            continue
        if name in stale:
            held[name] = stale[name]
            continue
        for need in plan.task(known[name].name).depends:
            other = known[join_task(run.id, need)]
            ready = (
                other.state == "skipped"
                or other.promoted
                or (other.id in candidates and other.id not in held)
            )
            if not ready:
                held[name] = f"it needs {need}, which is {_why_missing(other, held)}"
                break
    return held


def _stale(tasks: Sequence[TaskRecord]) -> dict[str, str]:
    """Return why results are stale, by task id."""
    from nightcrew.review.staleness import find_stale

    return {
        name: f"it was built on another {', '.join(others)} than there is now: nightcrew retry {name}, or --waive {name}"
        for name, others in find_stale(tasks).items()
    }


def _why_missing(task: TaskRecord, held: dict[str, str]) -> str:
    if task.id in held:
        return "held too"
    return "accepted but not named" if _is_accepted(task) else "not accepted"


def _check_wanted(
    run: RunRecord,
    known: dict[str, TaskRecord],
    wanted: Sequence[str],
    candidates: dict[str, TaskRecord],
    held: dict[str, str],
) -> None:
    problems = [f"{name}: {_why_not(known[name])}" for name in wanted if name not in candidates]
    problems += [f"{name}: {held[name]}" for name in wanted if name in held]
    if problems:
        raise StaleError(
            f"not everything you named of {run.id} can be promoted; nothing was done",
            code="promote.refused",
            where=problems,
            hint=f"nightcrew review {run.id}",
        )


def _why_not(task: TaskRecord) -> str:
    if task.promoted:
        return f"it is promoted already by {task.promoted}"
    if task.verdict == "accepted" and task.verdict_tree != task.tree:
        return "it changed since you accepted it"
    return f"it is {task.state}, {task.verdict or 'not reviewed'}"


def _compose(
    parts: Parts, repository: Repository, run: RunRecord, selection: Selection, waived: Collection[str]
) -> tuple[str, frozenset[str], list[Piece]]:
    """Return the base tree with the results of the selected tasks on it, every path that was reviewed, and the pieces.

    What is promoted already belongs into it: later results build on it, and against a branch that has it, it merges away.
    """
    store = parts.store(repository)
    chosen = [*selection.promoted, *selection.tasks]
    pieces = [cut_piece(store, task) for task in chosen]
    composed = compose(store, run, pieces, waived=waived)
    paths = {path.path for _, base, tree in pieces for path in store.compare(base, tree).paths}
    return composed, frozenset(paths), pieces


def write_message(run: RunRecord, tasks: Sequence[TaskRecord]) -> str:
    """Return the commit message: titles, then trailers that lead back to the run."""
    subject = tasks[0].title if len(tasks) == 1 else run.title
    if len(subject) > _SUBJECT_WIDTH:
        subject = subject[: _SUBJECT_WIDTH - 1].rstrip() + "…"
    body = "" if len(tasks) == 1 else "\n".join(f"- {task.name} {task.title}" for task in tasks) + "\n\n"
    trailers = [f"Nightcrew-Run: {run.id}", *(f"Nightcrew-Task: {task.id}" for task in tasks)]
    return f"{subject}\n\n{body}" + "\n".join(trailers) + "\n"


def _take_id(parts: Parts, *, keep: bool) -> str:
    if not keep:
        return "M-0"
    with parts.journal.write() as tx:
        return tx.next_id(PROMOTION)


def _record(
    parts: Parts, run: RunRecord, prepared: Prepared, name: str, tasks: tuple[str, ...], *, undo_of: str = ""
) -> PromotionRecord:
    return PromotionRecord(
        id=name,
        run=run.id,
        state="prepared",
        tasks=tasks,
        branch=prepared.branch,
        old_commit=prepared.old_commit,
        new_commit=prepared.new_commit,
        tree=prepared.tree,
        paths=tuple(prepared.paths),
        actor=parts.env.user,
        created_at=stamp(parts.clock.now()),
        transaction=prepared.transaction,
        undo_of=undo_of,
    )


def _view(record: PromotionRecord, prepared: Prepared) -> dict[str, Any]:
    return {**view_promotion(record), "notes": list(prepared.notes)}


def _in_order_written(tasks: Sequence[TaskRecord]) -> tuple[str, ...]:
    return tuple(task.id for task in sorted(tasks, key=lambda task: task.position))


def _author(parts: Parts, run: RunRecord) -> str:
    from nightcrew.runtime.rules import rules_from_plain

    with parts.journal.read() as tx:
        plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    return rules_from_plain(plan.policies).settings.commit_author


def _full_name(run: str, task: str) -> str:
    return task if "/" in task else join_task(run, task)
