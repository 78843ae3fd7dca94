"""Budgets as they stand, and what was spent on which day, by whom."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nightcrew.engine.books import ledger
from nightcrew.engine.books.budgets import Calendar, find_scopes, read_limits
from nightcrew.engine.books.days import find_days
from nightcrew.host.calendar import local_day
from nightcrew.model.ids import sort_key
from nightcrew.model.records import LedgerRecord, RunRecord, TaskRecord
from nightcrew.model.usage import Spent, describe_minutes, describe_spent
from nightcrew.runtime.money.budgeting import days_of, read_calendar, view_scope

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

_OPEN = ("awaiting_approval", "approved", "running", "paused")


def show_budgets(parts: Parts, run: str) -> dict[str, Any]:
    """Return what day and month have taken, with their budgets, and the budgets of one run or of all that are open."""
    today = local_day(parts.clock.now())
    own = read_calendar(parts)
    with parts.journal.read() as tx:
        day, month = ledger.read_day(tx, today), ledger.read_month(tx, today[:7])
        allowed = Calendar(
            ledger.read_allowed(tx, today, own.day), ledger.read_allowed(tx, today[:7], own.month)
        )
        runs = [tx.need(RunRecord, run)] if run else tx.find(RunRecord, state=_OPEN)
        return {
            "day": {"name": today, **_view_spent(day)},
            "month": {"name": today[:7], **_view_spent(month)},
            "budgets": [view_scope(each) for each in find_days(allowed, today, day, month)],
            "runs": [_view_run(parts, tx, each) for each in sorted(runs, key=lambda each: sort_key(each.id))],
        }


def _view_run(parts: Parts, tx: Reader, run: RunRecord) -> dict[str, Any]:
    limits = read_limits(run)
    scopes = find_scopes(run, tx.find(TaskRecord, run=run.id), days_of(parts, tx, run))
    return {
        "id": run.id,
        "state": run.state,
        "title": run.title,
        "on_spent": limits.on_spent,
        "warn_at": limits.warn_at,
        **_view_spent(Spent.from_plain(run.usage)),
        "budgets": [view_scope(each) for each in scopes if each.run],
    }


def show_history(parts: Parts, by: str, *, days: int, run: str) -> dict[str, Any]:
    """Return what was spent in the last days, added up; newest first where it is by day or month."""
    since = local_day(parts.clock.now() - timedelta(days=max(0, days - 1)))
    with parts.journal.read() as tx:
        rows = tx.find(LedgerRecord, run=run) if run else tx.find(LedgerRecord)
        records = [each for each in rows if each.day >= since and each.run != "-"]
    lines = ledger.summarize(records, by)
    if by in ("day", "month"):
        lines.reverse()
    elif by == "run":
        lines.sort(key=lambda line: sort_key(line.key))
    return {
        "by": by,
        "since": since,
        "lines": [
            {
                by: line.key,
                **_view_spent(line.spent),
                "runs": sorted(line.runs, key=sort_key),
                "models": {name: each.to_plain() for name, each in line.models.items()},
            }
            for line in lines
        ],
        "total": _view_spent(ledger.add_up(records)),
    }


def _view_spent(spent: Spent) -> dict[str, Any]:
    said = [describe_spent(spent)] if spent.requests else []
    said += [f"{describe_minutes(spent.seconds)} of work"] if spent.seconds else []
    return {**spent.to_plain(), "total_tokens": spent.tokens.total, "said": ", ".join(said) or "nothing"}
