"""Budgets of a run: what its plan says, what bounds it, what is left, and raising it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightcrew.engine.books.budgets import (
    Calendar,
    Limits,
    Scope,
    concerns,
    find_exhausted,
    find_scopes,
    read_limits,
    read_run_spent,
    read_spent,
    view_usage,
)
from nightcrew.engine.books.days import find_calendar, read_days
from nightcrew.host.calendar import local_day
from nightcrew.model.errors import DeniedByPolicy, LimitReached, NightcrewError, UsageError
from nightcrew.model.ids import split_task
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, parse_budget
from nightcrew.runtime.money.stopping import choose_fallback

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
    pairs = [(getattr(wanted, kind), getattr(bound, kind)) for kind in ("usd", "tokens", "calls", "time_s")]
    return any(mine and most and mine > most for mine, most in pairs)


def budget_task(task: Task, rules: Rules) -> Task:
    """Return a task with the budget it has, its own or else the configured one, and with who takes over from its agent."""
    budget = task.budget or rules.settings.budgets.task.describe()
    return replace(task, budget=budget, fallback=choose_fallback(task, rules))


def limits_of(plan: Plan, rules: Rules) -> Mapping[str, Any]:
    """Return the budgets of a plan for the record of its run."""
    from nightcrew.runtime.roles import role_budgets

    own = rules.settings.budgets
    tasks = {task.id: parse_budget(task.budget) for task in plan.tasks if task.budget}
    run = parse_budget(plan.budget) if plan.budget else Budget()
    warn = rules.policy.settings.get("budget.warn_at_percent")
    warn_at = min(own.warn_at, float(warn.value) / 100 if warn else 1.0)
    roles = {
        name: budget.narrow(own.roles.get(name, Budget())) for name, budget in role_budgets(rules).items()
    }
    limits = Limits(
        run,
        tasks,
        warn_at,
        agents=own.agents,
        roles={**own.roles, **roles},
        calendar=find_calendar_bound(rules.policy),
        on_spent=own.on_spent,
        cheaper=own.cheaper,
        steep=own.steep,
    )
    return limits.to_plain()


def find_calendar_bound(policy: Policy) -> Calendar:
    """Return what the policy lets a day and a month cost at most; none when it says nothing."""
    day, month = policy.settings.get("budget.day_usd"), policy.settings.get("budget.month_usd")
    source = next((each.source for each in (day, month) if each is not None), "")
    return Calendar(
        Budget(float(day.value) if day else 0.0), Budget(float(month.value) if month else 0.0), source
    )


def read_calendar(parts: Parts) -> Calendar:
    """Return what a day and a month may cost by the user's own settings, as they are now.

    Raises:
        InvalidInput: they cannot be read.
    """
    from nightcrew.runtime.rules import read_own_settings

    own = read_own_settings(parts.env).budgets
    return Calendar(own.day, own.month, "config.yaml")


def days_of(parts: Parts, tx: Reader, run: RunRecord) -> list[Scope]:
    """Return the budgets of this day and month that hold for a run, with what is spent of them."""
    today = local_day(parts.clock.now())
    try:
        own = read_calendar(parts)
    except NightcrewError:
        # What is shown must not depend on settings that can be read; what runs holds on to the last ones.
        own = Calendar()
    return read_days(tx, find_calendar(tx, own, run, today), today)


def view_spending(parts: Parts, tx: Reader, run: RunRecord, tasks: list[TaskRecord]) -> dict[str, Any]:
    """Return what a run has spent of its budget, of every other budget in it, and which budgets are spent."""
    days = days_of(parts, tx, run)
    view = view_usage(read_run_spent(run), read_limits(run).run)
    return {
        **view,
        "exhausted": find_exhausted(run, tasks, days),
        "budgets": [view_scope(each) for each in find_scopes(run, tasks, days)],
    }


def view_scope(scope: Scope) -> dict[str, Any]:
    """Return one budget as it stands, for ``--json``."""
    return {"key": scope.key, **scope.to_event(), "usage": scope.spent.to_plain()}


def view_run_spending(run: RunRecord) -> dict[str, Any]:
    """Return what a run has spent of its budget."""
    return view_usage(read_run_spent(run), read_limits(run).run)


def view_task_spending(run: RunRecord, task: TaskRecord) -> dict[str, Any]:
    """Return the same of one task, with its models and agents."""
    own = read_limits(run).of(task.name)
    models, agents = task.usage.get("models", {}), task.usage.get("agents", {})
    return {
        **view_usage(read_spent(task), own),
        "models": {name: dict(each) for name, each in models.items()},
        "agents": {name: dict(each) for name, each in agents.items()},
    }


def refuse_exhausted(parts: Parts, tx: Reader, target: str) -> None:
    """Refuse to let something go on that would be stopped at its first question.

    Raises:
        LimitReached: a budget that holds for all of it is spent.
    """
    run = tx.need(RunRecord, split_task(target)[0] if "/" in target else target)
    tasks = tx.find(TaskRecord, run=run.id)
    task = next((each for each in tasks if each.id == target), None)
    for scope in find_scopes(run, tasks, days_of(parts, tx, run)):
        if scope.share >= 1 and concerns(scope.key, run, task):
            raise LimitReached(
                f"{target} cannot go on: {scope.describe_end()}",
                code="budget.spent",
                where=["what was done is kept"],
                hint=str(scope.to_event()["extend"]),
            )
