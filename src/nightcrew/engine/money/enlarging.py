"""Giving more of a budget, and letting go on what waited for it. Only tables, so that any process can."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from nightcrew.engine.books import budgets, ledger
from nightcrew.engine.books.budgets import EXTENDED, RAN_OUT, Limits, concerns, read_limits
from nightcrew.engine.course import pausing
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer


def find_budget(limits: Limits, run: RunRecord, key: str) -> Budget:
    """Return a budget of a run by its key, see ``Scope.key``."""
    kind, name = split_key(run, key)
    match kind:
        case "task":
            return limits.of(name)
        case "agent":
            return limits.agents.get(name, Budget())
        case "role":
            return limits.of_role(name)
        case _:
            return limits.run


def split_key(run: RunRecord, key: str) -> tuple[str, str]:
    """Return kind and name of the budget that a key means."""
    for kind in ("agent", "role"):
        before = f"{run.id} {kind} "
        if key.startswith(before):
            return kind, key.removeprefix(before)
    if "/" in key:
        return "task", key.partition("/")[2]
    return ("run", key) if key == run.id else ("period", key)


def set_budget(tx: Writer, run: RunRecord, key: str, budget: Budget, *, actor: str) -> RunRecord:
    """Write down a new budget; returns the run as it is then."""
    limits = read_limits(run)
    kind, name = split_key(run, key)
    before = find_budget(limits, run, key)
    match kind:
        case "task":
            limits = replace(limits, tasks={**limits.tasks, name: budget})
        case "agent":
            limits = replace(limits, agents={**limits.agents, name: budget})
        case "role":
            # Apart from what its role says: that stands with the roles, and holds again in the next run.
            limits = replace(limits, roles={**limits.roles, name: budget})
        case _:
            limits = replace(limits, run=budget)
    run = tx.change(run, "", settings={**run.settings, "budget": limits.to_plain()})
    data = {
        "of": kind,
        "name": name,
        "budget": budget.describe() or "none",
        "before": before.describe() or "none",
    }
    tx.append(EXTENDED, run=run.id, task=key if kind == "task" else "", actor=actor, data=data)
    return run


def set_period(tx: Writer, period: str, budget: Budget, before: Budget, *, actor: str) -> None:
    """Write down what one day or month may cost."""
    ledger.allow(tx, period, budget)
    of = "day" if len(period) > len("2026-11") else "month"
    data = {
        "of": of,
        "name": period,
        "budget": budget.describe() or "none",
        "before": before.describe() or "none",
    }
    tx.append(EXTENDED, actor=actor, data=data)


def find_waiting(tx: Writer, run: RunRecord, exhausted: Mapping[str, str]) -> list[str]:
    """Return what is paused because a budget is spent: the run as a whole, or single tasks of it."""
    tasks = tx.find(TaskRecord, run=run.id, state="paused")
    if run.state == "paused":
        spent = any(concerns(key, run, None) for key in exhausted)
        return [run.id] if spent or is_about_budget(run.reason) else []
    return [
        task.id
        for task in tasks
        if is_about_budget(task.reason) or any(concerns(key, run, task) for key in exhausted)
    ]


def is_about_budget(reason: str) -> bool:
    """Tell whether a pause is because a budget is spent."""
    return reason.startswith(RAN_OUT)


def release(
    tx: Writer, run: RunRecord, waiting: Collection[str], left: Mapping[str, str], *, actor: str
) -> list[str]:
    """Let go on what waited and may now; returns the ids."""
    resumed = []
    for name in waiting:
        task = tx.get(TaskRecord, name) if "/" in name else None
        if any(concerns(key, run, task) for key in left):
            continue
        pausing.release(tx, name, actor=actor)
        resumed.append(name)
    return resumed


def enlarge(tx: Writer, run: RunRecord, key: str, more: Budget, *, actor: str) -> list[str]:
    """Give more of a budget than there is, and let go on what waited for it; returns their ids."""
    exhausted = budgets.find_exhausted(run, tx.find(TaskRecord, run=run.id))
    waiting = find_waiting(tx, run, {**exhausted, key: ""})
    if split_key(run, key)[0] == "period":
        before = ledger.read_allowed(tx, key, more)
        set_period(tx, key, before + more, before, actor=actor)
    else:
        run = set_budget(tx, run, key, find_budget(read_limits(run), run, key) + more, actor=actor)
    left = budgets.find_exhausted(run, tx.find(TaskRecord, run=run.id))
    return release(tx, run, waiting, left, actor=actor)
