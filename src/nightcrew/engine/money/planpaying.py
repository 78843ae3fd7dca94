"""Who pays for planning: the run that is being planned, before it has any tasks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nightcrew.engine.books import ledger
from nightcrew.engine.books.budgets import RECORDED, Calendar, read_limits, read_run_spent
from nightcrew.engine.money.spending import find_calendar, read_days
from nightcrew.host.calendar import local_day
from nightcrew.host.clock import Clock
from nightcrew.model.records import RunRecord
from nightcrew.model.usage import Fault, Provider, Spent, Tokens

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.policy.prices import Prices
    from nightcrew.sandbox.gateway.wires import Ask

FAILED: Final = "model.failed"
REMOVED: Final = "model.tools_removed"
#: What an agent reads; no digits, see ``engine.gateway``.
_SPENT: Final = "the budget is spent; a person must raise it before anything more is asked"
_NO_PRICE: Final = "nobody knows the price of this model, and the budget is in money; a person must name the price or budget in tokens"


class PlanPayer:
    """Implements the gateway's Account for one question to a planner; its methods are called from other threads.

    Args:
        journal, clock, prices: of who asks. run: that is planned. agent: that plans.
        read_calendar: says what a day and a month may cost.

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
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._prices = prices
        self._run = run
        self._agent = agent
        self._read_calendar = read_calendar
        self._lock = threading.Lock()
        self.spent = Spent()
        self.fault: tuple[Provider, Fault] | None = None
        self.ran_out = ""
        self.unpriced = ""

    def admit(self, provider: Provider, model: str) -> str:
        """See Account."""
        with self._lock, self._journal.read() as tx:
            run = tx.need(RunRecord, self._run)
            today = local_day(self._clock.now())
            days = read_days(tx, find_calendar(tx, self._read_calendar(), run, today), today)
        own, spent = read_limits(run).run, read_run_spent(run)
        if own and own.share(spent) >= 1:
            self.ran_out = f"the budget of {self._run} is spent by planning: {own.describe()}"
        else:
            self.ran_out = next((each.describe_end() for each in days if each.share >= 1), "")
        if self.ran_out:
            return _SPENT
        in_money = own.usd or any(each.budget.usd for each in days)
        if model and in_money and self._prices.find(provider.wire, model) is None:
            self.unpriced = model
            return _NO_PRICE
        return ""

    def hold(self, provider: Provider, asked: Ask) -> str:
        """See Account: one question is asked at a time, so there is nothing to hold it against."""
        return "plan"

    def let_go(self, ticket: str) -> None:
        """See Account."""

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
        with self._lock, self._journal.write() as tx:
            run = tx.need(RunRecord, self._run)
            tx.change(run, "", usage=(read_run_spent(run) + spent).to_plain())
            ledger.book(tx, local_day(self._clock.now()), self._run, self._agent, name, spent)
            said = {key: value for key, value in spent.to_plain().items() if value}
            tx.append(RECORDED, run=self._run, data={**said, "models": [name], "for": "planning"})
            self.spent += spent
            self.fault, self.unpriced = None, ""

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
        """Everything is told already."""

    def explain(self) -> str:
        """Return why no answer came, when it was the model or the money; empty when it was neither."""
        if self.ran_out:
            return self.ran_out
        if self.unpriced:
            return f"nobody knows the price of {self.unpriced}, and the budget is in money: name it in `prices:`, or budget in tokens"
        return f"{self.fault[0].name} {self.fault[1].describe()}" if self.fault is not None else ""
