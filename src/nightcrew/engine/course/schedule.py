"""Which task may start now, which can never start, and whether a run has come to rest. Pure: no clock, no disk.

A task is *settled* when its state is final; it is *satisfied* when its dependents may build on it (succeeded, or
skipped because it was done already). A task whose dependency settled without being satisfied is blocked, and so are
its dependents in turn; everything else goes on. A waiting task holds no slot. An agent may have slots of its own within
those of the run: what waits for one of them keeps nobody else from starting.

``Frontier`` keeps counts instead of looking at every task at every step: noting one change costs the number of its
dependents, so that a run of 10,000 tasks costs as much as its edges, not its square.
"""

from __future__ import annotations

import heapq
from collections import Counter
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

    def __init__(
        self,
        plan: Plan,
        states: Mapping[str, str],
        max_parallel: int,
        slots: Mapping[str, int] | None = None,
    ) -> None:
        self._max_parallel = max_parallel
        self._slots = dict(slots or {})
        # Agents without slots of their own share one heap, named by the empty text.
        self._lane = {task.id: task.agent if task.agent in self._slots else "" for task in plan.tasks}
        self._busy: Counter[str] = Counter()
        self._position = {task.id: number for number, task in enumerate(plan.tasks)}
        self._depends = {task.id: task.depends for task in plan.tasks}
        self._dependents: dict[str, list[str]] = {task.id: [] for task in plan.tasks}
        self._state = {task.id: "pending" for task in plan.tasks}
        self._missing = {task.id: len(set(task.depends)) for task in plan.tasks}
        self._startable: dict[str, list[tuple[int, str]]] = {lane: [] for lane in ("", *self._slots)}
        self._queued: set[str] = set()
        self._held: set[str] = set()
        self._barred: set[str] = set()
        self._ready_held: set[str] = set()
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
        self._count(name, old, -1)
        self._count(name, state, +1)
        satisfied = (state in SATISFIED) - (old in SATISFIED)
        for dependent in self._dependents[name]:
            self._missing[dependent] -= satisfied
            self._offer(dependent)
        if _is_lost(state):
            self._doom(name)
        elif _is_lost(old):
            self._absolve(name)
        self._to_block.pop(name, None)
        if state == "pending":
            self._look_back(name)
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

    def reassign(self, name: str, agent: str) -> None:
        """Take in that a task is now done by another agent; one that runs keeps the slot it has."""
        lane = agent if agent in self._slots else ""
        if lane == self._lane[name] or self._state[name] in HOLDS_SLOT:
            return
        # What is left of it in the heap of the old lane is dropped when it comes up there.
        self._lane[name] = lane
        self._queued.discard(name)
        self._offer(name)

    def _pick(self, free: int) -> tuple[str, ...]:
        """Return the first ``free`` startable names without forgetting them; they leave when they change state."""
        picked: list[tuple[int, str]] = []
        room = {lane: self._slots.get(lane, free) - self._busy[lane] for lane in self._startable}
        room[""] = free
        while len(picked) < free:
            tops = [(top, lane) for lane in self._startable if room[lane] > 0 and (top := self._top(lane))]
            if not tops:
                break
            entry, lane = min(tops)
            while self._startable[lane][:1] == [entry]:
                # More than once there after it was given to another agent and back.
                heapq.heappop(self._startable[lane])
            room[lane] -= 1
            picked.append(entry)
        for entry in picked:
            heapq.heappush(self._startable[self._lane[entry[1]]], entry)
        return tuple(name for _, name in picked)

    def _top(self, lane: str) -> tuple[int, str] | None:
        """Return the first of a lane that may start; what may not (any more) is forgotten on the way."""
        heap = self._startable[lane]
        while heap:
            name = heap[0][1]
            if self._lane[name] == lane and self._may_start(name):
                return heap[0]
            heapq.heappop(heap)
            if self._lane[name] == lane:
                self._queued.discard(name)
        return None

    def hold(self, names: Iterable[str]) -> None:
        """Keep tasks from starting that could; what runs goes on."""
        for name in names:
            self._held.add(name)
            self._offer(name)

    def release(self, names: Iterable[str]) -> None:
        """Let tasks start again that were held."""
        for name in list(names):
            self._held.discard(name)
            self._ready_held.discard(name)
            self._offer(name)

    def take_ready_held(self) -> set[str]:
        """Return the tasks that have become able to start since the last time, and are held."""
        taken, self._ready_held = self._ready_held, set()
        return taken

    def bar(self, names: Iterable[str]) -> None:
        """Keep tasks from starting whose agent is left alone for a while."""
        self._barred.update(names)

    def unbar(self, names: Iterable[str]) -> None:
        """Let them start again, as far as they are concerned."""
        for name in list(names):
            self._barred.discard(name)
            self._offer(name)

    def _may_start(self, name: str) -> bool:
        return self._is_ready(name) and name not in self._held and name not in self._barred

    def _is_ready(self, name: str) -> bool:
        return self._state[name] == "pending" and self._missing[name] == 0

    def _offer(self, name: str) -> None:
        if name in self._held and self._is_ready(name):
            self._ready_held.add(name)
        if self._may_start(name) and name not in self._queued:
            self._queued.add(name)
            heapq.heappush(self._startable[self._lane[name]], (self._position[name], name))

    def _doom(self, name: str) -> None:
        for dependent in self._dependents[name]:
            if self._state[dependent] == "pending":
                self._to_block.setdefault(dependent, name)

    def _absolve(self, name: str) -> None:
        """It may still be satisfied: whom it alone kept from starting, waits for it again."""
        for dependent in self._dependents[name]:
            if self._to_block.get(dependent) == name:
                del self._to_block[dependent]
                self._look_back(dependent)

    def _look_back(self, name: str) -> None:
        """What it needs may have been lost while it was paused or waited for somebody."""
        lost = next((need for need in self._depends[name] if _is_lost(self._state[need])), None)
        if lost is not None:
            self._to_block[name] = lost

    def _count(self, name: str, state: str, by: int) -> None:
        if state in HOLDS_SLOT:
            self._running += by
            self._busy[self._lane[name]] += by
        elif state in TASK_WAITING:
            self._waiting += by
        elif state in TASK_FINAL:
            self._settled += by


def _is_lost(state: str) -> bool:
    """Tell whether nobody can build on a task any more."""
    return state in TASK_FINAL and state not in SATISFIED


def ready(
    states: Mapping[str, str], plan: Plan, max_parallel: int, slots: Mapping[str, int] | None = None
) -> Moves:
    """Return the moves for these states at once; ``Frontier`` gives the same answers step by step."""
    return Frontier(plan, states, max_parallel, slots).moves()


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
