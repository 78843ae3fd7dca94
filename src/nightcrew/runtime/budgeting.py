"""Budgets of a run: what its plan says, what bounds it, what is left, and raising it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightcrew.engine.budgets import (
    EXTENDED,
    RAN_OUT,
    Limits,
    find_exhausted,
    read_limits,
    read_run_spent,
    read_spent,
    view_usage,
)
from nightcrew.model.errors import DeniedByPolicy, LimitReached, StaleError, UsageError
from nightcrew.model.ids import split_task
from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, describe_spent, parse_budget

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules


def read_budget(text: str) -> Budget:
    """Return a budget that a person typed.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_budget(text)
    except ValueError as error:
        raise UsageError(str(error), code="budget.invalid", hint="nightcrew run --budget 25usd") from None


def find_bound(policy: Policy) -> tuple[Budget, str]:
    """Return what the policy lets one run cost at most, and where it says so; none when it says nothing."""
    usd, tokens = policy.settings.get("budget.usd"), policy.settings.get("budget.tokens")
    bound = Budget(float(usd.value) if usd else 0.0, int(tokens.value) if tokens else 0)
    return bound, next((each.source for each in (usd, tokens) if each is not None), "")


def choose_run_budget(rules: Rules, asked: str) -> str:
    """Return the budget of a run as it stands in its plan: as asked for, else as configured; empty for none.

    Raises:
        UsageError: what was asked for is no budget.
        DeniedByPolicy: it is more than the policy allows.
    """
    bound, source = find_bound(rules.policy)
    if not asked:
        return rules.settings.budgets.run.narrow(bound).describe()
    wanted = read_budget(asked)
    if exceeds(wanted, bound):
        raise DeniedByPolicy(
            f"a budget of {wanted.describe() or 'none'} is more than the policy allows: {bound.describe()}",
            code="budget.bound",
            where=[source, "nothing was started"],
            hint=f"--budget '{bound.describe()}', or less",
        )
    return wanted.narrow(bound).describe()


def exceeds(wanted: Budget, bound: Budget) -> bool:
    """Tell whether a budget is larger than its bound in what it names, or names nothing where there is a bound."""
    if not wanted:
        return bool(bound)
    more_usd = bool(wanted.usd and bound.usd and wanted.usd > bound.usd)
    return more_usd or bool(wanted.tokens and bound.tokens and wanted.tokens > bound.tokens)


def budget_task(task: Task, rules: Rules) -> Task:
    """Return a task with the budget it has: its own, else the configured one."""
    return task if task.budget else replace(task, budget=rules.settings.budgets.task.describe())


def limits_of(plan: Plan, rules: Rules) -> Mapping[str, Any]:
    """Return the budgets of a plan for the record of its run."""
    tasks = {task.id: parse_budget(task.budget) for task in plan.tasks if task.budget}
    run = parse_budget(plan.budget) if plan.budget else Budget()
    warn = rules.policy.settings.get("budget.warn_at_percent")
    warn_at = min(rules.settings.budgets.warn_at, float(warn.value) / 100 if warn else 1.0)
    return Limits(run, tasks, warn_at).to_plain()


def view_spending(run: RunRecord, tasks: list[TaskRecord]) -> dict[str, Any]:
    """Return what a run has spent of its budget, and which budgets are spent."""
    view = view_usage(read_run_spent(run), read_limits(run).run)
    return {**view, "exhausted": find_exhausted(run, tasks)}


def view_run_spending(run: RunRecord) -> dict[str, Any]:
    """Return what a run has spent of its budget."""
    return view_usage(read_run_spent(run), read_limits(run).run)


def view_task_spending(run: RunRecord, task: TaskRecord) -> dict[str, Any]:
    """Return the same of one task, with its models."""
    own = read_limits(run).of(task.name)
    models = task.usage.get("models", {})
    return {
        **view_usage(read_spent(task), own),
        "models": {name: dict(each) for name, each in models.items()},
    }


