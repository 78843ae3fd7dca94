"""What the runs of this host spend on models: written down with every answer, told now and then, stopped at the budget.

An answer's cost is in the tables before the agent sees its end, so neither a killed host nor a restart forgets money.
When a budget is spent, its run (or task) is paused in the same transaction: whatever its agents still ask is refused,
they are ended with all they have done kept, and a person can raise the budget and let them go on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine import budgets, pausing
from nightcrew.engine.budgets import Limits, read_limits, read_run_spent, read_spent
from nightcrew.host import crash
from nightcrew.host.clock import Clock
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, Spent, describe_spent

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: Answers of a task within this time are told by one event; the tables have each at once.
TELL_S: Final = 10.0


class Spending:
    """What one run spends; shared by all its attempts, safe to use from any thread.

    Args:
        journal, clock: of the host.
        run: id of the run.
    """

    def __init__(self, journal: Journal, clock: Clock, run: str) -> None:
        self._journal = journal
        self._clock = clock
        self._run = run
        self._lock = threading.Lock()
        self._limits = Limits()
        self._spent: dict[str, Spent] = {}
        self._whole = Spent()
        self._told_s: dict[str, float] = {}
        self._said: set[tuple[str, str, Budget]] = set()

    def refresh(self) -> None:
        """Read anew how things stand; called before each attempt, because a budget may have been raised meanwhile."""
        with self._lock:
            with self._journal.read() as tx:
                run = tx.need(RunRecord, self._run)
                tasks = tx.find(TaskRecord, run=self._run)
            self._limits = read_limits(run)
            self._spent = {task.name: read_spent(task) for task in tasks}
            self._whole = read_run_spent(run)
            # What is let go on without a larger budget is told again, and stopped again.
            self._said = {each for each in self._said if each[0] != budgets.REACHED}
            for scope, budget, spent in self._scopes(""):
                if budget.share(spent) >= self._limits.warn_at:
                    # It was told when it came so far, by this host or another.
                    self._said.add((budgets.WARNED, scope, budget))

    def wants_money(self, task: str) -> bool:
        """Tell whether a budget in money holds for a task, so that what it uses must have a known price."""
        with self._lock:
            return any(budget.usd for _, budget, _ in self._scopes(task))

    def find_end(self, task: str) -> str:
        """Return why a task may ask nothing more, in words; empty while it may."""
        with self._lock:
            for scope, budget, spent in self._scopes(task):
                if budget and budget.share(spent) >= 1:
                    return budgets.describe_end(self._name(scope), budget, spent)
        return ""

    def record(self, task: str, attempt: str, model: str, spent: Spent) -> None:
        """Write down what an answer took, and stop what has spent its budget by that.

        Args:
            task: name of the task (``T01``). attempt: its full id.
            model: ``provider/model``.
            spent: what it took.
        """
        with self._lock, self._journal.write() as tx:
            record = tx.need(TaskRecord, f"{self._run}/{task}")
            usage = budgets.add_usage(record.usage, model, spent)
            run = tx.need(RunRecord, self._run)
            whole = read_run_spent(run) + spent
            self._limits = read_limits(tx.change(run, "", usage=whole.to_plain()))
            now = self._clock.monotonic()
            due = now - self._told_s.get(task, -TELL_S) >= TELL_S
            if due:
                self._told_s[task] = now
            record = _write(tx, record, usage, tell=due)
            self._spent[task] = read_spent(record)
            self._whole = whole
            self._draw(tx, task, attempt)
        crash.point("engine.usage.recorded")

    def tell_rest(self, task: str) -> None:
        """Tell what was written down and not told yet; called when an attempt is over."""
        with self._lock, self._journal.write() as tx:
            record = tx.need(TaskRecord, f"{self._run}/{task}")
            if record.usage.get("told", {}) != read_spent(record).to_plain() and record.usage:
                _write(tx, record, record.usage, tell=True)

    def halt(self, task: str, attempt: str) -> None:
        """Stop a task that has asked although its budget was spent before: it was let go on without a larger one."""
        with self._lock, self._journal.write() as tx:
            self._draw(tx, task, attempt)

    def _draw(self, tx: Writer, task: str, attempt: str) -> None:
        """Tell of budgets that come to their end, and pause what has spent its own."""
        for scope, budget, spent in self._scopes(task):
            share = budget.share(spent)
            if share >= 1 and self._is_news(budgets.REACHED, scope, budget):
                self._tell(tx, budgets.REACHED, scope, attempt, _describe(budget, spent))
                _pause(tx, self._name(scope), budgets.describe_end(self._name(scope), budget, spent))
            elif budget and share >= self._limits.warn_at and self._is_news(budgets.WARNED, scope, budget):
                self._tell(tx, budgets.WARNED, scope, attempt, _describe(budget, spent))

    def _is_news(self, kind: str, scope: str, budget: Budget) -> bool:
        news = (kind, scope, budget) not in self._said
        self._said.add((kind, scope, budget))
        return news

    def _tell(self, tx: Writer, kind: str, scope: str, attempt: str, data: dict[str, Any]) -> None:
        task = self._name(scope) if scope else ""
        tx.append(kind, run=self._run, task=task, attempt=attempt if scope else "", data=data)

    def _scopes(self, task: str) -> list[tuple[str, Budget, Spent]]:
        """Return what holds for a task: its name, or empty for the run; the budget; what is spent of it."""
        own = {name: self._limits.of(name) for name in ([task] if task else self._spent)}
        found = [(name, budget, self._spent.get(name, Spent())) for name, budget in own.items() if budget]
        return [*([("", self._limits.run, self._whole)] if self._limits.run else []), *found]

    def _name(self, scope: str) -> str:
        return f"{self._run}/{scope}" if scope else self._run


class Spendings:
    """The spending of every run that this process hosts."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, Spending] = {}

    def open(self, run: str) -> Spending:
        """Return the spending of a run as it stands now."""
        with self._lock:
            found = self._runs.setdefault(run, Spending(self._journal, self._clock, run))
        found.refresh()
        return found

    def forget(self, run: str) -> None:
        """Forget a run that is over."""
        with self._lock:
            self._runs.pop(run, None)


def _write(tx: Writer, record: TaskRecord, usage: Mapping[str, Any], *, tell: bool) -> TaskRecord:
    if not tell:
        return tx.change(record, "", usage=usage)
    data, told = budgets.tell_usage(usage, read_spent(replace(record, usage=usage)))
    return tx.change(record, budgets.RECORDED, data=data, usage=told)


def _describe(budget: Budget, spent: Spent) -> dict[str, Any]:
    return {
        "budget": budget.describe(),
        "spent": describe_spent(spent),
        "share": round(budget.share(spent), 4),
    }


def _pause(tx: Writer, target: str, reason: str) -> None:
    """Pause a run or task; one that is paused, waits or is over has stopped already."""
    if "/" in target:
        task = tx.need(TaskRecord, target)
        if task.state == "running" and tx.need(RunRecord, task.run).state == "running":
            pausing.request(tx, target, actor="engine", reason=reason)
    elif tx.need(RunRecord, target).state == "running":
        pausing.request(tx, target, actor="engine", reason=reason)
