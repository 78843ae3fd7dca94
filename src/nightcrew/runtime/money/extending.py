"""Raising (or lowering) a budget, and letting go on what waited for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightcrew.engine.books import ledger
from nightcrew.engine.books.budgets import Calendar, find_exhausted, find_scopes, read_limits
from nightcrew.engine.money import enlarging
from nightcrew.host.calendar import local_day
from nightcrew.model.errors import DeniedByPolicy, LimitReached, StaleError
from nightcrew.model.ids import split_task
from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.model.usage import Budget, describe_against
from nightcrew.runtime.money.budgeting import days_of, exceeds, find_bound, read_budget, read_calendar
from nightcrew.runtime.people.terms import need_person

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts


def extend(parts: Parts, target: str, text: str, *, agent: str = "", role: str = "") -> dict[str, Any]:
    """Give a run or a task, or an agent or role in a run, a larger (or smaller) budget, and let go on what waited for it.

    Returns:
        ``budget`` and ``before`` in words, ``resumed``: ids of what goes on now.

    Raises:
        StaleError: it is over.
        LimitReached: that much is spent already.
        DeniedByPolicy: more than the policy allows.
    """
    need_person(parts, "plan")
    actor = f"user:{parts.env.user}"
    budget = read_budget(text)
    key = f"{target} agent {agent}" if agent else f"{target} role {role}" if role else target
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, split_task(target)[0] if "/" in target else target)
        task = tx.need(TaskRecord, target) if "/" in target else None
        _check_open(target, run, task)
        _check_bound(tx, run, key, budget)
        days = days_of(parts, tx, run)
        before = enlarging.find_budget(read_limits(run), run, key)
        tasks = tx.find(TaskRecord, run=run.id)
        waiting = enlarging.find_waiting(tx, run, find_exhausted(run, tasks, days))
        run = enlarging.set_budget(tx, run, key, budget, actor=actor)
        tasks = tx.find(TaskRecord, run=run.id)
        left = find_exhausted(run, tasks, days)
        if key in left:
            raise _too_little(left[key], target)
        resumed = enlarging.release(tx, run, waiting, left, actor=actor)
        scope = next((each for each in find_scopes(run, tasks) if each.key == key), None)
        spent = describe_against(scope.spent, scope.budget) if scope is not None else ""
    return {
        "id": target,
        **({"agent": agent} if agent else {}),
        **({"role": role} if role else {}),
        "budget": budget.describe() or "none",
        "before": before.describe() or "none",
        "resumed": resumed,
        "spent": spent,
        "still_spent": {name: said for name, said in left.items() if name != key},
    }


def extend_period(parts: Parts, of: str, text: str) -> dict[str, Any]:
    """Let this day, or this month, cost something else than the settings say, and let go on what waited for it.

    Args:
        of: ``day`` or ``month``.
    """
    need_person(parts, "plan")
    budget = read_budget(text)
    today = local_day(parts.clock.now())
    period = today if of == "day" else today[:7]
    own: Calendar = read_calendar(parts)
    resumed: list[str] = []
    with parts.journal.write() as tx:
        before = ledger.read_allowed(tx, period, getattr(own, of))
        spent = ledger.read_day(tx, today) if of == "day" else ledger.read_month(tx, period)
        if budget and budget.share(spent) >= 1:
            raise _too_little(f"{describe_against(spent, budget)} in {period}", "")
        runs = tx.find(RunRecord, state=("running", "paused"))
        waiting = {
            run.id: enlarging.find_waiting(
                tx, run, find_exhausted(run, tx.find(TaskRecord, run=run.id), days_of(parts, tx, run))
            )
            for run in runs
        }
        enlarging.set_period(tx, period, budget, before, actor=f"user:{parts.env.user}")
        for run in runs:
            left = find_exhausted(run, tx.find(TaskRecord, run=run.id), days_of(parts, tx, run))
            resumed += enlarging.release(tx, run, waiting[run.id], left, actor=f"user:{parts.env.user}")
    return {
        "id": period,
        "budget": budget.describe() or "none",
        "before": before.describe() or "none",
        "resumed": resumed,
        "spent": describe_against(spent, budget),
        "still_spent": {},
    }


def _check_open(target: str, run: RunRecord, task: TaskRecord | None) -> None:
    state, over = (task.state, TASK_FINAL) if task else (run.state, RUN_FINAL)
    if state in over or run.state in RUN_FINAL:
        raise StaleError(f"{target} is {state}; a budget changes nothing", hint=f"nightcrew show {target}")


def _check_bound(tx: Reader, run: RunRecord, key: str, budget: Budget) -> None:
    from nightcrew.runtime.rules import rules_from_plain

    rules = rules_from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").policies)
    bound, source = find_bound(rules.policy)
    if key == run.id and exceeds(budget, bound):
        raise DeniedByPolicy(
            f"a budget of {budget.describe() or 'none'} is more than the policy of this run allows: {bound.describe()}",
            code="budget.bound",
            where=[source, "nothing was changed"],
            hint=f"nightcrew extend {run.id} --budget '{bound.describe()}', or less",
        )


def _too_little(said: str, target: str) -> LimitReached:
    return LimitReached(
        f"that much is spent already: {said}; nothing was changed",
        code="budget.spent",
        hint=f"nightcrew show {target}" if target else "nightcrew budget show",
    )
