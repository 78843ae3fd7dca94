"""Who pays for planning: the run that is being planned, before it has any tasks or while these go on.

What an answer may cost is held against the budgets that it is paid from, as for a task, and that it was asked is written
down before it is: a run that asks its planner while its tasks ask their models spends the last dollar once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.books import ledger
from nightcrew.engine.books.budgets import RECORDED, Calendar, Scope, read_limits, read_run_spent
from nightcrew.engine.books.days import find_calendar, read_days
from nightcrew.engine.books.reserving import Reservations, find_likely, find_most
from nightcrew.host import crash
from nightcrew.host.calendar import local_day
from nightcrew.host.clock import Clock
from nightcrew.host.tokens import nonce
from nightcrew.model.records import RunRecord
from nightcrew.model.usage import Fault, Provider, Spent, Tokens

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.policy.prices import Prices
    from nightcrew.sandbox.gateway.wires import Ask

FAILED: Final = "model.failed"
REMOVED: Final = "model.tools_removed"
#: Key of what planning leaves in the settings of its run while it goes on; questions under way are in ``open``.
KEY: Final = "planning"
#: What an agent reads; no digits, see ``engine.gateway``.
_SPENT: Final = "the budget is spent; a person must raise it before anything more is asked"
_NO_PRICE: Final = "nobody knows the price of this model, and the budget is in money; a person must name the price or budget in tokens"


class PlanPayer:
    """Implements the gateway's Account for one question to a planner; its methods are called from other threads.

    Args:
        journal, clock, prices: of who asks. run: that is planned. agent: that plans.
        read_calendar: says what a day and a month may cost.
        reservations: of the process: what else is asked at the same time and paid from the same budgets.
        by: ``engine`` or ``person``: whose process asks.

    Attributes:
        spent: by this question. fault: the last answer that did not come. ran_out: why nothing more may be asked.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        prices: Prices,
        run: str,
        agent: str,
        read_calendar: Callable[[], Calendar],
        reservations: Reservations,
        by: str = "person",
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._prices = prices
        self._run = run
        self._agent = agent
        self._read_calendar = read_calendar
        self._reservations = reservations
        self._by = by
        self._tickets: set[str] = set()
        self._lock = threading.Lock()
        self.spent = Spent()
        self.fault: tuple[Provider, Fault] | None = None
        self.ran_out = ""
        self.unpriced = ""

    def admit(self, provider: Provider, model: str) -> str:
        """See Account."""
        with self._lock, self._journal.read() as tx:
            own, *days = self._find_scopes(tx)
        if own.share >= 1:
            self.ran_out = f"the budget of {self._run} is spent by planning: {own.budget.describe()}"
        else:
            self.ran_out = next((each.describe_end() for each in days if each.share >= 1), "")
        if self.ran_out:
            return _SPENT
        in_money = any(each.budget.usd for each in (own, *days))
        if model and in_money and self._prices.find(provider.wire, model) is None:
            self.unpriced = model
            return _NO_PRICE
        return ""

    def _find_scopes(self, tx: Reader) -> list[Scope]:
        """Return the budgets that planning is paid from, that of the run first."""
        run = tx.need(RunRecord, self._run)
        today = local_day(self._clock.now())
        own = Scope("run", self._run, self._run, read_limits(run).run, read_run_spent(run))
        return [own, *read_days(tx, find_calendar(tx, self._read_calendar(), run, today), today)]

    def hold(self, provider: Provider, asked: Ask) -> str:
        """See Account."""
        most, ticket = find_most(self._prices, provider, asked), nonce()
        model = f"{provider.name}/{asked.model or 'unknown'}"
        with self._lock:
            try:
                with self._journal.write() as tx:
                    # In the transaction: what a task spends meanwhile is either in the tables or held.
                    if not self._reservations.hold(ticket, self._find_scopes(tx), most):
                        return ""
                    entry = {"model": model, "likely": find_likely(most).to_plain(), "by": self._by}
                    _put_open(tx, self._run, {**self._read_open(tx), ticket: entry})
            except BaseException:
                self._reservations.let_go(ticket)
                raise
            self._tickets.add(ticket)
        crash.point("engine.planning.held")
        return ticket

    def let_go(self, ticket: str) -> None:
        """See Account."""
        with self._lock:
            if ticket not in self._tickets:
                return
            self._tickets.discard(ticket)
            try:
                with self._journal.write() as tx:
                    self._close(tx, ticket)
            finally:
                self._reservations.let_go(ticket)

    def _read_open(self, tx: Reader) -> Mapping[str, Any]:
        found: Mapping[str, Any] = tx.need(RunRecord, self._run).settings.get(KEY, {}).get("open", {})
        return found

    def _close(self, tx: Writer, ticket: str) -> None:
        known = self._read_open(tx)
        if ticket in known:
            _put_open(tx, self._run, {name: each for name, each in known.items() if name != ticket})

    def settle_lost(self) -> None:
        """Count what a host asked that died before the answer came: it is paid, whoever saw it."""
        with self._lock, self._journal.write() as tx:
            for ticket, each in self._read_open(tx).items():
                # One engine asks at a time; what a person's process asks is not known to it, nor the other way round.
                if each.get("by") == self._by and not self._reservations.knows(ticket):
                    likely = Spent.from_plain(each.get("likely", {}))
                    self._write_down(tx, str(each.get("model")), likely, ticket)

    def heard(self, answer: str) -> None:
        """See Account."""

    def record(
        self, provider: Provider, models: tuple[str, str], tokens: Tokens, *, exact: bool, ticket: str = ""
    ) -> None:
        """See Account."""
        found = (self._prices.find(provider.wire, model) for model in models if model)
        price = next((each for each in found if each is not None), None)
        usd = 0.0 if price is None else price.cost(tokens)
        spent = Spent(tokens, requests=1, usd=usd, unpriced=int(price is None), estimated=int(not exact))
        name = f"{provider.name}/{next(filter(None, models), 'unknown')}"
        try:
            with self._lock, self._journal.write() as tx:
                self._write_down(tx, name, spent, ticket)
                self.spent += spent
                self.fault, self.unpriced = None, ""
        finally:
            self._reservations.let_go(ticket)

    def _write_down(self, tx: Writer, model: str, spent: Spent, ticket: str) -> None:
        self._close(tx, ticket)
        run = tx.need(RunRecord, self._run)
        tx.change(run, "", usage=(read_run_spent(run) + spent).to_plain())
        ledger.book(tx, local_day(self._clock.now()), self._run, self._agent, model, spent)
        said = {key: value for key, value in spent.to_plain().items() if value}
        tx.append(RECORDED, run=self._run, data={**said, "models": [model], "for": "planning"})

    def failed(self, provider: Provider, fault: Fault) -> None:
        """See Account; the same failure is told once."""
        with self._lock:
            known = self.fault is not None and self.fault[1].kind == fault.kind
            self.fault = (provider, fault)
        if not known:
            data = {
                "provider": provider.name,
                "class": fault.kind,
                "status": fault.status,
                "said": fault.said,
            }
            with self._journal.write() as tx:
                tx.append(FAILED, run=self._run, data={**data, "for": "planning"})

    def removed(self, provider: Provider, tools: tuple[str, ...]) -> None:
        """See Account."""
        with self._journal.write() as tx:
            data = {"provider": provider.name, "tools": list(tools[:20]), "for": "planning"}
            tx.append(REMOVED, run=self._run, data=data)

    def tell_rest(self) -> None:
        """See ``engine.work.gateway.Payer``: what nobody waits for any more is let go of."""
        with self._lock:
            left = tuple(self._tickets)
        for ticket in left:
            self.let_go(ticket)

    def explain(self) -> str:
        """Return why no answer came, when it was the model or the money; empty when it was neither."""
        if self.ran_out:
            return self.ran_out
        if self.unpriced:
            return f"nobody knows the price of {self.unpriced}, and the budget is in money: name it in `prices:`, or budget in tokens"
        return f"{self.fault[0].name} {self.fault[1].describe()}" if self.fault is not None else ""


def _put_open(tx: Writer, run: str, known: Mapping[str, Any]) -> None:
    record = tx.need(RunRecord, run)
    planning = {name: value for name, value in record.settings.get(KEY, {}).items() if name != "open"}
    planning |= {"open": known} if known else {}
    tx.change(record, "", settings={**record.settings, KEY: planning})
