"""Which tasks of a run can be promoted, which cannot, and why."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from nightcrew.model.answers import choose_answers, is_accepted
from nightcrew.model.errors import NotFound, StaleError
from nightcrew.model.ids import find_origin, join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import RunRecord, TaskRecord


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
        t.id: t for t in tasks if is_accepted(t) and not t.promoted and (not wanted or t.id in wanted)
    }
    stale = {name: why for name, why in _stale(tasks).items() if known[name].name not in waived}
    held = _hold(run, plan, known, candidates, stale)
    chosen = tuple(
        candidates[name] for name in _in_order(run, plan, tasks) if name in candidates and name not in held
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


def _in_order(run: RunRecord, plan: Plan, tasks: Sequence[TaskRecord]) -> list[str]:
    from nightcrew.plan.order import order_results

    return [join_task(run.id, name) for name in order_results(plan, tasks)]


def _hold(
    run: RunRecord,
    plan: Plan,
    known: dict[str, TaskRecord],
    candidates: dict[str, TaskRecord],
    stale: dict[str, str],
) -> dict[str, str]:
    """Return the candidates that miss something they build on; in dependency order, so that holding spreads."""
    held: dict[str, str] = {}
    answers = choose_answers(known.values())
    for name in _in_order(run, plan, tuple(known.values())):
        if name not in candidates:
            continue
        if name in stale:
            held[name] = stale[name]
            continue
        for need in plan.task(known[name].name).depends:
            other = answers[find_origin(need)]
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
    return "accepted but not named" if is_accepted(task) else "not accepted"


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
