"""Budgets of a run and its tasks, and what they have spent, read out of the tables. Only values, so that any process can.

A task's ``usage`` holds, as plain JSON, ``models`` (provider/model → what it took) and ``told`` (what the events of the
task say in sum); a run's ``usage`` is the sum of its tasks. A run's ``settings.budget`` holds ``run``, ``tasks`` (name → budget) and ``warn_at``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final

from nightcrew.model.ids import find_origin
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, Spent, describe_spent

#: Kinds of events.
RECORDED: Final = "usage.recorded"
WARNED: Final = "budget.warned"
REACHED: Final = "budget.reached"
EXTENDED: Final = "budget.extended"
#: What the reason of a pause begins with when a budget is why.
RAN_OUT: Final = "the budget of"


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets in force.

    Attributes:
        run: of the whole run. tasks: name of a task (``T01``) → its own. warn_at: part at which it is told.
    """

    run: Budget = Budget()
    tasks: Mapping[str, Budget] = field(default_factory=dict)
    warn_at: float = 0.8

    def of(self, task: str) -> Budget:
        """Return the budget of a task; a fork has one of the same size as what it was forked from."""
        return self.tasks.get(task, self.tasks.get(find_origin(task), Budget()))

    def to_plain(self) -> dict[str, Any]:
        """Return it for ``RunRecord.settings``."""
        tasks = {name: _to_plain(budget) for name, budget in self.tasks.items()}
        return {"run": _to_plain(self.run), "tasks": tasks, "warn_at": self.warn_at}


def _to_plain(budget: Budget) -> dict[str, Any]:
    return {"usd": budget.usd, "tokens": budget.tokens}


def _from_plain(plain: Mapping[str, Any]) -> Budget:
    return Budget(float(plain.get("usd", 0.0)), int(plain.get("tokens", 0)))


def read_limits(run: RunRecord) -> Limits:
    """Return the budgets of a run; none where it was planned without."""
    plain = run.settings.get("budget")
    if not isinstance(plain, Mapping):
        return Limits()
    tasks = {name: _from_plain(each) for name, each in plain.get("tasks", {}).items()}
    return Limits(_from_plain(plain.get("run", {})), tasks, float(plain.get("warn_at", 0.8)))


def read_spent(task: TaskRecord) -> Spent:
    """Return what all attempts of a task have taken, whatever became of them."""
    models = task.usage.get("models", {})
    return reduce(Spent.__add__, (Spent.from_plain(each) for each in models.values()), Spent())


def read_run_spent(run: RunRecord) -> Spent:
    """Return what all tasks of a run have taken."""
    return Spent.from_plain(run.usage)


def add_usage(usage: Mapping[str, Any], model: str, spent: Spent) -> dict[str, Any]:
    """Return a task's usage with one more answer of a model."""
    models = dict(usage.get("models", {}))
    models[model] = (Spent.from_plain(models.get(model, {})) + spent).to_plain()
    return {**usage, "models": models}


def tell_usage(usage: Mapping[str, Any], total: Spent) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an event says that was not said before, and the usage as it is once it is said."""
    plain, told = total.to_plain(), usage.get("told", {})
    new = {name: round(value - told.get(name, 0), 9) for name, value in plain.items()}
    data = {name: value for name, value in new.items() if value}
    said = {
        "models": sorted(usage.get("models", {})),
        "total_usd": total.usd,
        "total_tokens": total.tokens.total,
    }
    return {**data, **said}, {**usage, "told": plain}


def find_exhausted(run: RunRecord, tasks: Iterable[TaskRecord]) -> dict[str, str]:
    """Return the budgets that are spent: id of the run or task → in words."""
    limits, found = read_limits(run), {}
    if limits.run and limits.run.share(spent := read_run_spent(run)) >= 1:
        found[run.id] = describe_end(run.id, limits.run, spent)
    for task in tasks:
        own = limits.of(task.name)
        if own and own.share(spent := read_spent(task)) >= 1:
            found[task.id] = describe_end(task.id, own, spent)
    return found


def describe_end(name: str, budget: Budget, spent: Spent) -> str:
    """Return that a budget is spent, in words."""
    return f"{RAN_OUT} {name} is spent: {describe_spent(spent)} of {budget.describe()}"


def view_usage(spent: Spent, budget: Budget) -> dict[str, Any]:
    """Return what was spent, and of what, for ``--json``."""
    return {
        **spent.to_plain(),
        "total_tokens": spent.tokens.total,
        "said": describe_spent(spent),
        "budget": budget.describe(),
        "share": round(budget.share(spent), 4) if budget else None,
    }
