"""Locks between processes: ``flock`` on a file, released by the kernel when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from nightcrew.host.procs import process_identity
from nightcrew.model.errors import EngineUnavailable

_POLL_S = 0.02
"""How often a waiter tries again; flock has no wait with a deadline."""


class FileLock:
    """A lock named by a file. The file stays when the lock is released; only the lock matters.

    One object holds the lock at most once; a second ``acquire`` of the same object, from any thread, waits like a
    stranger. Used as a context manager it does not wait.

    Args:
        path: the file.
        shared: several may hold it at once, all of them shared; nobody is named as its holder then.
    """

    def __init__(self, path: str | Path, *, shared: bool = False) -> None:
        self.path = Path(path)
        self._shared = shared
        self._fd = -1
        self._trying = threading.Lock()

    def acquire(self, wait_s: float = 0) -> bool:
        """Take the lock, trying for ``wait_s`` seconds; return whether it is ours.

        Raises:
            EngineUnavailable: the lock file cannot be created or opened (read-only or missing directory).
        """
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        with self._trying:
            if self._fd >= 0:
                if not self._shared:
                    os.ftruncate(self._fd, 0)
                os.close(self._fd)
                self._fd = -1

    @property
    def held(self) -> bool:
        """True while this object holds the lock."""
        return self._fd >= 0

    def holder(self) -> str:
        """Return who holds the lock, as ``process 4711``; empty when the last holder is gone or has released it.

        A question for people, not for decisions: by the time it is read it may be old.
        """
        try:
            identity = self.path.read_text(encoding="ascii", errors="replace").strip()
        except OSError:
            # No such file: nobody ever held it. Not readable: it is not ours to ask about.
            return ""
        pid = identity.split(".", 1)[0]
        if not pid.isdigit() or process_identity(int(pid)) != identity:
            return ""
        return f"process {pid}"

    def __enter__(self) -> Self:
        if not self.acquire():
            raise EngineUnavailable(
                f"{self.holder() or 'another process'} holds {self.path}",
                code="lock.held",
                hint="wait for it, or end that process; a lock whose holder died is free at once",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _try(self) -> bool:
        with self._trying:
            if self._fd >= 0:
                return False
            fd = self._open()
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EWOULDBLOCK, errno.EINTR):
                    return False
                raise EngineUnavailable(
                    f"cannot lock {self.path}: {error.strerror}", code="lock.unusable"
                ) from error
            if self._shared:
                self._fd = fd
                return True
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, process_identity(os.getpid()).encode("ascii"), 0)
            except OSError as error:
                # A full disk. The lock would be ours without anybody knowing: give it back.
                os.close(fd)
                raise EngineUnavailable(
                    f"cannot write the lock file {self.path}: {error.strerror}", code="lock.unusable"
                ) from error
            self._fd = fd
            return True

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EngineUnavailable(
                f"cannot open the lock file {self.path}: {error.strerror}",
                code="lock.unusable",
                hint="the state directory must be writable; XDG_STATE_HOME moves it",
            ) from error
