"""What a day and a month may cost over all runs, and what is spent of it. Only rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightcrew.engine.books import ledger
from nightcrew.engine.books.budgets import Calendar, Scope, read_limits
from nightcrew.model.records import RunRecord
from nightcrew.model.usage import Spent

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader


def find_calendar(tx: Reader, own: Calendar, run: RunRecord, today: str) -> Calendar:
    """Return what this day and this month may cost: as the settings or a person say, and at most what the run's policy does."""
    allowed = Calendar(
        ledger.read_allowed(tx, today, own.day), ledger.read_allowed(tx, today[:7], own.month), own.source
    )
    return allowed.narrow(read_limits(run).calendar)


def find_days(calendar: Calendar, today: str, day: Spent, month: Spent) -> list[Scope]:
    """Return the budgets of a day and its month."""
    found = [
        Scope("day", today, "", calendar.day, day),
        Scope("month", today[:7], "", calendar.month, month),
    ]
    return [each for each in found if each.budget]


def read_days(tx: Reader, calendar: Calendar, today: str) -> list[Scope]:
    """Return the same with what is spent of them, as the tables say."""
    day = ledger.read_day(tx, today) if calendar.day else Spent()
    month = ledger.read_month(tx, today[:7]) if calendar.month else Spent()
    return find_days(calendar, today, day, month)
