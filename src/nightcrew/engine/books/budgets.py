"""Budgets of a run and what is in it, and what they have spent, read out of the tables. Only values, so that any process can.

A task's ``usage`` holds, as plain JSON, ``models`` (provider/model → what it took), ``agents`` (agent → the same),
``open`` (questions that are asked and not answered yet) and ``told`` (what the events of the task say in sum); a run's
``usage`` is the sum of its tasks. A run's ``settings.budget`` is a ``Limits``; what a day and a month may cost is no part of a
run: it is the user's, and read anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Final, Literal

from nightcrew.model.ids import find_origin
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, Spent, describe_against, describe_spent

#: Kinds of events.
RECORDED: Final = "usage.recorded"
WARNED: Final = "budget.warned"
REACHED: Final = "budget.reached"
EXTENDED: Final = "budget.extended"
STEEP: Final = "budget.steep"
DEGRADED: Final = "budget.degraded"
#: What the reason of a pause begins with when a budget is why.
RAN_OUT: Final = "the budget of"

#: What a budget is of.
Of = Literal["run", "task", "agent", "role", "day", "month"]
#: What follows when one is spent: ``pause`` what spends it, ``ask`` for more of it, ``stop`` the run for good, or
#: ``degrade`` to a cheaper agent from the warning on (and pause when that is not enough).
FOLLOWS: Final = ("pause", "ask", "stop", "degrade")


@dataclass(frozen=True, slots=True)
class Calendar:
    """What all runs together may cost.

    Attributes:
        day, month: of the user's own calendar. source: where that is said, for a hint.
    """

    day: Budget = Budget()
    month: Budget = Budget()
    source: str = ""

    def narrow(self, other: Calendar) -> Calendar:
        """Return the smaller one of each kind."""
        return Calendar(self.day.narrow(other.day), self.month.narrow(other.month), self.source)


@dataclass(frozen=True, slots=True)
class Limits:
    """The budgets in force in a run.

    Attributes:
        run: of the whole run. tasks: name of a task (``T01``) → its own. warn_at: part at which it is told.
        agents, roles: name → what all its tasks of this run take together.
        calendar: what the policy of this run lets a day and a month cost; the user's own settings may say less.
        on_spent: see FOLLOWS. cheaper: agent → the one that takes over when it has become too expensive.
        steep: how many times faster than before money may go before it is told; 0 for never.
    """

    run: Budget = Budget()
    tasks: Mapping[str, Budget] = field(default_factory=dict)
    warn_at: float = 0.8
    agents: Mapping[str, Budget] = field(default_factory=dict)
    roles: Mapping[str, Budget] = field(default_factory=dict)
    calendar: Calendar = Calendar()
    on_spent: str = "pause"
    cheaper: Mapping[str, str] = field(default_factory=dict)
    steep: float = 3.0

    def of(self, task: str) -> Budget:
        """Return the budget of a task; a fork has one of the same size as what it was forked from."""
        return self.tasks.get(task, self.tasks.get(find_origin(task), Budget()))

    def of_role(self, role: str) -> Budget:
        """Return what the tasks of a role may take together."""
        return self.roles.get(role, Budget()) if role else Budget()

    def is_timed(self, calendar: Calendar) -> bool:
        """Tell whether any budget is in time, so that the working time of every agent counts."""
        groups = (self.tasks, self.agents, self.roles)
        every = [
            self.run,
            calendar.day,
            calendar.month,
            *(each for group in groups for each in group.values()),
        ]
        return any(each.time_s for each in every)

    def to_plain(self) -> dict[str, Any]:
        """Return it for ``RunRecord.settings``."""
        return {
            "run": self.run.to_plain(),
            "tasks": _all_to_plain(self.tasks),
            "warn_at": self.warn_at,
            "agents": _all_to_plain(self.agents),
            "roles": _all_to_plain(self.roles),
            "day": self.calendar.day.to_plain(),
            "month": self.calendar.month.to_plain(),
            "calendar_source": self.calendar.source,
            "on_spent": self.on_spent,
            "cheaper": dict(self.cheaper),
            "steep": self.steep,
        }


def _all_to_plain(budgets: Mapping[str, Budget]) -> dict[str, Any]:
    return {name: budget.to_plain() for name, budget in budgets.items()}


def _all_from_plain(plain: Mapping[str, Any]) -> dict[str, Budget]:
    return {name: Budget.from_plain(each) for name, each in plain.items()}


def read_limits(run: RunRecord) -> Limits:
    """Return the budgets of a run; none where it was planned without."""
    plain = run.settings.get("budget")
    plain = plain if isinstance(plain, Mapping) else {}
    calendar = Calendar(
        Budget.from_plain(plain.get("day", {})),
        Budget.from_plain(plain.get("month", {})),
        str(plain.get("calendar_source", "")),
    )
    return Limits(
        Budget.from_plain(plain.get("run", {})),
        _all_from_plain(plain.get("tasks", {})),
        float(plain.get("warn_at", 0.8)),
        _all_from_plain(plain.get("agents", {})),
        _all_from_plain(plain.get("roles", {})),
        calendar,
        str(plain.get("on_spent", "pause")),
        dict(plain.get("cheaper", {})),
        float(plain.get("steep", 3.0)),
    )


@dataclass(frozen=True, slots=True)
class Scope:
    """One budget that holds for what an agent asks.

    Attributes:
        of: kind. name: run id, task id, agent, role, day or month.
        run: whose it is; empty for a day or month.
        budget, spent: what it is, and how much of it is gone.
    """

    of: Of
    name: str
    run: str
    budget: Budget
    spent: Spent

    @property
    def key(self) -> str:
        """A name for it that no other has: what is shown in ``exhausted``, and what questions are held against."""
        return {"agent": f"{self.run} agent {self.name}", "role": f"{self.run} role {self.name}"}.get(
            self.of, self.name
        )

    @property
    def share(self) -> float:
        """How much of it is gone; 0 where there is no limit."""
        return self.budget.share(self.spent) if self.budget else 0.0

    @property
    def told(self) -> str:
        """What it is of, in words."""
        said = {
            "agent": f"agent {self.name} in {self.run}",
            "role": f"role {self.name} in {self.run}",
            "day": f"the day {self.name}",
            "month": f"the month {self.name}",
        }
        return said.get(self.of, self.name)

    def describe_end(self) -> str:
        """Return that it is spent, in words."""
        return f"{RAN_OUT} {self.told} is spent: {describe_against(self.spent, self.budget)} of {self.budget.describe()}"

    def to_event(self) -> dict[str, Any]:
        """Return it as the data of an event."""
        return {
            "of": self.of,
            "name": self.name,
            "budget": self.budget.describe(),
            "spent": describe_against(self.spent, self.budget),
            "share": round(self.share, 4),
            "said": f"{describe_against(self.spent, self.budget)} of {self.budget.describe()} for {self.told}"
            f" ({self.share:.0%})",
            "extend": hint_extend(self),
        }


def hint_extend(scope: Scope) -> str:
    """Return the command that gives more of a budget."""
    match scope.of:
        case "run" | "task":
            return f"nightcrew extend {scope.name} --budget AMOUNT"
        case "agent" | "role":
            return f"nightcrew extend {scope.run} --{scope.of} {scope.name} --budget AMOUNT"
        case _:
            return f"nightcrew extend {scope.of} --budget AMOUNT"


def read_spent(task: TaskRecord) -> Spent:
    """Return what all attempts of a task have taken, whatever became of them."""
    models = task.usage.get("models", {})
    total = reduce(Spent.__add__, (Spent.from_plain(each) for each in models.values()), Spent())
    worked = float(task.usage.get("seconds", 0.0))
    return total + Spent(seconds=worked) if worked else total


def read_agents(task: TaskRecord) -> dict[str, Spent]:
    """Return what each agent has taken for a task; of before that was kept apart, all is its agent's."""
    agents = task.usage.get("agents")
    if isinstance(agents, Mapping):
        return {name: Spent.from_plain(each) for name, each in agents.items()}
    spent = read_spent(task)
    return {task.agent: spent} if spent.requests else {}