def refuse_exhausted(tx: Reader, target: str) -> None:
    """Refuse to let something go on that would be stopped at its first question.

    Raises:
        LimitReached: its budget, or that of its run, is spent.
    """
    run = tx.need(RunRecord, split_task(target)[0] if "/" in target else target)
    found = find_exhausted(run, tx.find(TaskRecord, run=run.id))
    name = next((each for each in (run.id, target) if each in found), "")
    if name:
        raise LimitReached(
            f"{target} cannot go on: {found[name]}",
            code="budget.spent",
            where=["what was done is kept"],
            hint=f"nightcrew extend {name} --budget AMOUNT",
        )


def extend(parts: Parts, target: str, text: str) -> dict[str, Any]:
    """Give a run or a task a larger (or smaller) budget, and let go on what waited for it.

    Returns:
        ``budget`` and ``before`` in words, ``resumed``: ids of what goes on now.

    Raises:
        StaleError: it is over.
        LimitReached: that much is spent already.
        DeniedByPolicy: more than the policy allows.
    """
    from nightcrew.engine import pausing

    actor = f"user:{parts.env.user}"
    budget = read_budget(text)
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, split_task(target)[0] if "/" in target else target)
        task = tx.need(TaskRecord, target) if "/" in target else None
        state, over = (task.state, TASK_FINAL) if task else (run.state, RUN_FINAL)
        if state in over or run.state in RUN_FINAL:
            raise StaleError(
                f"{target} is {state}; a budget changes nothing", hint=f"nightcrew show {target}"
            )
        _check_bound(tx, run, task, budget)
        old = read_limits(run)
        before = old.of(task.name) if task else old.run
        new = replace(old, tasks={**old.tasks, task.name: budget}) if task else replace(old, run=budget)
        waiting = _find_waiting(tx, run, find_exhausted(run, tx.find(TaskRecord, run=run.id)))
        run = tx.change(run, "", settings={**run.settings, "budget": new.to_plain()})
        data = {"budget": budget.describe() or "none", "before": before.describe() or "none"}
        tx.append(EXTENDED, run=run.id, task=target if task else "", actor=actor, data=data)
        left = find_exhausted(run, tx.find(TaskRecord, run=run.id))
        if target in left:
            raise LimitReached(
                f"that much is spent already: {left[target]}; nothing was changed",
                code="budget.spent",
                hint=f"nightcrew show {target}",
            )
        resumed = [name for name in waiting if name not in left and run.id not in left]
        for name in resumed:
            pausing.release(tx, name, actor=actor)
    return {"id": target, **data, "resumed": resumed, "spent": _describe_spent(parts, target)}


def _check_bound(tx: Reader, run: RunRecord, task: TaskRecord | None, budget: Budget) -> None:
    from nightcrew.model.records import PlanRecord
    from nightcrew.runtime.rules import rules_from_plain

    rules = rules_from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").policies)
    bound, source = find_bound(rules.policy)
    if task is None and exceeds(budget, bound):
        raise DeniedByPolicy(
            f"a budget of {budget.describe() or 'none'} is more than the policy of this run allows: {bound.describe()}",
            code="budget.bound",
            where=[source, "nothing was changed"],
            hint=f"nightcrew extend {run.id} --budget '{bound.describe()}', or less",
        )


def _find_waiting(tx: Reader, run: RunRecord, exhausted: Mapping[str, str]) -> list[str]:
    """Return what is paused because a budget is spent: the run as a whole, or single tasks of it."""
    if run.state == "paused":
        return [run.id] if run.id in exhausted or _is_about_budget(run.reason) else []
    paused = tx.find(TaskRecord, run=run.id, state="paused")
    return [task.id for task in paused if task.id in exhausted or _is_about_budget(task.reason)]


def _is_about_budget(reason: str) -> bool:
    return reason.startswith(RAN_OUT)


def _describe_spent(parts: Parts, target: str) -> str:
    with parts.journal.read() as tx:
        if "/" in target:
            return describe_spent(read_spent(tx.need(TaskRecord, target)))
        return describe_spent(read_run_spent(tx.need(RunRecord, target)))
