"""The way of one attempt to its models: which providers, with which keys, who pays, and what a failure amounts to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from nightcrew.agents.adapter import AgentEnd, ModelAccess
from nightcrew.agents.adapters import find_adapter, find_setting
from nightcrew.engine.books.budgets import Calendar
from nightcrew.engine.books.reserving import find_most
from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.money.spending import Spending, Spendings
from nightcrew.engine.work.hooks import find_hooks
from nightcrew.engine.work.network import find_relay, run_connected
from nightcrew.host.clock import Clock
from nightcrew.host.tokens import key
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Level, Listen, Outcome, SandboxSpec, Session
from nightcrew.model.leaving import LeavingWatch
from nightcrew.model.records import AttemptRecord
from nightcrew.model.settings import AgentSetting
from nightcrew.model.usage import PASSING, Fault, Provider, Spent, Tokens
from nightcrew.sandbox.egress.egress import Egress
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.gateway.service import ADDRESS, Services, list_exits, name_provider
from nightcrew.sandbox.gateway.upstream import Upstream
from nightcrew.sandbox.gateway.wires import Ask

if TYPE_CHECKING:
    from nightcrew.engine.workspace import Workspace
    from nightcrew.journal.journal import Journal
    from nightcrew.policy.prices import Prices
    from nightcrew.sandbox.launcher import Launcher

#: Kind of the event of a question that a provider did not answer.
FAILED: Final = "model.failed"
#: Kind of the event of tools that an agent's model was not told of.
REMOVED: Final = "model.tools_removed"
#: The same failure of one attempt is told once in so many seconds: agents try again by themselves.
_TELL_S: Final = 30.0
#: Events of removed tools of one attempt, and names in each: an agent chooses both.
_MOST_REMOVALS: Final = 20
#: What an agent reads. No digits: one of them tries for ever when it sees a number that looks like a server's error.
_SPENT: Final = "the budget is spent; a person must raise it before anything more is asked"
_NO_PRICE: Final = "nobody knows the price of this model, and the budget is in money; a person must name the price or budget in tokens"


class Payer:
    """Implements the gateway's Account for one attempt; its methods are called from other threads."""

    def __init__(
        self, journal: Journal, clock: Clock, attempt: AttemptRecord, spending: Spending, prices: Prices
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._attempt = attempt
        self._task = attempt.task.partition("/")[2]
        self._spending = spending
        self._prices = prices
        self._lock = threading.Lock()
        self._told: dict[tuple[str, str], float] = {}
        self._removed: set[tuple[str, ...]] = set()
        self._tickets: set[str] = set()
        self.fault: tuple[Provider, Fault] | None = None
        self.unpriced = ""
        self.on_answer: Callable[[str], None] = _tell_nobody

    @property
    def ran_out(self) -> str:
        """Why the attempt may ask nothing more, in words; empty while it may."""
        return self._spending.find_end(self._task)

    def admit(self, provider: Provider, model: str) -> str:
        """See Account."""
        if self.ran_out:
            self._spending.halt(self._task, self._attempt.id)
            return _SPENT
        priced = not model or self._prices.find(provider.wire, model) is not None
        if not priced and self._spending.wants_money(self._task):
            self.unpriced = model
            return _NO_PRICE
        return ""

    def hold(self, provider: Provider, asked: Ask) -> str:
        """See Account."""
        most = find_most(self._prices, provider, asked)
        ticket = self._spending.hold(self._task, f"{provider.name}/{asked.model or 'unknown'}", most)
        with self._lock:
            self._tickets |= {ticket} if ticket else set()
        return ticket

    def let_go(self, ticket: str) -> None:
        """See Account."""
        with self._lock:
            self._tickets.discard(ticket)
        self._spending.let_go(self._task, ticket)

    def heard(self, answer: str) -> None:
        """See Account."""
        self.on_answer(answer)

    def record(
        self, provider: Provider, models: tuple[str, str], tokens: Tokens, *, exact: bool, ticket: str = ""
    ) -> None:
        """See Account."""
        found = (self._prices.find(provider.wire, model) for model in models if model)
        price = next((each for each in found if each is not None), None)
        spent = Spent(
            tokens,
            requests=1,
            usd=0.0 if price is None else price.cost(tokens),
            unpriced=int(price is None),
            estimated=int(not exact),
        )
        if exact:
            self.fault, self.unpriced = None, ""
        name = f"{provider.name}/{next(filter(None, models), 'unknown')}"
        self._spending.record(self._task, self._attempt.id, name, spent, ticket)

    def failed(self, provider: Provider, fault: Fault) -> None:
        """See Account."""
        with self._lock:
            self.fault = (provider, fault)
            now, kind = self._clock.monotonic(), (provider.name, fault.kind)
            if now - self._told.get(kind, -_TELL_S) < _TELL_S:
                return
            self._told[kind] = now
        data = {
            "provider": provider.name, "class": fault.kind, "status": fault.status, "said": fault.said,
            "wait_s": fault.wait_s,
        }  # fmt: skip
        attempt = self._attempt
        with self._journal.write() as tx:
            tx.append(FAILED, run=attempt.run, task=attempt.task, attempt=attempt.id, data=data)

    def removed(self, provider: Provider, tools: tuple[str, ...]) -> None:
        """See Account; told once per attempt."""
        more, tools = len(tools) - _MOST_REMOVALS, tools[:_MOST_REMOVALS]
        with self._lock:
            if (provider.name, *tools) in self._removed or len(self._removed) >= _MOST_REMOVALS:
                return
            self._removed.add((provider.name, *tools))
        named = [*tools, f"and {more} more"] if more > 0 else list(tools)
        attempt, data = self._attempt, {"provider": provider.name, "tools": named}
        with self._journal.write() as tx:
            tx.append(REMOVED, run=attempt.run, task=attempt.task, attempt=attempt.id, data=data)

    def tell_rest(self) -> None:
        """The attempt is over: tell what it took and was not told yet, and let go of what nobody waits for any more."""
        with self._lock:
            left, self._tickets = self._tickets, set()
        for ticket in left:
            self._spending.let_go(self._task, ticket)
        self._spending.tell_rest(self._task)

    def explain_failure(self) -> Failure | None:
        """Return what made an agent fail that got no answer from its model; None when that was not why."""
        if self.unpriced:
            said = f"nobody knows the price of {self.unpriced}, and the budget is in money: name it in `prices:`, or budget in tokens"
            return Failure("provider_refused", said)
        if self.fault is None:
            return None
        provider, fault = self.fault
        kind = "provider_down" if fault.kind in PASSING else "provider_refused"
        return Failure(kind, f"{provider.name} {fault.describe()}", wait_s=fault.wait_s)


def _tell_nobody(answer: str) -> None:
    """Nobody wants to know."""


class ModelWay:
    """The gateway of one attempt, from before its agent starts until it is gone.

    Attributes:
        access: what the agent is given.
        exits: where the sandbox listens for it; none where there is no sandbox.
        payer: who pays, and knows what went wrong.
    """

    def __init__(self, services: Services, gateway: Gateway, payer: Payer) -> None:
        self._services = services
        self._gateway = gateway
        self.payer = payer
        self.access = ModelAccess({}, "")
        self.exits: tuple[Listen, ...] = ()
        self._own: dict[str, socket.socket] = {}

    def serve(self, sockets: Mapping[str, socket.socket]) -> AbstractContextManager[None]:
        """Answer at the sockets of the exits; see ``sandbox.exits``."""
        mine = {name_provider(each): sockets[each.name] for each in self.exits}
        return self._services.serving(self._gateway, mine)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Answer at the machine's own loopback where there is no sandbox to listen in; tell what is left at the end."""
        try:
            with contextlib.ExitStack() as stack:
                for each in self._own.values():
                    stack.enter_context(each)
                if self._own:
                    stack.enter_context(self._services.serving(self._gateway, self._own))
                yield
        finally:
            self.payer.tell_rest()

    def listen(self, names: tuple[str, ...], *, inside: bool) -> dict[str, int]:
        """Choose where the providers are reached and return their ports; outside of a sandbox sockets of our own."""
        if inside:
            self.exits = list_exits(names)
            return {name_provider(each): each.port for each in self.exits}
        for name in names:
            opened = self._own[name] = socket.socket()
            opened.bind((ADDRESS, 0))
            opened.listen()
            opened.setblocking(False)
        return {name: int(each.getsockname()[1]) for name, each in self._own.items()}


def choose_providers(
    setting: AgentSetting, known: Mapping[str, Provider], *, needs_model: bool
) -> tuple[str, ...]:
    """Return the names of the providers that an agent gets.

    Raises:
        UsageError: its setting names one that the user has not.
    """
    for name in setting.providers:
        if name not in known:
            raise UsageError(
                f"there is no provider {name!r} in your config.yaml",
                code="provider.unknown",
                hint="nightcrew keys list",
            )
    return setting.providers or (tuple(known) if needs_model else ())


@dataclass(frozen=True, slots=True)
class Models:
    """What the attempts of a host share to reach their models.

    Attributes:
        journal, clock: of the host. spendings: of its runs. services: what runs its gateways.
    """

    journal: Journal
    clock: Clock
    spendings: Spendings
    services: Services

    @classmethod
    def begin(cls, journal: Journal, clock: Clock, read_calendar: Callable[[], Calendar] = Calendar) -> Self:
        """Return them for a host that begins; ``read_calendar`` says what a day and a month may cost."""
        return cls(journal, clock, Spendings(journal, clock, read_calendar), Services())

    def open_way(
        self,
        workspace: Workspace,
        attempt: AttemptRecord,
        watch: LeavingWatch,
        level: Level,
    ) -> ModelWay | None:
        """Return the way of an attempt to the providers that its agent gets; None where it gets none.

        Raises:
            UsageError: there is no such provider, or a key is not where the settings say.
        """
        setting = find_setting(attempt.agent, workspace.settings.agents)
        needs_model = find_adapter(setting).capabilities.needs_network
        names = choose_providers(setting, workspace.settings.providers, needs_model=needs_model)
        if not names:
            return None
        providers = [workspace.settings.providers[name] for name in names]
        relay = find_relay(workspace)
        upstreams = [Upstream(each, workspace.read_key(each), relay) for each in providers]
        spending = self.spendings.open(attempt.run)
        payer = Payer(self.journal, self.clock, attempt, spending, workspace.prices)
        secret = f"nightcrew-{key().hex()}"
        way = ModelWay(self.services, Gateway(upstreams, secret, payer, watch), payer)
        ports = way.listen(names, inside=level is not Level.S0)
        urls = {name: f"http://{ADDRESS}:{port}" for name, port in ports.items()}
        way.access = ModelAccess(urls, secret, {each.name: each.model for each in providers if each.model})
        return way


def run_with_models(
    launcher: Launcher,
    spec: SandboxSpec,
    session: Session,
    cancel: threading.Event,
    way: ModelWay | None,
    egress: Egress | None = None,
) -> Outcome:
    """Run a confined agent, with its gateway and its way out answering from before its start until nothing is left."""
    others = (*((egress,) if egress is not None else ()), *find_hooks(session, spec))
    if way is None:
        return run_connected(launcher, spec, session, cancel, others)
    with way.around():
        return run_connected(launcher, spec, session, cancel, (way, *others))


def find_spent(way: ModelWay | None, end: AgentEnd) -> str:
    """Return the budget that an agent has failed for, in words; empty when it was not that."""
    return way.payer.ran_out if way is not None and end.result == "failed" else ""


def blame_model(way: ModelWay | None) -> Failure | None:
    """Return what an agent's failure comes from when that is its model."""
    return None if way is None else way.payer.explain_failure()
