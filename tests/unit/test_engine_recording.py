"""Which of two readings of a working agent's files becomes its checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from nightcrew.agents.adapter import Standing
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.engine.work.recording import Recorder, _Read, _Request
from nightcrew.model.errors import StaleError
from nightcrew.model.trees import Captured


@dataclass
class Still:
    """A tree that was let go before everything was read, when ``over``."""

    over: bool
    whole: bool = True
    held_ms: float = 1.0

    def let_go(self) -> None:
        """It goes on."""


class Agent:
    """A process that is held as long as told for each reading; an error is what the system answers."""

    def __init__(self, *held: bool | OSError) -> None:
        self._held = iter(held)

    @contextlib.contextmanager
    def frozen(self, limit_s: float) -> Iterator[Still]:
        late = next(self._held)
        if isinstance(late, OSError):
            raise late
        yield Still(over=late)

    def standing(self) -> Standing:
        return Standing()


class Readings(Recorder):
    """Reads what it is told to find."""

    def __init__(self, *found: str | Exception) -> None:
        self._found = iter(found)
        self._memory = self.first_memory = CaptureMemory()

    def _capture(self, memory: CaptureMemory | None, when_read: Callable[[], None] | None = None) -> Captured:
        found = next(self._found)
        if isinstance(found, Exception):
            raise found
        if when_read is not None:
            when_read()
        return Captured(tree=found)

    def read_twice(self, agent: Agent) -> _Read:
        """As for a checkpoint."""
        request = _Request("a test")
        first, _ = self._read_held(agent, agent, request, None)  # type: ignore[arg-type]
        again, _ = self._try_again(agent, agent, request, first)  # type: ignore[arg-type]
        return again


def tree(read: _Read) -> str:
    assert read.captured is not None
    return read.captured.tree


def test_the_second_reading_counts_when_there_is_one() -> None:
    recorder = Readings("a" * 40, "b" * 40)
    assert tree(read := recorder.read_twice(Agent(True, False))) == "b" * 40
    assert read.problem == ""
    assert recorder._memory is recorder.first_memory


def test_a_late_reading_is_not_lost_when_files_vanish_under_the_second() -> None:
    recorder = Readings("a" * 40, StaleError("a.txt is gone"))
    assert tree(read := recorder.read_twice(Agent(True, False))) == "a" * 40
    assert "longer than" in read.problem, "it says that it came late"
    assert recorder._memory is not recorder.first_memory, "what the failed one has seen is in no checkpoint"


def test_a_late_reading_is_not_lost_when_the_tree_cannot_be_held_again() -> None:
    recorder = Readings("a" * 40)
    assert tree(recorder.read_twice(Agent(True, OSError(24, "Too many open files")))) == "a" * 40


def test_nothing_at_all_is_told() -> None:
    recorder = Readings(StaleError("gone"), StaleError("gone again"))
    assert recorder.read_twice(Agent(False, False)) == _Read(None, "gone again", Standing())
    with pytest.raises(OSError, match="Too many"):
        Readings(StaleError("gone")).read_twice(Agent(False, OSError(24, "Too many open files")))
