"""What a planner asks is held, written down while it is asked, and counted when nobody is left who waits for the answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nightcrew.engine.books.budgets import Calendar, Limits, Scope, read_run_spent
from nightcrew.engine.books.reserving import Reservations
from nightcrew.engine.money.planpaying import KEY, PlanPayer
from nightcrew.host.clock import SystemClock
from nightcrew.journal.journal import Journal
from nightcrew.model.records import RunRecord
from nightcrew.model.usage import Budget, Provider, Spent, Tokens
from nightcrew.policy.prices import Prices, shipped_prices
from nightcrew.sandbox.gateway.wires import Ask

CLOCK = SystemClock()
PROVIDER = Provider("anthropic", "anthropic", "https://x.example.org")
ASK = Ask("answer", "/v1/messages", "claude-sonnet-4-5", size=4000, most_output=100)


def begin(tmp_path: Path) -> Journal:
    journal = Journal.open(f"sqlite:///{tmp_path / 'j.db'}", clock=CLOCK)
    run = RunRecord(
        "R-1", "running", "t", repo_path="/r", repo_key="k", base_commit="c", base_tree="t", plan_version=1,
        plan_digest="d", policy_digest="p", requester="me", created_at="",
    )  # fmt: skip
    with journal.write() as tx:
        tx.add(run, "run.created")
    return journal


def pay(journal: Journal, held: Reservations, by: str) -> PlanPayer:
    return PlanPayer(journal, CLOCK, Prices(shipped_prices(), {}), "R-1", "planner", Calendar, held, by)


def read_run(journal: Journal) -> RunRecord:
    with journal.read() as tx:
        return tx.need(RunRecord, "R-1")


def test_what_is_under_way_is_in_the_tables_until_it_is_recorded_or_let_go(tmp_path: Path) -> None:
    journal, held = begin(tmp_path), Reservations()
    payer = pay(journal, held, "engine")
    first, second = payer.hold(PROVIDER, ASK), payer.hold(PROVIDER, ASK)
    assert set(read_run(journal).settings[KEY]["open"]) == {first, second}
    payer.record(PROVIDER, ("", ASK.model), Tokens(input=10), exact=True, ticket=first)
    payer.let_go(first)
    payer.tell_rest()
    assert "open" not in read_run(journal).settings[KEY]
    assert not held.knows(first)
    assert not held.knows(second)
    assert read_run_spent(read_run(journal)).requests == 1
    journal.close()


def test_what_a_dead_engine_asked_is_counted_by_the_next_and_by_nobody_else(tmp_path: Path) -> None:
    journal = begin(tmp_path)
    pay(journal, Reservations(), "engine").hold(PROVIDER, ASK)
    pay(journal, Reservations(), "person").settle_lost()
    assert read_run_spent(read_run(journal)).requests == 0
    pay(journal, Reservations(), "engine").settle_lost()
    pay(journal, Reservations(), "engine").settle_lost()
    spent = read_run_spent(read_run(journal))
    assert (spent.requests, spent.estimated, spent.tokens.output) == (1, 1, 100)
    journal.close()


def test_what_a_task_has_under_way_is_waited_for(tmp_path: Path) -> None:
    journal, held = begin(tmp_path), Reservations()
    with journal.write() as tx:
        tx.change(tx.need(RunRecord, "R-1"), "", settings={"budget": Limits(run=Budget(1.0)).to_plain()})
    budget = Scope("run", "R-1", "R-1", Budget(1.0), Spent())
    assert held.hold("of a task", [budget], Spent(requests=1, usd=0.9999))
    payer = pay(journal, held, "engine")
    assert payer.hold(PROVIDER, ASK) == ""
    assert read_run(journal).settings.get(KEY) is None
    held.let_go("of a task")
    assert payer.hold(PROVIDER, replace(ASK, most_output=0))
    journal.close()
