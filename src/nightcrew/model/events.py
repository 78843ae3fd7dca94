"""The event: one line of the journal, chained by hash. Format: docs/formats/journal.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
