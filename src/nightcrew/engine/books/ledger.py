"""What was spent on which day, by which agent, over all runs: the book that budgets of a day and a month are read from.

A day is one of the user's own calendar. One row per day, run and agent, changed in the transaction that records the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.records import LedgerRecord
from nightcrew.model.usage import Budget, Spent

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Kind of the event with which a row begins.
OPENED: Final = "ledger.opened"
_MONTH: Final = len("2026-11")


def book(tx: Writer, day: str, run: str, agent: str, model: str, spent: Spent) -> LedgerRecord:
    """Write down what an answer, or some minutes of work, took.

    Args:
        day: ``2026-11-21``. model: ``provider/model``; empty for working time.
    """
    name = f"{day}/{run}/{agent}"
    record = tx.get(LedgerRecord, name)
    if record is None:
        made = LedgerRecord(name, day, day[:7], run, agent)
        record = tx.add(made, OPENED, data={"day": day, "agent": agent})
    models = dict(record.models)
    if model:
        models[model] = (Spent.from_plain(models.get(model, {})) + spent).to_plain()
    usage = (Spent.from_plain(record.usage) + spent).to_plain()
    return tx.change(record, "", usage=usage, models=models)


def read_day(tx: Reader, day: str) -> Spent:
    """Return what all runs took on a day."""
    return add_up(tx.find(LedgerRecord, day=day))


def read_month(tx: Reader, month: str) -> Spent:
    """Return what all runs took in a month, ``2026-11``."""
    return add_up(tx.find(LedgerRecord, month=month))


def add_up(records: Iterable[LedgerRecord]) -> Spent:
    """Return the sum of some rows."""
    return reduce(Spent.__add__, (Spent.from_plain(each.usage) for each in records), Spent())


def allow(tx: Writer, period: str, budget: Budget) -> None:
    """Let one day, or one month, cost something else than the settings say."""
    name = f"{period}/-/-"
    record = tx.get(LedgerRecord, name)
    if record is None:
        made = LedgerRecord(name, period if len(period) > _MONTH else "", "", "-", "-")
        record = tx.add(made, OPENED, data={"day": period, "budget": budget.describe() or "none"})
    tx.change(record, "", usage={}, models={"allowed": budget.to_plain()})


def read_allowed(tx: Reader, period: str, otherwise: Budget) -> Budget:
    """Return what a day or month may cost: as a person let it, else as the settings say."""
    record = tx.get(LedgerRecord, f"{period}/-/-")
    return otherwise if record is None else Budget.from_plain(record.models.get("allowed", {}))


@dataclass(frozen=True, slots=True)
class Line:
    """Some rows added up. ``key`` is what they have in common; ``models`` the same per model."""

    key: str
    spent: Spent
    runs: tuple[str, ...]
    models: Mapping[str, Spent]


def summarize(records: Iterable[LedgerRecord], by: str) -> list[Line]:
    """Return rows added up by ``day``, ``month``, ``agent``, ``run`` or ``model``, in the order of these."""
    found: dict[str, list[tuple[str, Mapping[str, Any], Spent]]] = {}
    for record in (each for each in records if each.run != "-"):
        if by == "model":
            for model, plain in record.models.items():
                found.setdefault(model, []).append((record.run, {model: plain}, Spent.from_plain(plain)))
        else:
            spent = Spent.from_plain(record.usage)
            found.setdefault(str(getattr(record, by)), []).append((record.run, record.models, spent))
    return [_add_line(key, parts) for key, parts in sorted(found.items())]


def _add_line(key: str, parts: Iterable[tuple[str, Mapping[str, Any], Spent]]) -> Line:
    total, runs, models = Spent(), dict[str, None](), dict[str, Spent]()
    for run, plain, spent in parts:
        total += spent
        runs[run] = None
        for model, each in plain.items():
            models[model] = models.get(model, Spent()) + Spent.from_plain(each)
    return Line(key, total, tuple(runs), models)
