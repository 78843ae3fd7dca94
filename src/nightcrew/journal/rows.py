"""Records as rows and back: which columns can be searched, one canonical text for the rest, exact rebuilding."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from json.encoder import encode_basestring_ascii as quote
from math import isfinite
from typing import Any, Final, TypeVar, get_origin, get_type_hints

from nightcrew.model import canonical
from nightcrew.model.errors import JournalDamaged
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    BreakerRecord,
    CheckpointRecord,
    LedgerRecord,
    PlanRecord,
    PromotionRecord,
    Record,
    RunRecord,
    TaskRecord,
)

R = TypeVar("R", bound=Record)
Redact = Callable[[str], str]

NAMES: Final[Mapping[type, str]] = {
    RunRecord: "run",
    PlanRecord: "plan",
    TaskRecord: "task",
    AttemptRecord: "attempt",
    ApprovalRecord: "approval",
    CheckpointRecord: "checkpoint",
    PromotionRecord: "promotion",
    LedgerRecord: "ledger",
    BreakerRecord: "breaker",
}
"""Record class → its word; also the name of its machine in model.lifecycle."""

SEARCHED: Final[Mapping[type, tuple[str, ...]]] = {
    RunRecord: ("state", "repo_key"),
    PlanRecord: ("run",),
    TaskRecord: ("run", "name", "state", "waiting_for"),
    AttemptRecord: ("run", "task", "state"),
    ApprovalRecord: ("run", "task", "state"),
    CheckpointRecord: ("run", "task", "attempt"),
    PromotionRecord: ("run", "state"),
    LedgerRecord: ("day", "month", "run", "agent"),
    BreakerRecord: ("state",),
}
"""Fields with a column and an index of their own. The others stand in ``body`` and are compared after reading."""

_EXACT: Final = frozenset(
    {
        "id",
        "repo_path",
        "branch",
        "nonce",
        "transcript",
        "transaction",
        "parent",
        "paths",
        "tasks",
        "requester",
        "waived",
        "partial",
        "file",
    }
)
"""Fields that name things on the disk or other records: altered they would name nothing. All others are redacted."""

_DIGEST = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def _shape(cls: type) -> tuple[tuple[str, bool], ...]:
    """Return the fields of a record class, and of each whether it is a tuple."""
    hints = get_type_hints(cls)
    return tuple((name, get_origin(hint) is tuple) for name, hint in hints.items())


_SHAPES: Final[Mapping[type, tuple[tuple[str, bool], ...]]] = {cls: _shape(cls) for cls in NAMES}


def sort_text(record_id: str) -> str:
    """Return a text whose order is counting order: ``R-10`` after ``R-9``, ``T02.1`` between ``T02`` and ``T03``."""
    return re.sub(r"[0-9]+", lambda number: number.group().zfill(12), record_id)


def clean(value: Any, redact: Redact) -> Any:
    """Return plain JSON with every string redacted; git and SHA-256 ids (40 or 64 hex characters) stay as they are."""
    return _redacted(canonical.to_plain(value), redact)


def _redacted(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return value if _DIGEST.fullmatch(value) else redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    return value


def encode_clean(value: Any, redact: Redact) -> str:
    """Return the canonical JSON of ``clean(value)``: the same text, made in one pass. Events are written with it."""
    kind = type(value)
    if kind is dict:
        return _encode_object(value, redact)
    if kind is str:
        return quote(value if len(value) in _DIGITS and _DIGEST.fullmatch(value) else redact(value))
    if kind is list or kind is tuple:
        return "[" + ",".join([encode_clean(item, redact) for item in value]) + "]"
    if kind is int or (kind is float and isfinite(value)):
        return repr(value)
    if kind is float:
        return quote(canonical.name_float(value))
    return (
        _CONSTANTS[value] if kind is bool or value is None else canonical.encode_plain(clean(value, redact))
    )


def _encode_object(value: dict[Any, Any], redact: Redact) -> str:
    keys = tuple(value)
    frame = _FRAMES.get(keys)
    if frame is None:
        try:
            frame = _make_frame(keys)
        except TypeError:  # a key that is no text cannot be quoted
            return canonical.encode_plain(clean(value, redact))
    text = ""
    for key, before in frame:
        item = value[key]
        # Most values are texts; the same as above, without a call.
        if type(item) is str and len(item) != 64 and len(item) != 40:
            text += before + quote(redact(item))
        else:
            text += before + encode_clean(item, redact)
    return text + "}" if text else "{}"


def _make_frame(keys: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    """Return the keys of an object in their order, each with what stands before its value; kept for the next with these keys.

    Raises:
        TypeError: a key is no text.
    """
    frame = tuple((key, f"{',' if at else '{'}{quote(key)}:") for at, key in enumerate(sorted(keys)))
    if len(_FRAMES) >= _MOST_FRAMES:
        _FRAMES.clear()
    _FRAMES[keys] = frame
    return frame


_FRAMES: Final[dict[tuple[Any, ...], tuple[tuple[str, str], ...]]] = {}
"""What was made of names alone: the data of events of one kind have the same keys."""
_MOST_FRAMES: Final = 1000
_DIGITS: Final = (40, 64)
_CONSTANTS: Final[Mapping[bool | None, str]] = {True: "true", False: "false", None: "null"}


def encode_body(record: Record, redact: Redact) -> str:
    """Return the whole record as canonical JSON, redacted; names and searched fields stay exact."""
    plain = canonical.to_plain(record)
    exact = _EXACT.union(SEARCHED[type(record)])
    return canonical.encode({k: v if k in exact else _redacted(v, redact) for k, v in plain.items()})


def columns_of(record: Record, body: str) -> dict[str, str]:
    """Return the row of a record."""
    row = {name: getattr(record, name) for name in SEARCHED[type(record)]}
    return {"id": record.id, "sort": sort_text(record.id), **row, "body": body}


def decode_body(cls: type[R], body: str) -> R:
    """Rebuild a record exactly: tuples are tuples again, what is missing takes its default, what is unknown is left out.

    Raises:
        JournalDamaged: not a record of this class.
    """
    try:
        plain = json.loads(body)
        values = {
            name: tuple(plain[name]) if many else plain[name] for name, many in _SHAPES[cls] if name in plain
        }
        make: Callable[..., R] = cls
        return make(**values)
    except (ValueError, TypeError) as error:
        raise JournalDamaged(f"a {NAMES[cls]} row cannot be read: {error}", code="journal.row") from error


def check_fields(cls: type, wanted: Mapping[str, Any]) -> None:
    """Raise TypeError when ``wanted`` names a field that records of this class do not have."""
    unknown = wanted.keys() - {name for name, _ in _SHAPES[cls]}
    if unknown:
        raise TypeError(f"a {NAMES[cls]} has no {', '.join(sorted(unknown))}")


def check_columns(cls: type, wanted: Collection[str]) -> None:
    """Raise TypeError when ``wanted`` names a field that has no column of its own."""
    unknown = set(wanted) - {"id", *SEARCHED[cls]}
    if unknown:
        raise TypeError(f"a {NAMES[cls]} has no column {', '.join(sorted(unknown))}")
