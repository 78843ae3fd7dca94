"""The log of a host: warnings and worse of everything that runs in its process, in a private file, redacted.

Whoever hosts takes over what Python would print on its own: records of libraries that nobody handles, warnings,
exceptions that end a thread or that nobody can catch. Printed, they would stand in the log of a background host, or on
a person's screen, word by word.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

LOG: Final = logging.getLogger("nightcrew.engine")
_FORM: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Logbook:
    """Open from its making until ``close``; afterwards everything is as it was before.

    Args:
        path: of the file; made private when it is not there.
        redact: applied to every entry before it is written.
    """

    def __init__(self, path: Path, redact: Callable[[str], str]) -> None:
        path.touch(mode=0o600, exist_ok=True)
        self.handler: logging.Handler = logging.FileHandler(
            path, encoding="utf-8", errors="backslashreplace", delay=True
        )
        self.handler.setLevel(logging.WARNING)
        self.handler.setFormatter(_Redacting(redact))
        self._before = threading.excepthook, sys.unraisablehook
        logging.getLogger().addHandler(self.handler)
        logging.captureWarnings(True)
        threading.excepthook = _note_thread
        sys.unraisablehook = _note_unraisable

    def close(self) -> None:
        """Let go of everything, and close the file."""
        threading.excepthook, sys.unraisablehook = self._before
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(self.handler)
        self.handler.close()


class _Redacting(logging.Formatter):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__(_FORM)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def _note_thread(ended: threading.ExceptHookArgs) -> None:
    name = ended.thread.name if ended.thread else "a thread"
    error = ended.exc_value
    LOG.error("%s ended with %s", name, ended.exc_type.__name__, exc_info=error or None)


def _note_unraisable(seen: Any) -> None:
    LOG.error("%s in %r", seen.err_msg or "exception ignored", seen.object, exc_info=seen.exc_value)
