"""The live process as its session sees it: input that never blocks, and a way to stop it, from any thread."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nightcrew.sandbox.freezer import Freezer

_CHUNK_BYTES: Final = 1 << 16


class Hold:
    """One moment in which a tree stands still; implements model.isolation.Stillness."""

    def __init__(self, freezer: Freezer | None) -> None:
        self._freezer = freezer
        self._lock = threading.Lock()
        self._began = time.monotonic()
        try:
            # Without a freezer the tree is gone already: nothing of it moves.
            self.whole = freezer is None or freezer.freeze()
        except OSError:
            # Out of descriptors, most likely: nobody may stay stopped for it.
            if freezer is not None:
                freezer.thaw()
            raise
        self.freezing_s = time.monotonic() - self._began
        self.held_ms = 0.0
        self.over = False

    def let_go(self) -> None:
        """Let the tree go on; the second time does nothing."""
        with self._lock:
            if not self.over and self._freezer is not None:
                self._freezer.thaw()
                self.held_ms = (time.monotonic() - self._began) * 1000
                self.over = True


class LiveProcess:
    """Implements model.isolation.Process; the supervisor calls ``flush`` when stdin can take something."""

    def __init__(self, stdin: int) -> None:
        os.set_blocking(stdin, False)
        self._stdin = stdin
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lock = threading.Lock()
        self._waiting: deque[memoryview] = deque()
        self._end = False
        self._stop_reason: str | None = None
        self._freezer: Freezer | None = None
        self._freezing = threading.Lock()

    def write(self, data: bytes) -> None:
        """Queue ``data`` for stdin; dropped when the other end is closed."""
        with self._lock:
            if self._stdin >= 0 and not self._end and data:
                self._waiting.append(memoryview(bytes(data)))
            self._poke()

    def close_stdin(self) -> None:
        """Send end of file after what is queued."""
        with self._lock:
            self._end = True
            self._poke()

    def stop(self, reason: str) -> None:
        """End the whole tree now; the first reason counts."""
        with self._lock:
            if self._stop_reason is None:
                self._stop_reason = reason
            self._poke()

    @contextmanager
    def frozen(self, limit_s: float) -> Iterator[Hold]:
        """Hold the whole tree still; see model.isolation.Process."""
        with self._freezing:
            hold = Hold(self._freezer)
            timer = threading.Timer(max(0.0, limit_s - hold.freezing_s), hold.let_go)
            try:
                timer.start()
                yield hold
            finally:
                timer.cancel()
                hold.let_go()
                if timer.ident is not None:
                    timer.join()

    def prepare_to_freeze(self) -> None:
        """Make later holds quicker and unseen from inside; takes some milliseconds, which nobody waits for."""
        with self._freezing:
            if self._freezer is not None:
                self._freezer.prepare()

    def freeze_with(self, freezer: Freezer) -> None:
        """Give it what freezes its tree; the supervisor does, as soon as there is one."""
        self._freezer = freezer

    @property
    def stop_reason(self) -> str | None:
        """Why its session wants it to end; None while it does not."""
        return self._stop_reason

    @property
    def wake_fd(self) -> int:
        """Becomes readable when the supervisor should look at this object."""
        return self._wake

    @property
    def stdin_wanted(self) -> int:
        """The descriptor of stdin when there is something to write or to close, else -1."""
        with self._lock:
            return self._stdin if self._waiting or self._end else -1

    def woken(self) -> None:
        """Make ``wake_fd`` quiet again."""
        os.eventfd_read(self._wake)

    def flush(self) -> bool:
        """Write as much as fits; returns whether anything went."""
        went = False
        with self._lock:
            try:
                while self._waiting and self._stdin >= 0:
                    self._write_piece()
                    went = True
            except BlockingIOError:
                return went
            except OSError:
                self._close_stdin()  # EPIPE: nobody reads it any more
            if self._end and not self._waiting:
                self._close_stdin()
        return went

    def close(self) -> None:
        """Close everything; later calls from the session do nothing."""
        with self._freezing:
            if self._freezer is not None:
                self._freezer.close()
            self._freezer = None
        with self._lock:
            self._close_stdin()
            os.close(self._wake)
            self._wake = -1

    def _write_piece(self) -> None:
        piece = self._waiting[0]
        written = os.write(self._stdin, piece[:_CHUNK_BYTES])
        self._waiting[0] = piece[written:]
        if not self._waiting[0]:
            self._waiting.popleft()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
        self._stdin = -1
        self._waiting.clear()

    def _poke(self) -> None:
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)
