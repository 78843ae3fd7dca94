"""One text for one value: canonical JSON and the digests made of it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any


def to_plain(value: Any) -> Any:
    """Turn dataclasses, enums, tuples and sets into plain JSON values (dict, list, str, numbers, None)."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(to_plain(item) for item in value)
    return value


def encode(value: Any) -> str:
    """Return canonical JSON: sorted keys, no spaces, ASCII only (so undecodable file names survive as escapes)."""
    return encode_plain(to_plain(value))


def encode_plain(value: Any) -> str:
    """Return canonical JSON of a value that is plain already (tuples count as lists)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of ``value`` as 64 hex characters."""
    return hashlib.sha256(encode(value).encode("ascii")).hexdigest()


def name_float(value: float) -> str:
    """Return the name of a number that JSON has no form for: ``NaN``, ``Infinity`` or ``-Infinity``."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def without_infinities(value: Any) -> Any:
    """Return a plain value in which numbers that JSON has no form for are their names, as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return name_float(value)
    if isinstance(value, dict):
        return {key: without_infinities(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_infinities(item) for item in value]
    return value
