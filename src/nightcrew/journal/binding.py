"""What binds records to the chain: the last event of a transaction carries the digest of each row that the transaction left. Pure.

A body is digested as it is stored, so whoever edits it in the database makes it another than the one that an event tells of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model import canonical

BOUND: Final = "bound"
"""In the data of an event: id of a record → digest of its body after this transaction, empty when it was taken out."""
CHANGED: Final = "record.changed"
"""Kind of the event that carries what no other event of the transaction could."""
_KEY: Final = f'"{BOUND}":'


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing the rows of records with the events found.

    Attributes:
        bound: rows that are what an event says.
        older: rows that no event is bound to, because they were written last by an older nightcrew.
        problem: in words, empty when all is well. seq: number of the last event that tells of the bad row, or 0.
    """

    bound: int = 0
    older: int = 0
    problem: str = ""
    seq: int = 0


def digest_body(body: str) -> str:
    """Return the digest of a stored body."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()


def add_bound(data: str, bound: Mapping[str, str]) -> str:
    """Return the canonical JSON of an event's data with the digests of records in it."""
    plain = json.loads(data)
    plain[BOUND] = {**plain.get(BOUND, {}), **bound}
    return canonical.encode_plain(plain)


def read_bound(data: str) -> dict[str, str]:
    """Return the digests that the data of an event carries; data that is none of ours carries nothing."""
    if _KEY not in data:
        return {}
    plain = json.loads(data)
    found = plain.get(BOUND) if isinstance(plain, dict) else None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def read_subject(data: str) -> str:
    """Return the id of the record that an event is about, empty when it is about none."""
    if '"id":' not in data:
        return ""
    plain = json.loads(data)
    return str(plain.get("id", "")) if isinstance(plain, dict) else ""


def check_row(record_id: str, body: str, told: tuple[str, int] | None, *, known: bool) -> tuple[str, int]:
    """Return what is wrong with a row, and the event that tells of it last; nothing when all is well.

    Args:
        told: the last digest of it in an event, and the number of that event; None when there is none.
        known: an event tells of this record, or told of it before it was emptied.
    """
    if told is None:
        return ("", 0) if known else (f"no event tells of {record_id}", 0)
    digest, seq = told
    if not digest:
        return f"{record_id} was taken out with E-{seq}, and is there again", seq
    if digest != digest_body(body):
        return f"{record_id} was changed after E-{seq}, its last event, and no event tells of it", seq
    return "", 0


def check_columns(row: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Return the first column of a row that says something else than its body, or nothing."""
    return next((name for name, value in expected.items() if row[name] != value), "")
