"""An agent that must wait is ended, also when it cannot be held still first, and when it was quicker than we were."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nightcrew.engine.work.halting import Halt
from nightcrew.engine.work.live import Signals
from nightcrew.engine.work.questions import Questions
from nightcrew.host.clock import SystemClock


class Tree:
    """A process tree that cannot be held still: nothing is left to open a file with."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    @contextmanager
    def frozen(self, limit_s: float) -> Iterator[None]:
        if limit_s:
            raise OSError(errno.EMFILE, "too many open files")
        yield

    def stop(self, reason: str) -> None:
        self.reasons.append(reason)


def make_halt() -> tuple[Halt, Any]:
    halt, tree = Halt(Signals(), SystemClock()), Tree()
    halt.begin(tree, 0.0)  # type: ignore[arg-type]
    return halt, tree


def test_what_must_wait_ends_even_where_it_cannot_be_held_still() -> None:
    halt, tree = make_halt()
    halt.stop("it must wait: net CONNECT example.org:443")
    assert tree.reasons == ["it must wait: net CONNECT example.org:443"]
    assert halt.at_rest(), "and gets no further answer"


def test_an_agent_that_was_quicker_than_we_were_ends_all_the_same() -> None:
    halt, tree = make_halt()
    questions = Questions(None, SystemClock(), None, None, None)  # type: ignore[arg-type]
    questions.attend(None, halt)
    assert tree.reasons == []
    # It asked for something that must wait while its start was still being noted down.
    questions.stopped = True
    questions.attend(None, halt)
    assert len(tree.reasons) == 1
