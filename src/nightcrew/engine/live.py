"""The attempts that run in this process right now, and how to end them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Interrupted(BaseException):
    """This host is being stopped: the attempt was recorded as lost, and its workflow must stay as it is.

    Not an ``Exception`` on purpose: the durable engine must not take it for the workflow's own end and record it,
    because the next host has to find the workflow pending, exactly as after ``kill -9``.
    """


class Live:
    """Who runs here. Once interrupted, nobody enters any more."""

    def __init__(self) -> None:
        self._stops: dict[str, threading.Event] = {}
        self._doomed: dict[str, str] = {}
        self._changed = threading.Condition()
        self._interrupted = False

    @property
    def interrupted(self) -> bool:
        """True from the moment this host was told to stop."""
        return self._interrupted

    @contextmanager
    def running(self, task: str) -> Iterator[threading.Event]:
        """Register the attempt of a task; the event given is set when it must end.

        Raises:
            Interrupted: this host is being stopped.
        """
        stop = threading.Event()
        with self._changed:
            if self._interrupted:
                raise Interrupted
            self._stops[task] = stop
            if task in self._doomed:
                stop.set()
        try:
            yield stop
        finally:
            with self._changed:
                del self._stops[task]
                self._changed.notify_all()

    def tasks(self) -> set[str]:
        """Return the tasks whose attempt runs here."""
        with self._changed:
            return set(self._stops)

    def stop(self, reasons: Mapping[str, str]) -> None:
        """Tell the attempts of these tasks to end, each for its reason; one that is about to enter is told when it does."""
        with self._changed:
            self._doomed.update(reasons)
            for task in reasons:
                if task in self._stops:
                    self._stops[task].set()

    def reason(self, task: str) -> str:
        """Return why a task was told to end."""
        with self._changed:
            return self._doomed.get(task, "cancelled")

    def pardon(self, task: str) -> None:
        """Forget that a task was told to end; called when it has, so that it may be run again."""
        with self._changed:
            self._doomed.pop(task, None)

    def interrupt(self, wait_s: float) -> bool:
        """Tell all to end, let nobody in, and wait until they are gone; False when some are still here."""
        with self._changed:
            self._interrupted = True
            for stop in self._stops.values():
                stop.set()
            return self._changed.wait_for(lambda: not self._stops, timeout=wait_s)
