"""One event loop in one thread, for all sandboxes of a launcher's process."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Questions to the policy are journaled, which waits for a disk, and names are looked up: in threads, never in the loop.
_ASKING_THREADS: Final = 32
_PATIENCE_S: Final = 10.0
_FEWEST_CONNECTIONS: Final = 16
_MOST_DESCRIPTORS: Final = 1024  # select() in this process cannot see descriptors beyond that


class Loop:
    """An event loop that runs until ``close``; coroutines come from any thread.

    Args:
        part: there is room for one connection for so many descriptors that this process may have. Each costs two, other
            loops of the process have theirs, and the engine needs half of them.

    Attributes:
        room: connections of all sandboxes at once.
    """

    def __init__(self, part: int = 6) -> None:
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.room = asyncio.Semaphore(max(_FEWEST_CONNECTIONS, min(soft, _MOST_DESCRIPTORS) // part))
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(
            ThreadPoolExecutor(_ASKING_THREADS, thread_name_prefix="nightcrew-asking")
        )
        self._thread = threading.Thread(target=self._run, name="nightcrew-network", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; its result comes in the future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end from another thread."""
        return self.submit(work).result()

    def close(self) -> None:
        """End the loop; may be called twice."""
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
