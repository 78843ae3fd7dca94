"""Which events are asked for, as a query."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from nightcrew.journal.tables import EVENTS
from nightcrew.journal.wanted import Wanted

__all__ = ["Wanted", "choose", "of_kind"]

_C = EVENTS.c


def choose(query: sa.Select[Any], wanted: Wanted) -> sa.Select[Any]:
    """Return the query of events with everything that a column can tell; ``wanted.has_text`` tells the rest."""
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.kinds:
        conditions.append(sa.or_(*(_in_family(kind) for kind in wanted.kinds)))
    if wanted.who:
        conditions.append(sa.or_(*(_of_actor(name) for name in wanted.who)))
    if wanted.chain is not None:
        conditions.append(_C.run == wanted.chain)
    exact = ((_C.run, wanted.run), (_C.task, wanted.task))
    conditions += [column == value for column, value in exact if value]
    if wanted.since:
        conditions.append(_C.at >= wanted.since)
    if wanted.until:
        conditions.append(_C.at < wanted.until)
    return query.where(*conditions).order_by(_C.seq)


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
