"""Lines of JSON out of a stream of bytes: any length of piece, any content, bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from nightcrew.model.errors import NightcrewError

#: Longest line that is read. The largest honest ones carry a whole file twice (before and after an edit).
LINE_LIMIT_BYTES: Final = 16 << 20
#: Lines on stdout that are no JSON object, in all: a warning that lands there is forgiven, a program that speaks
#: something else is not.
STRAY_LIMIT: Final = 200

Message = Mapping[str, Any]


class BrokenProtocol(NightcrewError):
    """What comes cannot be a peer of ours."""


class JsonLines:
    """Collects bytes and gives whole messages.

    Attributes:
        stray: lines so far that were no JSON object.
    """

    def __init__(self, limit_bytes: int = LINE_LIMIT_BYTES) -> None:
        self._limit = limit_bytes
        self._pending = bytearray()
        self._searched = 0
        self.stray = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield every message that is complete with ``data``; what comes after a consumer that stops is lost.

        Raises:
            BrokenProtocol: an endless line, or too many lines that are no messages.
        """
        self._pending += data
        while (end := self._pending.find(b"\n", self._searched)) >= 0:
            line = bytes(self._pending[:end])
            del self._pending[: end + 1]
            self._searched = 0
            message = self._read(line)
            if message is not None:
                yield message
        self._searched = len(self._pending)
        if self._searched > self._limit:
            self._pending.clear()
            raise BrokenProtocol("an endless line")

    def _read(self, line: bytes) -> Message | None:
        if len(line) > self._limit:
            raise BrokenProtocol("an endless line")
        if not line.strip():
            return None
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            return message
        self.stray += 1
        if self.stray > STRAY_LIMIT:
            raise BrokenProtocol("its output is something else")
        return None


# What a peer says may lack anything and have any type: these never raise.


def take(value: Any, *path: str) -> Any:
    """Return what lies at ``path`` below ``value``, None when it is not there."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: Any, *path: str) -> str:
    """Return the text at ``path``; empty when there is none."""
    found = take(value, *path)
    return found if isinstance(found, str) else ""


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """Return the object at ``path``; empty when there is none."""
    found = take(value, *path)
    return found if isinstance(found, dict) else {}


def items(value: Any, *path: str) -> Sequence[Any]:
    """Return the list at ``path``; empty when there is none."""
    found = take(value, *path)
    return found if isinstance(found, list) else ()
