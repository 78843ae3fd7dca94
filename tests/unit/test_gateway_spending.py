"""What is spent is written down, told, and stopped, whoever else writes meanwhile and whatever was before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nightcrew.engine.books import budgets
from nightcrew.engine.books.budgets import Calendar, Limits
from nightcrew.engine.books.ledger import book
from nightcrew.engine.course.retry import decide_retry
from nightcrew.engine.money.spending import Spending, Spendings
from nightcrew.engine.work.gateway import FAILED, REMOVED, Payer, blame_model, choose_providers
from nightcrew.host.calendar import local_day
from nightcrew.host.clock import SystemClock
from nightcrew.journal.journal import Journal
from nightcrew.model.errors import UsageError
from nightcrew.model.records import AttemptRecord, RunRecord, TaskRecord
from nightcrew.model.settings import AgentSetting, Retries
from nightcrew.model.usage import Budget, Fault, Provider, Spent, Tokens
from nightcrew.policy.prices import Prices, shipped_prices

CLOCK = SystemClock()
ONE = Spent(Tokens(input=1000), requests=1, usd=1.0)
PROVIDER = Provider("anthropic", "anthropic", "https://x.example.org")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path / 'j.db'}", clock=CLOCK)
    yield made
    made.close()


def begin(journal: Journal, limits: Limits) -> None:
    """A run with two tasks that run."""
    common = {"repo_path": "/r", "repo_key": "k", "base_commit": "c", "base_tree": "t", "plan_digest": "d"}
    with journal.write() as tx:
        run = RunRecord(
            "R-1", "running", "t", plan_version=1, policy_digest="p", requester="me", created_at="", **common,
            settings={"budget": limits.to_plain()},
        )  # fmt: skip
        tx.add(run, "run.created")
        for number, name in enumerate(("T01", "T02")):
            tx.add(TaskRecord(f"R-1/{name}", "R-1", name, number, "running", "t", "a"), "task.created")


def kinds(journal: Journal) -> list[str]:
    with journal.read() as tx:
        return [event.kind for event in tx.events(run="R-1")][3:]


def open_spending(journal: Journal) -> Spending:
    return Spendings(journal, CLOCK).open("R-1")


def record_of(journal: Journal, name: str = "") -> RunRecord | TaskRecord:
    with journal.read() as tx:
        return tx.need(TaskRecord, f"R-1/{name}") if name else tx.need(RunRecord, "R-1")


def test_a_budget_of_the_run_is_warned_of_and_then_pauses_the_run_once(journal: Journal) -> None:
    begin(journal, Limits(run=Budget(5.0)))
    spending = open_spending(journal)
    for number in range(4):
        assert not spending.find_end("T01")
        spending.record(f"T0{number % 2 + 1}", f"R-1/T0{number % 2 + 1}/1", "p/m", ONE)
    assert kinds(journal).count(budgets.WARNED) == 1
    assert record_of(journal).state == "running"
    spending.record("T01", "R-1/T01/1", "p/m", ONE)
    assert kinds(journal)[-3:] == [budgets.REACHED, "run.stopped", "run.paused"]
    run = record_of(journal)
    assert (run.state, run.reason) == ("paused", "the budget of R-1 is spent: $5.00, 5.0k tokens of 5usd")
    assert all(spending.find_end(task) for task in ("T01", "T02"))
    # What was under way comes to its end; nothing is told twice.
    spending.record("T02", "R-1/T02/1", "p/m", ONE)
    spending.halt("T02", "R-1/T02/1")
    assert kinds(journal).count(budgets.REACHED) == kinds(journal).count("run.paused") == 1
    assert budgets.read_run_spent(run).usd == 5.0


def test_a_budget_of_a_task_stops_that_task_only(journal: Journal) -> None:
    begin(journal, Limits(tasks={"T02": Budget(tokens=1500)}, warn_at=0.5))
    spending = open_spending(journal)
    spending.record("T02", "R-1/T02/1", "p/m", ONE)
    spending.record("T02", "R-1/T02/1", "p/m", ONE)
    assert [kind for kind in kinds(journal) if kind.startswith(("budget.", "task."))] == [
        budgets.WARNED, budgets.REACHED, "task.pause_requested",
    ]  # fmt: skip
    assert spending.find_end("T02")
    assert not spending.find_end("T01")


def test_a_fork_has_a_budget_of_its_own_of_the_same_size() -> None:
    limits = Limits(tasks={"T02": Budget(5.0), "T02F2": Budget(), "T03F1": Budget(7.0)})
    assert [limits.of(name) for name in ("T01", "T02", "T02F1", "T02F2", "T03F1")] == [
        Budget(), Budget(5.0), Budget(5.0), Budget(), Budget(7.0),
    ]  # fmt: skip


def test_a_restart_forgets_neither_money_nor_what_was_told(journal: Journal) -> None:
    begin(journal, Limits(run=Budget(5.0)))
    first = open_spending(journal)
    for _ in range(4):
        first.record("T01", "R-1/T01/1", "p/m", ONE)
    second = open_spending(journal)
    assert kinds(journal).count(budgets.WARNED) == 1
    second.record("T01", "R-1/T01/2", "p/m", ONE)
    assert kinds(journal).count(budgets.WARNED) == 1
    assert record_of(journal).state == "paused"
    # Events are coalesced, but what they say in sum is what was spent, the killed host's part included.
    second.tell_rest("T01")
    second.tell_rest("T01")
    with journal.read() as tx:
        told = tx.events(run="R-1", kinds=(budgets.RECORDED,))
    assert sum(event.data["requests"] for event in told) == 5
    assert told[-1].data["total_usd"] == 5.0
    assert len(told) == 2


def test_a_raised_budget_lets_go_on_and_a_new_attempt_without_one_is_stopped_again(journal: Journal) -> None:
    begin(journal, Limits(tasks={"T01": Budget(1.0)}))
    spendings = Spendings(journal, CLOCK)
    spendings.open("R-1").record("T01", "R-1/T01/1", "p/m", ONE)
    again = spendings.open("R-1")
    assert again.find_end("T01")
    again.halt("T01", "R-1/T01/2")
    assert kinds(journal).count(budgets.REACHED) == 2
    with journal.write() as tx:
        run = tx.need(RunRecord, "R-1")
        limits = Limits(tasks={"T01": Budget(2.0)})
        tx.change(run, "", settings={**run.settings, "budget": limits.to_plain()})
    assert not spendings.open("R-1").find_end("T01")


def test_two_agents_at_once_lose_nothing(journal: Journal) -> None:
    begin(journal, Limits())
    spending = open_spending(journal)

    def spend(task: str) -> None:
        for _ in range(20):
            spending.record(task, f"R-1/{task}/1", f"p/{task}", ONE)

    threads = [threading.Thread(target=spend, args=(task,)) for task in ("T01", "T01", "T02")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budgets.read_run_spent(record_of(journal)).requests == 60
    assert budgets.read_spent(record_of(journal, "T01")).requests == 40


def test_what_another_run_or_a_planner_spends_of_the_day_counts_at_once(journal: Journal) -> None:
    begin(journal, Limits())
    calendar = Calendar(day=Budget(3.0))
    shared = Spendings(journal, CLOCK, lambda: calendar)
    with journal.write() as tx:
        run = tx.need(RunRecord, "R-1")
        tx.add(replace(run, id="R-2"), "run.created")
        tx.add(TaskRecord("R-2/T01", "R-2", "T01", 0, "running", "t", "b"), "task.created")
    first, second = shared.open("R-1"), shared.open("R-2")
    ticket = first.hold("T01", "p/m", ONE)
    # The other one has seen nothing of this: it has asked nothing yet.
    second.record("T01", "R-2/T01/1", "p/m", replace(ONE, usd=1.5))
    assert first.hold("T02", "p/m", ONE) == ""
    first.let_go("T01", ticket)
    assert first.find_end("T01") == ""
    with journal.write() as tx:
        book(tx, local_day(CLOCK.now()), "R-3", "planner", "p/m", replace(ONE, usd=1.5))
    assert "the budget of the day" in first.find_end("T01")
    first.halt("T01", "R-1/T01/1")
    assert record_of(journal).state == "paused"


def make_payer(journal: Journal) -> Payer:
    attempt = AttemptRecord("R-1/T01/1", "R-1", "R-1/T01", 1, "running", "a", "00", "")
    return Payer(journal, CLOCK, attempt, open_spending(journal), Prices(shipped_prices(), {}))


def test_a_model_without_a_price_is_counted_in_tokens_and_not_asked_where_money_is_limited(
    journal: Journal,
) -> None:
    begin(journal, Limits())
    payer = make_payer(journal)
    assert payer.admit(PROVIDER, "nobody-knows") == ""
    payer.record(PROVIDER, ("nobody-knows", "nobody-knows"), Tokens(input=7), exact=True)
    spent = budgets.read_run_spent(record_of(journal))
    assert (spent.tokens.input, spent.usd, spent.unpriced) == (7, 0.0, 1)
    with journal.write() as tx:
        run = tx.need(RunRecord, "R-1")
        tx.change(run, "", settings={"budget": Limits(run=Budget(5.0)).to_plain()})
    payer = make_payer(journal)
    said = payer.admit(PROVIDER, "nobody-knows")
    assert "nobody knows the price" in said
    assert not any(char.isdigit() for char in said)
    failure = payer.explain_failure()
    assert failure is not None
    assert (failure.kind, "nobody-knows" in failure.reason) == ("provider_refused", True)
    assert payer.admit(PROVIDER, "claude-haiku-4-5") == ""


def test_the_price_is_that_of_the_model_that_answered_or_else_of_the_one_asked(journal: Journal) -> None:
    begin(journal, Limits())
    payer = make_payer(journal)
    payer.record(PROVIDER, ("claude-haiku-4-5-20251001", "x"), Tokens(input=1_000_000), exact=True)
    payer.record(PROVIDER, ("renamed", "claude-haiku-4-5"), Tokens(input=1_000_000), exact=False)
    spent = budgets.read_run_spent(record_of(journal))
    assert (spent.usd, spent.unpriced, spent.estimated) == (2.0, 0, 1)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("auth", 401, "no"), "provider_refused"),
        (Fault("quota", 429), "provider_refused"),
        (Fault("bad_request", 400), "provider_refused"),
        (Fault("rate_limit", 429, wait_s=90), "provider_down"),
        (Fault("overloaded", 529), "provider_down"),
        (Fault("network"), "provider_down"),
    ],
)
def test_a_failure_is_named_after_what_the_provider_did(journal: Journal, fault: Fault, kind: str) -> None:
    begin(journal, Limits())
    payer = make_payer(journal)
    for _ in range(5):
        payer.failed(PROVIDER, fault)
    assert kinds(journal).count(FAILED) == 1
    failure = payer.explain_failure()
    assert failure is not None
    assert (failure.kind, failure.wait_s) == (kind, fault.wait_s)
    # An answer that came after it means that it was not why the agent failed.
    payer.record(PROVIDER, ("m", "m"), Tokens(input=1), exact=True)
    assert payer.explain_failure() is None


def test_tools_that_were_taken_out_are_told_once(journal: Journal) -> None:
    begin(journal, Limits())
    payer = make_payer(journal)
    for tools in (("web_search",), ("web_search",), ("mcp",)):
        payer.removed(PROVIDER, tools)
    assert kinds(journal).count(REMOVED) == 2
    # An agent chooses the names: neither they nor the events are without end.
    payer.removed(PROVIDER, tuple(f"odd_{n}" for n in range(1000)))
    for number in range(100):
        payer.removed(PROVIDER, (f"other_{number}",))
    assert kinds(journal).count(REMOVED) == 20
    with journal.read() as tx:
        told = [event.data["tools"] for event in tx.events(run="R-1") if event.kind == REMOVED]
    assert (len(told[2]), told[2][-1]) == (21, "and 980 more")


def test_nobody_is_blamed_without_a_model() -> None:
    assert blame_model(None) is None


def test_an_outage_has_waits_of_its_own_never_shorter_than_asked_for() -> None:
    retries = Retries(attempts=2, provider_waits_s=(10.0, 20.0), jitter=0.1)

    def decide(*failures: str, wait_s: float = 0.0) -> tuple[bool, float]:
        retry = decide_retry(failures, retries, deterministic=False, spread=0.0, wait_s=wait_s)
        return retry.again, retry.delay_s

    assert decide("provider_down") == (True, 10.0)
    assert decide("provider_down", wait_s=60.0) == (True, 60.0)
    assert decide("provider_down", wait_s=1e9) == (True, 3600.0)
    assert decide("provider_down", "provider_down") == (True, 20.0)
    assert decide("provider_down", "provider_down", "provider_down") == (False, 0.0)
    assert decide("provider_refused") == (False, 0.0)
    # It takes nothing from the attempts for other failures.
    assert decide("provider_down", "agent")[0]
    assert not decide("provider_down", "agent", "agent")[0]


def test_an_agent_gets_the_providers_it_names_or_all_when_it_cannot_do_without() -> None:
    known = {"anthropic": PROVIDER, "openai": PROVIDER}
    assert choose_providers(AgentSetting("command"), known, needs_model=False) == ()
    assert choose_providers(AgentSetting("claude"), known, needs_model=True) == ("anthropic", "openai")
    named = AgentSetting("command", providers=("openai",))
    assert choose_providers(named, known, needs_model=True) == ("openai",)
    with pytest.raises(UsageError, match="no provider 'x'"):
        choose_providers(AgentSetting("command", providers=("x",)), known, needs_model=True)
