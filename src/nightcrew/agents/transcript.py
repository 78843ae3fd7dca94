"""The raw output of an attempt as a file of JSON lines: redacted before the first write, bounded in size.

One line is ``{"at_s": 1.204, "stream": "stdout", "text": "..."}``; ``at_s`` counts from the attempt's start and
``stream`` is ``stdout``, ``stderr``, ``step``, ``engine`` or ``acceptance``. Output is cut at line ends before it is redacted, so that a
secret is never split between two writes; a line longer than LINE_LIMIT_BYTES is cut there.
Format page: docs/formats/transcript.md.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

#: A secret longer than this, or one that straddles such a cut in one endless line, is not found in it.
LINE_LIMIT_BYTES: Final = 64 << 10
#: Enough for a night of talk; the agent's work itself is in the checkpoints.
TOTAL_LIMIT_BYTES: Final = 16 << 20
_TAIL_BYTES: Final = 4 * LINE_LIMIT_BYTES
_SHOWN_CHARS: Final = 300
_PRINTED: Final = ("stdout", "stderr", "says", "install-stdout", "install-stderr")


class Transcript:
    """Append-only; safe to use from several threads. ``tail`` keeps the end of the output for evidence."""

    def __init__(
        self,
        path: Path,
        *,
        redact: Callable[[str], str],
        elapsed_s: Callable[[], float],
        limit_bytes: int = TOTAL_LIMIT_BYTES,
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
        self._redact = redact
        self._elapsed_s = elapsed_s
        self._left = limit_bytes
        self._partial: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def write(self, stream: str, data: bytes) -> None:
        """Take output as it comes; whole lines are written, the rest waits for its end."""
        with self._lock:
            pending = self._partial.get(stream, b"") + data
            whole, cut, rest = pending.rpartition(b"\n")
            if not cut and len(pending) < LINE_LIMIT_BYTES:
                self._partial[stream] = pending
                return
            if not cut:
                whole, rest = pending, b""
            self._partial[stream] = rest
            self._put(stream, whole)

    def note(self, stream: str, text: str) -> None:
        """Write a remark of ours."""
        with self._lock:
            self._put(stream, text.encode("utf-8", "surrogateescape"))

    def pending(self) -> str:
        """Return the last line of what was printed, as far as it is there and has no end yet."""
        with self._lock:
            rest = b"\n".join(self._partial.get(name, b"") for name in _PRINTED)
        return self._redact(rest.decode("utf-8", "backslashreplace"))

    def close(self) -> None:
        """Write what is left and close the file."""
        with self._lock:
            for stream, rest in self._partial.items():
                if rest:
                    self._put(stream, rest)
            self._partial.clear()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, stream: str, data: bytes) -> None:
        if self._left <= 0:
            return
        text = self._redact(data.decode("utf-8", "backslashreplace"))
        line = self._line(stream, text)
        self._left -= len(line)
        if self._left <= 0:
            line = self._line("engine", "the transcript has reached its limit; later output was dropped")
        self._file.write(line)
        self._file.flush()

    def _line(self, stream: str, text: str) -> bytes:
        record = {"at_s": round(self._elapsed_s(), 3), "stream": stream, "text": text}
        return json.dumps(record, ensure_ascii=True).encode("ascii") + b"\n"


def read_last_lines(path: Path, *, limit: int = 5) -> list[str]:
    """Return what an attempt printed last, its own output and that of ``Install:``; empty when there is nothing to read."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            records = file.read().splitlines()
    except OSError:
        return []
    lines: list[str] = []
    for record in reversed(records):
        try:
            found = json.loads(record)
        except ValueError:
            # The first one of the tail is cut, and so may be the last one of a process that was killed.
            continue
        if found["stream"] in _PRINTED:
            lines[:0] = [line[:_SHOWN_CHARS] for line in found["text"].splitlines() if _is_for_people(line)]
        if len(lines) >= limit:
            break
    return lines[-limit:]


def _is_for_people(line: str) -> bool:
    # A JSON object is a message of an agent's protocol.
    return bool(line.strip()) and not line.startswith('{"')
