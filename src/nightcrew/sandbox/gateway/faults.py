"""What went wrong between us and a provider, as a class that says whether trying again can help. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from nightcrew.model.usage import Fault, FaultKind
from nightcrew.sandbox.gateway.meters import read_error

#: HTTP status → class, where the words of the provider say nothing else.
_STATUS: Final[Mapping[int, FaultKind]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    408: "overloaded",
    409: "overloaded",
    429: "rate_limit",
    529: "overloaded",
}
#: Words in the type of an error → class; they come before the status.
_WORDS: Final[tuple[tuple[str, FaultKind], ...]] = (
    ("insufficient_quota", "quota"),
    ("billing", "quota"),
    ("credit", "quota"),
    ("authentication", "auth"),
    ("permission", "auth"),
    ("invalid_api_key", "auth"),
    ("unauthenticated", "auth"),
    ("rate_limit", "rate_limit"),
    ("resource_exhausted", "rate_limit"),
    ("overloaded", "overloaded"),
    ("unavailable", "overloaded"),
    ("server_error", "overloaded"),
    ("api_error", "overloaded"),
    ("internal", "overloaded"),
)
_SECONDS: Final = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})?\Z")
_SHOWN: Final = 200


def classify(status: int, headers: Mapping[bytes, bytes], body: bytes, *, secret: str = "") -> Fault:
    """Return what an answer with an error status amounts to.

    Args:
        status, headers, body: of the answer; names of headers in small letters.
        secret: taken out of what the provider says.
    """
    try:
        found = read_error(json.loads(body))
    except (ValueError, RecursionError):
        # An error page of something in between: the status is all there is.
        found = None
    kind, said = found or ("", "")
    if secret:
        said = said.replace(secret, "[key]")
    return Fault(pick_kind(status, kind), status, said.strip()[:_SHOWN] or kind, read_wait(headers))


def pick_kind(status: int, word: str) -> FaultKind:
    """Return the class of an error by the provider's own word for it, else by its status."""
    small = word.lower()
    for part, kind in _WORDS:
        if part in small:
            return kind
    return _STATUS.get(status, "overloaded" if status >= 500 else "bad_request")


def read_wait(headers: Mapping[bytes, bytes]) -> float:
    """Return how many seconds the provider asks to wait; 0 when it does not say, or says it as a date."""
    milliseconds = headers.get(b"retry-after-ms", b"").decode("latin-1").strip()
    if _SECONDS.match(milliseconds):
        return float(milliseconds) / 1000
    seconds = headers.get(b"retry-after", b"").decode("latin-1").strip()
    return float(seconds) if _SECONDS.match(seconds) else 0.0
