"""Which tasks of a run can be promoted, which cannot, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightcrew.model.answers import choose_answers, is_accepted
from nightcrew.model.errors import NotFound, StaleError
from nightcrew.model.ids import find_origin, join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import PromotionRecord, RunRecord, TaskRecord
from nightcrew.runtime.results.composing import cut_piece

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.promote.promoter import Promoter
    from nightcrew.promote.target import Target


@dataclass(frozen=True, slots=True)
class Landed:
    """Where the result of a task was promoted to.

    Attributes:
        by: id of the promotion.
        branch: short name.
        there: the commit that is promoted onto has it, for that is a part of its history or holds every hunk of it.
    """

    by: str
    branch: str
    there: bool = True


def find_landed(
    store: Store,
    promoter: Promoter,
    target: Target,
    tasks: Sequence[TaskRecord],
    by: Mapping[str, PromotionRecord],
) -> dict[str, Landed]:
    """Return for each task that is promoted where it is, and whether the target has it.

    Args:
        store, promoter: of the repository.
        target: where the next promotion goes.
        tasks: of the run.
        by: promotions by task id.
    """
    if not by:
        return {}
    start, held = promoter.find_start(target, {record.new_commit for record in by.values()})
    tree = store.tree_of(start)
    found = {}
    for task in tasks:
        if task.id in by:
            record = by[task.id]
            there = record.new_commit in held or not store.missing([cut_piece(store, task)], tree)
            found[task.id] = Landed(record.id, record.branch.removeprefix("refs/heads/"), there)
    return found


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tasks of a run would be promoted, and which not, and why.

    Attributes:
        tasks: in dependency order.
        promoted: tasks of the run that the target has already.
        held: accepted tasks that cannot go yet, with the reason.
    """

    tasks: tuple[TaskRecord, ...]
    promoted: tuple[TaskRecord, ...]
    held: tuple[tuple[str, str], ...]


def select(
    run: RunRecord,
    plan: Plan,
    tasks: Sequence[TaskRecord],
    wanted: Sequence[str],
    waived: Collection[str] = (),
    landed: Mapping[str, Landed] | None = None,
) -> Selection:
    """Choose what can be promoted: accepted on exactly the tree it has now, with everything it builds on.

    A result that was built on another result of some task than that has now, or than the target has, is held, unless its
    name is in ``waived``.

    Raises:
        NotFound: a wanted task does not exist.
        StaleError: a wanted task is not accepted or is held, or nothing at all is accepted.
    """
    known = {task.id: task for task in tasks}
    for name in wanted:
        if name not in known:
            raise NotFound(f"there is no task {name}", hint=f"nightcrew show {run.id}")
    landed = landed or {}
    away = {name: each for name, each in landed.items() if not each.there}
    promoted = tuple(task for task in tasks if task.promoted and task.id not in away)
    candidates = {
        t.id: t for t in tasks if is_accepted(t) and not t.promoted and (not wanted or t.id in wanted)
    }
    stale = {name: why for name, why in _stale(tasks).items() if known[name].name not in waived}
    missing = _Missing(candidates, stale, away, waived)
    held = _hold(run, plan, known, missing)
    chosen = tuple(
        candidates[name] for name in _in_order(run, plan, tasks) if name in candidates and name not in held
    )
    _check_wanted(run, known, wanted, candidates, held, landed)
    if not chosen:
        raise _nothing(run, tasks, held, landed)
    return Selection(chosen, promoted, tuple(held.items()))


