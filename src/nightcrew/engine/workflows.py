"""The control flow that survives ``kill -9``: three small bodies that only say what comes after what.

``drive`` interprets a run's plan, ``perform`` one stretch of a task (until it is over or waits for a human), ``attempt``
one attempt. Everything they know is ids; everything that is true stands in our tables, and every step can be asked
again: it looks there first. A waiting task is a row, not a workflow: after the answer, ``drive`` starts a new stretch.

``drive`` begins a new chapter after so many moves, so that taking over a run of 10,000 tasks replays one chapter and not
the night.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final, Protocol

from nightcrew.engine import durable

LOG: Final = logging.getLogger("nightcrew.engine")
MOVES_PER_CHAPTER: Final = 200
#: How often the end of a queued attempt is looked for; one that was started directly tells by itself.
RESULT_LOOK_S: Final = 0.25


class Host(Protocol):
    """What the bodies ask of the engine they work for; each is safe to be asked again."""

    async def next_move(self, run_id: str) -> dict[str, Any]:
        """Return ``start``: lists of task, generation, number, queue; and ``done``."""

    async def attempt(self, task_id: str, number: int) -> None:
        """Make one attempt."""

    async def settle(self, task_id: str, number: int) -> dict[str, Any]:
        """Return ``again`` and ``delay_s``."""

    def performing(self, name: str) -> AbstractContextManager[None]:
        """Note that a task or run is taken care of."""


_hosted: list[Host] = []


def host(engine: Host) -> None:
    """Let the bodies work for this engine; DBOS is one per process, and so is the engine it works for."""
    _hosted[:] = [engine]


def unhost() -> None:
    """Let the bodies work for nobody."""
    _hosted.clear()


@cache
def bodies() -> durable.Bodies:
    """Register the bodies, once per process."""
    return durable.register(drive, perform, attempt)


def name_run(run: str, generation: int, chapter: int) -> str:
    """Return the workflow id of a chapter: ``R-7/g1/c1``."""
    return f"{run}/g{generation}/c{chapter}"


async def drive(run: str, generation: int, chapter: int) -> None:
    """Make the moves of one run until it is over."""
    engine = _hosted[0]
    with engine.performing(run):
        for _ in range(MOVES_PER_CHAPTER):
            move = await durable.run_step("next_move", engine.next_move, run)
            for task, task_generation, number, queue in move["start"]:
                name = f"{task}/g{task_generation}/{number}"
                await durable.start_workflow(name, bodies().perform, task, task_generation, number, queue)
            if move["done"]:
                return
    following = name_run(run, generation, chapter + 1)
    await durable.start_workflow(following, bodies().drive, run, generation, chapter + 1)


async def perform(task: str, generation: int, number: int, queue: str) -> None:
    """Make attempts of one task until it is over or waits for a human."""
    engine = _hosted[0]
    with engine.performing(task):
        while True:
            await _attempt_once(f"{task}/g{generation}/a{number}", task, number, queue)
            after = await durable.run_step("settle", engine.settle, task, number)
            if not after["again"]:
                return
            await durable.sleep(after["delay_s"])
            number += 1


async def attempt(task: str, number: int) -> None:
    """Make one attempt."""
    await durable.run_step("attempt", _hosted[0].attempt, task, number)


async def _attempt_once(name: str, task: str, number: int, queue: str) -> None:
    if queue:
        handle = await durable.enqueue_workflow(queue, name, bodies().attempt, task, number)
    else:
        handle = await durable.start_workflow(name, bodies().attempt, task, number)
    try:
        await handle.get_result(polling_interval_sec=RESULT_LOOK_S)
    except Exception:
        LOG.exception("the workflow of attempt %s failed", name)