def read_run_spent(run: RunRecord) -> Spent:
    """Return what all tasks of a run have taken."""
    return Spent.from_plain(run.usage)


def add_usage(usage: Mapping[str, Any], model: str, spent: Spent, agent: str = "") -> dict[str, Any]:
    """Return a task's usage with one more answer of a model; without one, with more time that its agent worked."""
    new = dict(usage)
    if model:
        models = dict(usage.get("models", {}))
        models[model] = (Spent.from_plain(models.get(model, {})) + spent).to_plain()
        new["models"] = models
    else:
        new["seconds"] = round(float(usage.get("seconds", 0.0)) + spent.seconds, 3)
    if agent:
        agents = dict(usage.get("agents", {}))
        agents[agent] = (Spent.from_plain(agents.get(agent, {})) + spent).to_plain()
        new["agents"] = agents
    return new


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


def find_scopes(run: RunRecord, tasks: Iterable[TaskRecord], days: Sequence[Scope] = ()) -> list[Scope]:
    """Return every budget of a run, with those of day and month that hold for it."""
    limits, found, tasks = read_limits(run), list[Scope](), list(tasks)
    if limits.run:
        found.append(Scope("run", run.id, run.id, limits.run, read_run_spent(run)))
    for task in tasks:
        if own := limits.of(task.name):
            found.append(Scope("task", task.id, run.id, own, read_spent(task)))
    for name, budget in limits.agents.items():
        parts = (read_agents(task).get(name, Spent()) for task in tasks)
        found.append(Scope("agent", name, run.id, budget, reduce(Spent.__add__, parts, Spent())))
    for name, budget in limits.roles.items():
        parts = (read_spent(task) for task in tasks if find_role(task) == name)
        found.append(Scope("role", name, run.id, budget, reduce(Spent.__add__, parts, Spent())))
    return [*(each for each in found if each.budget), *days]


