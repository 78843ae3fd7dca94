"""Which events are asked for, as a query, and how those of one run are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import sqlalchemy as sa

from nightcrew.journal.chain import STRETCH
from nightcrew.journal.tables import EVENTS, STRETCHES
from nightcrew.journal.wanted import Wanted

__all__ = ["Wanted", "choose", "of_kind", "select_rows"]

_C = EVENTS.c
_ROWS_AT_ONCE: Final = 1000
_GAP: Final = 8
"""Stretches without an event of the run that are read all the same: a statement costs as much as looking at so many."""


def select_rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    chain: str | None,
    *,
    newest: bool = False,
    stream: bool = False,
) -> Iterator[Any]:
    """Yield the events of a query in the order of their numbers.

    Args:
        chain: only of the run of this name (the empty one is the installation), and only the stretches that hold such events are
            read; None for all.
        newest: the other way round.
        stream: read them a thousand at a time; a statement that is left in the middle keeps its moment of the database.
    """
    query = query.order_by(_C.seq.desc() if newest else _C.seq)
    if stream:
        query = query.execution_options(yield_per=_ROWS_AT_ONCE)
    if chain is None:
        yield from _execute(connection, query, stream=stream)
        return
    query = query.where(_C.run == chain)
    spans = _find_spans(connection, chain)
    for first, last in reversed(spans) if newest else spans:
        yield from _execute(connection, query.where(_C.seq.between(first, last)), stream=stream)


def _execute(connection: sa.Connection, query: sa.Select[Any], *, stream: bool) -> Iterable[Any]:
    found = connection.execute(query)
    return found if stream else found.all()


def _find_spans(connection: sa.Connection, chain: str) -> list[tuple[int, int]]:
    """Return first and last number of each part of the journal that holds events of a chain, in their order."""
    query = sa.select(STRETCHES.c.stretch).where(STRETCHES.c.run == chain).order_by(STRETCHES.c.stretch)
    spans: list[tuple[int, int]] = []
    for stretch in connection.execute(query).scalars():
        first, last = stretch << STRETCH, ((stretch + 1) << STRETCH) - 1
        if spans and first - spans[-1][1] <= _GAP << STRETCH:
            first = spans.pop()[0]
        spans.append((first, last))
    return spans


def choose(query: sa.Select[Any], wanted: Wanted) -> sa.Select[Any]:
    """Return the query of events with everything that a column can tell but the run; ``wanted.has_text`` tells the rest."""
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.kinds:
        conditions.append(sa.or_(*(_in_family(kind) for kind in wanted.kinds)))
    if wanted.who:
        conditions.append(sa.or_(*(_of_actor(name) for name in wanted.who)))
    if wanted.chain is not None and wanted.run and wanted.chain != wanted.run:
        conditions.append(sa.false())
    if wanted.task:
        conditions.append(_C.task == wanted.task)
    if wanted.since:
        conditions.append(_C.at >= wanted.since)
    if wanted.until:
        conditions.append(_C.at < wanted.until)
    return query.where(*conditions)


def of_kind(kind: str) -> sa.ColumnElement[bool]:
    """Return the condition that an event is of a kind, where ``task.*`` is a family of kinds."""
    if kind.endswith(".*"):
        return _C.kind.startswith(kind[:-1], autoescape=True)
    return _C.kind == kind


def _in_family(kind: str) -> sa.ColumnElement[bool]:
    return of_kind(kind if "." in kind else f"{kind}.*")


def _of_actor(name: str) -> sa.ColumnElement[bool]:
    if ":" in name:
        return _C.actor == name
    return sa.or_(_C.actor == name, _C.actor.endswith(f":{name}", autoescape=True))
