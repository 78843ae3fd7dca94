"""The tables of the journal, in portable SQL. Our names start with ``nc_``: the database also holds the engine's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from nightcrew.journal.rows import NAMES, SEARCHED

SCHEMA: Final = 3
"""Version of this layout. Records grow inside ``body`` without a new one. A new table or counter needs a higher number and
is then added to older databases when they are opened; a new column needs a step of its own in ``database``."""

COUNTED: Final = ("E", "R", "C", "A", "M")

METADATA: Final = sa.MetaData()

# Ids are ASCII and must sort by character, whatever the language of the database.
_TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

SCHEMA_TABLE: Final = sa.Table(
    "nc_schema", METADATA, sa.Column("version", sa.Integer, primary_key=True), sa.Column("created_at", _TEXT)
)

COUNTERS: Final = sa.Table(
    "nc_counters",
    METADATA,
    sa.Column("name", _TEXT, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

EVENTS: Final = sa.Table(
    "nc_events",
    METADATA,
    sa.Column(
        "seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
    ),
    sa.Column("at", _TEXT, nullable=False),
    sa.Column("kind", _TEXT, nullable=False),
    sa.Column("run", _TEXT, nullable=False),
    sa.Column("task", _TEXT, nullable=False),
    sa.Column("attempt", _TEXT, nullable=False),
    sa.Column("actor", _TEXT, nullable=False),
    sa.Column("data", _TEXT, nullable=False),
    sa.Column("prev", _TEXT, nullable=False),
    sa.Column("hash", _TEXT, nullable=False),
)

STRETCHES: Final = sa.Table(
    "nc_stretches",
    METADATA,
    sa.Column("run", _TEXT, primary_key=True),
    sa.Column("stretch", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
"""Which stretches of the journal hold events of a run. An index by run would be written for every event, this once in 256."""

HEADS: Final = sa.Table(
    "nc_heads",
    METADATA,
    sa.Column("chain", _TEXT, primary_key=True),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", _TEXT, nullable=False),
)


def _record_table(cls: type) -> sa.Table:
    name = f"nc_{NAMES[cls]}s"
    return sa.Table(
        name,
        METADATA,
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("sort", _TEXT, nullable=False),
        *(sa.Column(column, _TEXT, nullable=False) for column in SEARCHED[cls]),
        sa.Column("body", _TEXT, nullable=False),
        sa.Index(f"{name}_sort", "sort"),
        *(sa.Index(f"{name}_{column}", column, "sort") for column in SEARCHED[cls]),
    )


RECORDS: Final[Mapping[type, sa.Table]] = {cls: _record_table(cls) for cls in NAMES}
