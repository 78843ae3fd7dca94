"""What an agent was answered on each call, for its own command hooks to look up; from other threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

from nightcrew.model import canonical

#: Calls that are remembered; an agent that has made more since is not asking about this one any more.
MOST: Final = 2000
UNKNOWN: Final = "nobody was asked about this call"


class Verdicts:
    """Call, tool and arguments → verdict and reason."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._changed = threading.Condition()

    def put(self, call: str, tool: str, given: Mapping[str, Any], verdict: str, reason: str) -> None:
        """Remember an answer; a later one to the same call stands for it."""
        key = (call, tool, canonical.digest(given))
        with self._changed:
            self._known.pop(key, None)
            self._known[key] = (verdict, reason)
            while len(self._known) > MOST:
                del self._known[next(iter(self._known))]
            self._changed.notify_all()

    def recall(self, call: str, tool: str, given: Mapping[str, Any], patience_s: float) -> tuple[str, str]:
        """Return what was answered to just this call, waiting so long for it; a no when nothing was."""
        key = (call, tool, canonical.digest(given))
        with self._changed:
            self._changed.wait_for(lambda: key in self._known, patience_s)
            return self._known.get(key, ("deny", UNKNOWN))