def find_role(task: TaskRecord) -> str:
    """Return the role a task is done in."""
    return str(getattr(task, "role", ""))


def find_exhausted(run: RunRecord, tasks: Iterable[TaskRecord], days: Sequence[Scope] = ()) -> dict[str, str]:
    """Return the budgets that are spent: id of the run or task, or ``R-1 agent claude``, or a day or month → in words."""
    return {scope.key: scope.describe_end() for scope in find_scopes(run, tasks, days) if scope.share >= 1}


def concerns(key: str, run: RunRecord, task: TaskRecord | None) -> bool:
    """Tell whether a budget, by its key, holds for a run as a whole, or for one task of it."""
    if " agent " in key:
        return task is not None and key.endswith(f" agent {task.agent}")
    if " role " in key:
        return task is not None and key.endswith(f" role {find_role(task)}")
    if "/" in key:
        return task is not None and key == task.id
    return True


def describe_end(name: str, budget: Budget, spent: Spent) -> str:
    """Return that a budget is spent, in words."""
    return f"{RAN_OUT} {name} is spent: {describe_against(spent, budget)} of {budget.describe()}"


def view_usage(spent: Spent, budget: Budget) -> dict[str, Any]:
    """Return what was spent, and of what, for ``--json``."""
    counted = budget.calls or (budget.time_s and spent.seconds)
    return {
        **spent.to_plain(),
        "total_tokens": spent.tokens.total,
        "said": describe_against(spent, budget) if counted else describe_spent(spent),
        "budget": budget.describe(),
        "share": round(budget.share(spent), 4) if budget else None,
    }
