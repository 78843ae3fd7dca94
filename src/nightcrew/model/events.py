"""The event: one line of the journal, chained by hash. Format: docs/formats/journal.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Final

from nightcrew.model import canonical

GENESIS: Final = "0" * 64
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded fact.

    Attributes:
        seq: position in the whole journal, counted from 1 without gaps; shown as ``E-<seq>``.
        at: UTC time as ISO 8601 with microseconds and ``Z``.
        kind: past tense, dotted: ``run.created``, ``task.started``, ``policy.decided``.
        run: run id, or empty for events of the whole installation; names the chain.
        task: full task id or empty.
        attempt: attempt id ``R-7/T04/2`` or empty.
        actor: ``user:<name>``, ``agent:<name>``, ``engine`` or ``policy``.
        data: what happened, JSON values only, secrets already redacted.
        prev: hash of the event before it in the same chain, GENESIS for the first.
        hash: SHA-256 over everything above.
    """

    seq: int
    at: str
    kind: str
    run: str
    task: str
    attempt: str
    actor: str
    data: Mapping[str, Any] = field(default_factory=dict)
    prev: str = GENESIS
    hash: str = ""

    @property
    def id(self) -> str:
        """The pasteable id, ``E-<seq>``."""
        return f"E-{self.seq}"


def compute_hash(event: Event) -> str:
    """Return the hash an event must carry: SHA-256 of its canonical JSON without the ``hash`` field."""
    body = canonical.to_plain(event)
    del body["hash"]
    body["format"] = FORMAT
    return canonical.digest(body)


Frame = tuple[str, str, str, str, str, str]
"""The text of an event around its time, its data, the hash before it and its number; and its actor as written."""


def make_frame(kind: str, run: str, task: str, attempt: str, actor: str) -> Frame:
    """Return what stays the same in the texts of many events: see ``write_text``.

    Raises:
        TypeError: a field is no text.
    """
    return (
        f'{{"actor":{quote(actor)},"at":"',
        f'","attempt":{quote(attempt)},"data":',
        f',"format":{FORMAT},"kind":{quote(kind)},"prev":"',
        f'","run":{quote(run)},"seq":',
        f',"task":{quote(task)}}}',
        actor,
    )


def write_text(frame: Frame, at: str, data: str, prev: str, seq: int) -> str:
    """Return what is hashed of an event whose data is canonical JSON already: the very text that ``compute_hash`` makes.

    Args:
        frame: of its other fields. at, prev: as ``stamp`` and the hash write them: nothing in them needs an escape.

    Raises:
        ValueError: they are something else.
    """
    if not (at.isascii() and at.isprintable() and prev.isalnum()) or '"' in at or "\\" in at:
        raise ValueError("not a time and a hash")
    a, b, c, d, e, _ = frame
    return f"{a}{at}{b}{data}{c}{prev}{d}{seq:d}{e}"


def hash_text(text: str) -> str:
    """Return the hash of an event by its text.

    Raises:
        UnicodeEncodeError: it is not ASCII, so it is not canonical JSON.
    """
    return hashlib.sha256(text.encode("ascii")).hexdigest()
