"""The attempts that run in this process right now, and how to end them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


class Interrupted(BaseException):
    """This host is being stopped: the attempt was recorded as lost, and its workflow must stay as it is.

    Not an ``Exception`` on purpose: the durable engine must not take it for the workflow's own end and record it,
    because the next host has to find the workflow pending, exactly as after ``kill -9``.
    """


@dataclass(frozen=True, slots=True)
class Signals:
    """What an attempt is told while it runs: to end (``stop``), or to end with all it has done kept (``pause``)."""

    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)

    @property
    def either(self) -> threading.Event:
        """An event that only answers ``is_set``: whether one of the two is."""
        return _Either(self.stop, self.pause)


class _Either(threading.Event):
    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self._events = events

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)


class Live:
    """Who runs here. Once interrupted, nobody enters any more."""

    def __init__(self) -> None:
        self._stops: dict[str, Signals] = {}
        self._doomed: dict[str, str] = {}
        self._pausing: dict[str, str] = {}
        self._changed = threading.Condition()
        self._interrupted = False

    @property
    def interrupted(self) -> bool:
        """True from the moment this host was told to stop."""
        return self._interrupted

    @contextmanager
    def running(self, task: str, abandon: Callable[[], None]) -> Iterator[Signals]:
        """Register the attempt of a task; the events given are set when it must end, or pause.

        Args:
            abandon: writes down that it ends with this host; whoever stops the host waits for that too.

        Raises:
            Interrupted: this host is being stopped.
        """
        signals = Signals()
        with self._changed:
            late = self._interrupted
            self._stops[task] = signals
            if task in self._doomed:
                signals.stop.set()
            if task in self._pausing:
                signals.pause.set()
        try:
            if late:
                raise Interrupted
            yield signals
        except Interrupted:
            abandon()
            raise
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
                    self._stops[task].stop.set()

    def pause(self, reasons: Mapping[str, str]) -> None:
        """Tell the attempts of these tasks to pause, each for its reason; else as ``stop``."""
        with self._changed:
            self._pausing.update(reasons)
            for task in reasons:
                if task in self._stops:
                    self._stops[task].pause.set()

    def reason(self, task: str) -> str:
        """Return why a task was told to end, or to pause."""
        with self._changed:
            return self._doomed.get(task) or self._pausing.get(task, "cancelled")

    def pardon(self, task: str, *, stop: bool = True) -> None:
        """Forget that a task was told to pause, and (``stop``) to end; called when it has, so that it may run again."""
        with self._changed:
            self._pausing.pop(task, None)
            if stop:
                self._doomed.pop(task, None)

    def interrupt(self, wait_s: float) -> bool:
        """Tell all to end, let nobody in, and wait until they are gone; False when some are still here."""
        with self._changed:
            self._interrupted = True
            for signals in self._stops.values():
                signals.stop.set()
            return self._changed.wait_for(lambda: not self._stops, timeout=wait_s)