def _nothing(
    run: RunRecord, tasks: Sequence[TaskRecord], held: Mapping[str, str], landed: Mapping[str, Landed]
) -> StaleError:
    """Say why nothing goes: it waits, it went already, or it is not accepted."""
    where = [f"{name}: {why}" for name, why in held.items()]
    where += [f"{task.id}: {_why_not(task, landed)}" for task in tasks if task.promoted]
    hint = f"nightcrew review {run.id}, then: nightcrew accept {run.id}"
    if held:
        said = f"nothing of {run.id} can go yet"
    elif not where:
        said = f"nothing of {run.id} can be promoted: no task is accepted"
    elif all(task.promoted or task.state == "skipped" for task in tasks):
        said = f"all of {run.id} is promoted already"
        hint = f"to promote it somewhere else, take it back first: nightcrew undo {next(t.promoted for t in tasks if t.promoted)}"
    else:
        said = f"nothing of {run.id} can be promoted: no other task is accepted"
    return StaleError(said, code="promote.nothing", where=where, hint=hint)


def _in_order(run: RunRecord, plan: Plan, tasks: Sequence[TaskRecord]) -> list[str]:
    from nightcrew.plan.order import order_results

    return [join_task(run.id, name) for name in order_results(plan, tasks)]


@dataclass(frozen=True, slots=True)
class _Missing:
    """What decides whether a task can go: the candidates, why some are stale, what is on other branches, what is waived."""

    candidates: Mapping[str, TaskRecord]
    stale: Mapping[str, str]
    away: Mapping[str, Landed]
    waived: Collection[str]

    def blocks(self, other: TaskRecord, held: Mapping[str, str]) -> bool:
        """Tell whether what builds on a task cannot go because of it."""
        if other.promoted:
            return other.id in self.away
        return other.state != "skipped" and (other.id not in self.candidates or other.id in held)

    def explain(self, other: TaskRecord, held: Mapping[str, str]) -> str:
        """Say why the result of a task is not there."""
        if other.id in self.away:
            place = self.away[other.id]
            return f"on {place.branch} by {place.by}, and not where this goes: merge {place.branch} first, or --to {place.branch}"
        if other.id in held:
            return "held too"
        return "accepted but not named" if is_accepted(other) else "not accepted"


def _hold(run: RunRecord, plan: Plan, known: Mapping[str, TaskRecord], missing: _Missing) -> dict[str, str]:
    """Return the candidates that miss something they build on; in dependency order, so that holding spreads."""
    held: dict[str, str] = {}
    answers = choose_answers(known.values())
    for name in _in_order(run, plan, tuple(known.values())):
        if name not in missing.candidates:
            continue
        if name in missing.stale:
            held[name] = missing.stale[name]
            continue
        for need in plan.task(known[name].name).depends:
            other = answers[find_origin(need)]
            waived = known[name].name in missing.waived and other.id in missing.away
            if missing.blocks(other, held) and not waived:
                held[name] = f"it needs {need}, which is {missing.explain(other, held)}"
                break
    return held


def _stale(tasks: Sequence[TaskRecord]) -> dict[str, str]:
    """Return why results are stale, by task id."""
    from nightcrew.review.staleness import find_stale

    return {
        name: f"it was built on another {', '.join(others)} than there is now: nightcrew retry {name}, or --waive {name}"
        for name, others in find_stale(tasks).items()
    }


def _check_wanted(
    run: RunRecord,
    known: dict[str, TaskRecord],
    wanted: Sequence[str],
    candidates: dict[str, TaskRecord],
    held: dict[str, str],
    landed: Mapping[str, Landed],
) -> None:
    problems = [f"{name}: {_why_not(known[name], landed)}" for name in wanted if name not in candidates]
    problems += [f"{name}: {held[name]}" for name in wanted if name in held]
    if problems:
        raise StaleError(
            f"not everything you named of {run.id} can be promoted; nothing was done",
            code="promote.refused",
            where=problems,
            hint=f"nightcrew review {run.id}",
        )


def _why_not(task: TaskRecord, landed: Mapping[str, Landed]) -> str:
    if task.promoted:
        place = landed.get(task.id)
        return f"it is promoted already by {task.promoted}" + (f", to {place.branch}" if place else "")
    if task.verdict == "accepted" and task.verdict_tree != task.tree:
        return "it changed since you accepted it"
    return f"it is {task.state}, {task.verdict or 'not reviewed'}"
