"""What the runs of this host spend on models: held before a question, written down with every answer, stopped at the budget.

An answer's cost is in the tables before the agent sees its end, and that it was asked before it was: so neither a killed host
nor a restart forgets money, and two agents at once cannot both spend the last dollar (see ``reserving``). When a budget is
spent, what it is of is stopped in the same transaction (see ``ceilings``): whatever agents still ask is refused, they are
ended with all they have done kept, and a person can raise the budget and let them go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.books import budgets, ledger
from nightcrew.engine.books.budgets import Calendar, Limits, Scope, read_limits, read_run_spent, read_spent
from nightcrew.engine.books.days import find_calendar, find_days
from nightcrew.engine.books.reserving import Reservations, find_likely
from nightcrew.engine.books.slope import Slope
from nightcrew.engine.money import ceilings
from nightcrew.host import crash
from nightcrew.host.calendar import local_day
from nightcrew.host.clock import Clock
from nightcrew.host.tokens import nonce
from nightcrew.model.errors import NightcrewError
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.usage import Budget, Spent

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader, Writer

LOG: Final = logging.getLogger("nightcrew.engine")
#: Answers of a task within this time are told by one event; the tables have each at once.
TELL_S: Final = 10.0


class Spending:
    """What one run spends; shared by all its attempts, safe to use from any thread.

    Args:
        shared: what it has in common with the other runs of this host.
        run: id of the run.
    """

    def __init__(self, shared: Spendings, run: str) -> None:
        self._shared = shared
        self._journal = shared.journal
        self._clock = shared.clock
        self._run = run
        self._lock = threading.Lock()
        self._limits = Limits()
        self._calendar = Calendar()
        self._tasks: dict[str, TaskRecord] = {}
        self._whole = Spent()
        self._days: tuple[Spent, Spent] = (Spent(), Spent())
        self._told_s: dict[str, float] = {}
        self._said: set[tuple[str, str, Budget]] = set()
        self._slope = Slope(shared.clock)

    def refresh(self) -> None:
        """Read anew how things stand; called before each attempt, because a budget may have been raised meanwhile."""
        with self._lock:
            with self._journal.read() as tx:
                run = tx.need(RunRecord, self._run)
                self._tasks = {task.name: task for task in tx.find(TaskRecord, run=self._run)}
                self._read(tx, run)
            if any(task.usage.get("open") for task in self._tasks.values()):
                self._settle_orphans()
            # What is let go on without a larger budget is told again, and stopped again.
            self._said = {each for each in self._said if each[0] != budgets.REACHED}
            for scope in self._scopes(""):
                if scope.share >= self._limits.warn_at:
                    # It was told when it came so far, by this host or another.
                    self._said.add((budgets.WARNED, scope.key, scope.budget))

    def _read(self, tx: Reader, run: RunRecord) -> None:
        self._limits = read_limits(run)
        self._whole = read_run_spent(run)
        today = self._today()
        self._calendar = find_calendar(tx, self._shared.read_calendar(), run, today)
        self._look_at_days(tx, today)

    def _look_at_days(self, tx: Reader, today: str) -> None:
        """Read what all runs have taken: the others of this host, and planners of any process, are not told of here."""
        day = ledger.read_day(tx, today) if self._calendar.day else Spent()
        month = ledger.read_month(tx, today[:7]) if self._calendar.month else Spent()
        self._days = (day, month)

    def _today(self) -> str:
        return local_day(self._clock.now())

    def _settle_orphans(self) -> None:
        """Count what a host asked that died before the answer came: it is paid, whoever saw it."""
        with self._journal.write() as tx:
            for name, task in list(self._tasks.items()):
                lost = {
                    ticket: each
                    for ticket, each in task.usage.get("open", {}).items()
                    if not self._shared.reservations.knows(ticket)
                }
                for ticket, each in lost.items():
                    likely = Spent.from_plain(each.get("likely", {}))
                    self._write_down(tx, name, str(each.get("model", "unknown")), likely, ticket, tell=True)

    @property
    def is_timed(self) -> bool:
        """Tell whether a budget in time holds, so that the time an agent works must be written down."""
        with self._lock:
            return self._limits.is_timed(self._calendar)

    def wants_money(self, task: str) -> bool:
        """Tell whether a budget in money holds for a task, so that what it uses must have a known price."""
        with self._lock:
            return any(scope.budget.usd for scope in self._scopes(task))

    def _look_around(self, tx: Reader) -> None:
        """Read what was spent by others than the tasks of this run: its planner, other runs, planners of theirs."""
        self._whole = read_run_spent(tx.need(RunRecord, self._run))
        self._look_at_days(tx, self._today())

    def find_end(self, task: str) -> str:
        """Return why a task may ask nothing more, in words; empty while it may."""
        with self._lock, self._journal.read() as tx:
            self._look_around(tx)
            return next((each.describe_end() for each in self._scopes(task) if each.share >= 1), "")

    def hold(self, task: str, model: str, most: Spent) -> str:
        """Hold what an answer may cost at most, and write down that it is asked.

        Returns:
            A ticket for ``record`` or ``let_go``; empty when it must wait for what is under way.
        """
        ticket = nonce()
        likely = find_likely(most)
        with self._lock:
            try:
                with self._journal.write() as tx:
                    # In the transaction: what another run spends meanwhile is either in the tables or held.
                    self._look_around(tx)
                    if not self._shared.reservations.hold(ticket, self._scopes(task), most):
                        return ""
                    record = tx.need(TaskRecord, f"{self._run}/{task}")
                    asked = {
                        **record.usage.get("open", {}),
                        ticket: {"model": model, "likely": likely.to_plain()},
                    }
                    tx.change(record, "", usage={**record.usage, "open": asked})
            except BaseException:
                self._shared.reservations.let_go(ticket)
                raise
        crash.point("engine.usage.held")
        return ticket

    def let_go(self, task: str, ticket: str) -> None:
        """A question was not asked after all, or brought nothing that costs."""
        with self._lock:
            if not self._shared.reservations.knows(ticket):
                return
            try:
                with self._journal.write() as tx:
                    record = tx.need(TaskRecord, f"{self._run}/{task}")
                    if ticket in record.usage.get("open", {}):
                        tx.change(record, "", usage=_without(record.usage, ticket))
            finally:
                self._shared.reservations.let_go(ticket)

    def record(self, task: str, attempt: str, model: str, spent: Spent, ticket: str = "") -> None:
        """Write down what an answer took, and stop what has spent its budget by that.

        Args:
            task: name of the task (``T01``). attempt: its full id.
            model: ``provider/model``; empty for working time.
            spent: what it took.
            ticket: of the question.
        """
        try:
            with self._lock, self._journal.write() as tx:
                now = self._clock.monotonic()
                due = now - self._told_s.get(task, -TELL_S) >= TELL_S
                if due:
                    self._told_s[task] = now
                self._write_down(tx, task, model, spent, ticket, tell=due)
                self._draw(tx, task, attempt)
        finally:
            self._shared.reservations.let_go(ticket)
        crash.point("engine.usage.recorded")

    def _write_down(
        self, tx: Writer, task: str, model: str, spent: Spent, ticket: str, *, tell: bool
    ) -> None:
        record = tx.need(TaskRecord, f"{self._run}/{task}")
        usage = budgets.add_usage(_without(record.usage, ticket), model, spent, record.agent)
        run = tx.need(RunRecord, self._run)
        run = tx.change(run, "", usage=(read_run_spent(run) + spent).to_plain())
        ledger.book(tx, self._today(), self._run, record.agent, model, spent)
        self._tasks[task] = _write(tx, record, usage, tell=tell)
        self._read(tx, run)
        self._slope.note(spent)

    def tell_rest(self, task: str) -> None:
        """Tell what was written down and not told yet; called when an attempt is over."""
        with self._lock, self._journal.write() as tx:
            record = tx.need(TaskRecord, f"{self._run}/{task}")
            if record.usage.get("told", {}) != read_spent(record).to_plain() and _has_spent(record):
                _write(tx, record, record.usage, tell=True)

    def halt(self, task: str, attempt: str) -> None:
        """Stop a task that has asked although its budget was spent before: it was let go on without a larger one."""
        with self._lock, self._journal.write() as tx:
            self._draw(tx, task, attempt)

    def _draw(self, tx: Writer, task: str, attempt: str) -> None:
        """Tell of budgets that come to their end, and stop what has spent its own."""
        record = tx.need(TaskRecord, f"{self._run}/{task}")
        place = {"run": self._run, "task": record.id, "attempt": attempt}
        for scope in self._scopes(task):
            whose = place if scope.of in ("task", "agent", "role") else {"run": self._run}
            if scope.share < self._limits.warn_at or not scope.budget:
                continue
            # Warned of first, also when one answer goes past both.
            if self._is_news(budgets.WARNED, scope):
                tx.append(budgets.WARNED, data=scope.to_event(), **whose)
                ceilings.near(tx, scope, self._limits, record)
            if scope.share >= 1 and self._is_news(budgets.REACHED, scope):
                tx.append(budgets.REACHED, data=scope.to_event(), **whose)
                ceilings.reach(tx, scope, self._limits, record, self._clock)
        steep = self._slope.look(self._scopes(task), self._limits.steep)
        if steep is not None:
            tx.append(budgets.STEEP, run=self._run, data=steep)

    def _is_news(self, kind: str, scope: Scope) -> bool:
        said = (kind, scope.key, scope.budget)
        news = said not in self._said
        self._said.add(said)
        return news

    def _scopes(self, task: str) -> list[Scope]:
        """Return what holds for a task, or for any when the name is empty."""
        limits, run = self._limits, self._run
        tasks = self._tasks.values() if not task else filter(None, [self._tasks.get(task)])
        found = [Scope("run", run, run, limits.run, self._whole)]
        agents, roles = dict[str, None](), dict[str, None]()
        for each in tasks:
            if own := limits.of(each.name):
                found.append(Scope("task", each.id, run, own, read_spent(each)))
            agents[each.agent] = None
            roles[budgets.find_role(each)] = None
        for name in agents:
            if name in limits.agents:
                parts = [budgets.read_agents(each).get(name, Spent()) for each in self._tasks.values()]
                found.append(Scope("agent", name, run, limits.agents[name], _add_up(parts)))
        for name in roles:
            if budget := limits.of_role(name):
                parts = [read_spent(each) for each in self._tasks.values() if budgets.find_role(each) == name]
                found.append(Scope("role", name, run, budget, _add_up(parts)))
        found += find_days(self._calendar, self._today(), *self._days)
        return [each for each in found if each.budget]


class Spendings:
    """The spending of every run that this process hosts.

    Args:
        journal, clock: of the host.
        read_calendar: what a day and a month may cost by the user's own settings, as they are now.
    """

    def __init__(
        self, journal: Journal, clock: Clock, read_calendar: Callable[[], Calendar] = Calendar
    ) -> None:
        self.journal = journal
        self.clock = clock
        self.reservations = Reservations()
        self._read_calendar = read_calendar
        self._last = Calendar()
        self._lock = threading.Lock()
        self._runs: dict[str, Spending] = {}

    def open(self, run: str) -> Spending:
        """Return the spending of a run as it stands now."""
        with self._lock:
            found = self._runs.setdefault(run, Spending(self, run))
        found.refresh()
        return found

    def forget(self, run: str) -> None:
        """Forget a run that is over."""
        with self._lock:
            self._runs.pop(run, None)

    def read_calendar(self) -> Calendar:
        """Return what a day and a month may cost; while the settings cannot be read, what was said last holds."""
        try:
            self._last = self._read_calendar()
        except NightcrewError as problem:
            LOG.warning(
                "the budgets of day and month cannot be read, the last ones hold: %s", problem.message
            )
        return self._last


def _add_up(parts: list[Spent]) -> Spent:
    total = Spent()
    for each in parts:
        total += each
    return total


def _has_spent(record: TaskRecord) -> bool:
    return bool(record.usage.get("models") or record.usage.get("seconds"))


def _without(usage: Mapping[str, Any], ticket: str) -> dict[str, Any]:
    """Return a task's usage without one question that was under way."""
    left = {name: each for name, each in usage.get("open", {}).items() if name != ticket}
    rest = {name: value for name, value in usage.items() if name != "open"}
    return {**rest, "open": left} if left else rest


def _write(tx: Writer, record: TaskRecord, usage: Mapping[str, Any], *, tell: bool) -> TaskRecord:
    if not tell:
        return tx.change(record, "", usage=usage)
    data, told = budgets.tell_usage(usage, read_spent(replace(record, usage=usage)))
    return tx.change(record, budgets.RECORDED, data=data, usage=told)
