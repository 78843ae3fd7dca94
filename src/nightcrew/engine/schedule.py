"""Which task may start now, which can never start, and whether a run has come to rest. Pure: no clock, no disk.

A task is *settled* when its state is final; it is *satisfied* when its dependents may build on it (succeeded, or
skipped because it was done already). A task whose dependency settled without being satisfied is blocked, and so are
its dependents in turn; everything else goes on. A waiting task holds no slot.

``Frontier`` keeps counts instead of looking at every task at every step: noting one change costs the number of its
dependents, so that a run of 10,000 tasks costs as much as its edges, not its square.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from nightcrew.model.lifecycle import TASK_FINAL, TASK_WAITING
from nightcrew.model.plans import Plan

SATISFIED: Final = frozenset({"succeeded", "skipped"})
HOLDS_SLOT: Final = frozenset({"running"})


@dataclass(frozen=True, slots=True)
class Moves:
    """What to do next.

    Attributes:
        start: task names to start now, in the order written, at most as many as there are free slots; none while
            something is to be blocked.
        block: ``(task, dependency that failed it)`` pairs; noting them may bring more.
        final: every task is settled.
        quiet: nothing runs and nothing can start; what is left waits for a human (true when final, too).
    """

    start: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()
    final: bool = False
    quiet: bool = False


class Frontier:
    """The moving edge of one run: what is settled behind it, what may start on it."""

    def __init__(self, plan: Plan, states: Mapping[str, str], max_parallel: int) -> None:
        self._max_parallel = max_parallel
        self._position = {task.id: number for number, task in enumerate(plan.tasks)}
        self._depends = {task.id: task.depends for task in plan.tasks}
        self._dependents: dict[str, list[str]] = {task.id: [] for task in plan.tasks}
        self._state = {task.id: "pending" for task in plan.tasks}
        self._missing = {task.id: len(set(task.depends)) for task in plan.tasks}
        self._startable: list[tuple[int, str]] = []
        self._queued: set[str] = set()
        self._to_block: dict[str, str] = {}
        self._running = self._waiting = self._settled = 0
        for task in plan.tasks:
            for need in set(task.depends):
                self._dependents[need].append(task.id)
        for task in plan.tasks:
            self._offer(task.id)
        for name, state in states.items():
            self.note(name, state)

    def state(self, name: str) -> str:
        """Return the state last noted for a task."""
        return self._state[name]

    def note(self, name: str, state: str) -> None:
        """Take in that a task is now in ``state``; the same state twice changes nothing."""
        old = self._state[name]
        if old == state:
            return
        self._state[name] = state
        self._count(old, -1)
        self._count(state, +1)
        satisfied = (state in SATISFIED) - (old in SATISFIED)
        for dependent in self._dependents[name]:
            self._missing[dependent] -= satisfied
            self._offer(dependent)
        if state in TASK_FINAL and state not in SATISFIED:
            self._doom(name)
        self._to_block.pop(name, None)
        self._offer(name)

    def next_block(self) -> tuple[str, str] | None:
        """Return the first of ``moves().block`` without drawing the others."""
        return next(iter(self._to_block.items()), None)

    def moves(self) -> Moves:
        """Return what to do now; asking twice without noting anything gives the same answer."""
        block = tuple(self._to_block.items())
        running = self._running
        start = self._pick(max(0, self._max_parallel - running)) if not block else ()
        settled = self._settled == len(self._state)
        at_rest = not running and not start and not block
        return Moves(start, block, final=settled, quiet=settled or at_rest)

    def _pick(self, free: int) -> tuple[str, ...]:
        """Return the first ``free`` startable names without forgetting them; they leave when they change state."""
        picked: list[tuple[int, str]] = []
        while self._startable and len(picked) < free:
            entry = heapq.heappop(self._startable)
            if self._may_start(entry[1]):
                picked.append(entry)
            else:
                self._queued.discard(entry[1])
        for entry in picked:
            heapq.heappush(self._startable, entry)
        return tuple(name for _, name in picked)

    def _may_start(self, name: str) -> bool:
        return self._state[name] == "pending" and self._missing[name] == 0

    def _offer(self, name: str) -> None:
        if self._may_start(name) and name not in self._queued:
            self._queued.add(name)
            heapq.heappush(self._startable, (self._position[name], name))

    def _doom(self, name: str) -> None:
        for dependent in self._dependents[name]:
            if self._state[dependent] == "pending":
                self._to_block.setdefault(dependent, name)

    def _count(self, state: str, by: int) -> None:
        if state in HOLDS_SLOT:
            self._running += by
        elif state in TASK_WAITING:
            self._waiting += by
        elif state in TASK_FINAL:
            self._settled += by


def ready(states: Mapping[str, str], plan: Plan, max_parallel: int) -> Moves:
    """Return the moves for these states at once; ``Frontier`` gives the same answers step by step."""
    return Frontier(plan, states, max_parallel).moves()


def order_dependencies(plan: Plan, name: str) -> tuple[str, ...]:
    """Return everything ``name`` builds on, directly or not, each after its own dependencies.

    Ties are in the order written, so that composing them gives the same tree every time.
    """
    depends = {task.id: task.depends for task in plan.tasks}
    wanted = _close(depends, depends[name])
    done: dict[str, None] = {}
    for start in (task.id for task in plan.tasks if task.id in wanted):
        _visit(start, depends, done)
    return tuple(done)


def _close(depends: Mapping[str, Iterable[str]], names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(depends[name])
    return seen


def _visit(start: str, depends: Mapping[str, Iterable[str]], done: dict[str, None]) -> None:
    """Add ``start`` after everything below it; a loop of our own, because a chain may be 10,000 long."""
    stack = [(start, iter(depends[start]))]
    while stack:
        name, left = stack[-1]
        below = next((need for need in left if need not in done), None)
        if below is None:
            stack.pop()
            done.setdefault(name)
        else:
            stack.append((below, iter(depends[below])))
