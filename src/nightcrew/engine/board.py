"""One run as its host sees it: kept in memory, brought up to date by what changed, never read anew as a whole.

The board draws moves; it starts nothing. All it knows is in the tables, so a host that dies loses nothing with it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from nightcrew.engine.course import pausing, settle
from nightcrew.engine.course.holding import Bars
from nightcrew.engine.course.replans import Replans
from nightcrew.engine.course.rerouting import goes_on_by_itself
from nightcrew.engine.course.schedule import Frontier, Moves
from nightcrew.engine.course.shifts import Shifts, keep_hours, waits_for_hours
from nightcrew.engine.course.watchman import Watchman
from nightcrew.engine.work.live import Live
from nightcrew.host import crash
from nightcrew.host.clock import Clock, parse_stamp, stamp
from nightcrew.model.ids import join_task
from nightcrew.model.lifecycle import RUN_FINAL, TASK_FINAL, TASK_WAITING
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: Longest that a run sleeps without looking; only a safety net, because every change rings its bell.
SAFETY_S: Final = 30.0

#: Rows written in one transaction: a few tenths of a second at most.
BATCH: Final = 200

T = TypeVar("T")
Rest = Literal["going", "waiting", "final"]


@dataclass(frozen=True, slots=True)
class Launch:
    """A task to start: its full id, its generation, and the number of its next attempt."""

    task: str
    generation: int
    number: int


@dataclass(frozen=True, slots=True)
class Step:
    """What a run does next: start these, or end, or wait for at most so many seconds."""

    start: tuple[Launch, ...] = ()
    done: bool = False
    wait_s: float = SAFETY_S


class Bell:
    """Rung from any thread, waited for in the loop it belongs to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the one who waits, or the next one who will."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout_s: float) -> None:
        """Return when rung since the last return, or after ``timeout_s``."""
        # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the ring, and the host
        # that is being stopped waits ten seconds for somebody who went back to sleep.
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            # Nothing rang: the caller looks all the same.
            return
        self._event.clear()


@dataclass(slots=True)
class _Known:
    """What is remembered of the tasks beside their states."""

    next_number: dict[str, int] = field(default_factory=dict)
    generation: dict[str, int] = field(default_factory=dict)
    launched: dict[str, tuple[int, int]] = field(default_factory=dict)
    expires_at: dict[str, str] = field(default_factory=dict)
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    goes_on: set[str] = field(default_factory=set)
    skipped_only: bool = True


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a long list into pieces that one short transaction can hold; nobody else writes meanwhile."""
    for first in range(0, len(items), BATCH):
        yield items[first : first + BATCH]


class Board:
    """The moves of one run. ``advance`` is called by one thread at a time, everything else by any."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        live: Live,
        bell: Bell,
        run_id: str,
        replans: Replans | None = None,
    ) -> None:
        self.run_id = run_id
        self.bell = bell
        self._journal = journal
        self._clock = clock
        self._live = live
        self._dirty: set[str] = set()
        self._lock = threading.Lock()
        self._advancing = threading.Lock()
        self._rest: Rest = "going"
        self._frontier: Frontier | None = None
        self._loaded = (0, 0)
        self._known = _Known()
        self._bars = Bars(journal, clock, run_id)
        self._watchman = Watchman(journal, clock, run_id)
        self._occasions = (replans or Replans(journal, None)).watch(run_id, self.touch)
        self._planning = False
        self._shifts: Shifts | None = None
        self._closed: frozenset[str] = frozenset()
        self._cancel_run = ""
        self._cancel_tasks: dict[str, str] = {}
        self._pause_tasks: dict[str, str] = {}

    @property
    def rest(self) -> Rest:
        """Whether anything can go on without a human; ``going`` while changes have not been looked at."""
        with self._lock:
            return "going" if self._dirty and self._rest != "final" else self._rest

    def touch(self, task: str = "") -> None:
        """Note that a task (or the run itself) has changed in the tables, and look soon."""
        with self._lock:
            self._dirty.add(task)
        self.bell.ring()

    def ask_cancel(self, task: str, reason: str) -> None:
        """Cancel a task, or with an empty name the whole run, as soon as its agents are dead."""
        with self._lock:
            if task:
                self._cancel_tasks[task] = reason
            else:
                self._cancel_run = reason
        self.touch(task)

    def ask_pause(self, task: str, reason: str) -> None:
        """Pause a task that runs as soon as what it has done is kept; a whole run is paused by its own state."""
        with self._lock:
            self._pause_tasks[task] = reason
        self.touch(task)

    def advance(self) -> Step:
        """Bring the tables to where they follow from each other, and return what to start."""
        with self._advancing:
            changed = self._read_changes()
            run = self._read_run()
            if run.state in RUN_FINAL:
                return self._end()
            if self._frontier is None or (run.generation, run.plan_version) != self._loaded:
                self._load(run)
                changed = None
            if run.state == "approved":
                run = self._begin(run)
            self._apply(run, changed)
            # Stopped just now by its own watchman: nothing more of it starts.
            return self._choose(self._read_run() if self._watchman.has_stopped else run)

    def _read_changes(self) -> set[str] | None:
        with self._lock:
            changed, self._dirty = self._dirty, set()
        return changed

    def _read_run(self) -> RunRecord:
        with self._journal.read() as tx:
            return tx.need(RunRecord, self.run_id)

    def _load(self, run: RunRecord) -> None:
        """Read the whole run, once per generation and version of its plan."""
        with self._journal.read() as tx:
            plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
            tasks = tx.find(TaskRecord, run=run.id)
            kinds = (settle.CANCEL_RUN, settle.CANCEL_TASK, pausing.PAUSE_TASK)
            requests = tx.events(run=run.id, kinds=kinds)
            begun = tx.events(run=run.id, kinds=("task.reset",))
            paused = tx.events(run=run.id, kinds=("task.paused", "task.resumed"))
            resumed = tx.events(run=run.id, kinds=("run.resumed",), newest=True, limit=1)
        self._watchman.load(run, tasks, resumed[0].at if resumed else "")
        self._bars = Bars(self._journal, self._clock, run.id)
        self._known = _Known()
        self._shifts, self._closed = Shifts(run), frozenset[str]()
        self._loaded = (run.generation, run.plan_version)
        self._frontier = Frontier(plan, {}, run.max_parallel, run.settings.get("agents"))
        self._occasions.forget()
        for task in tasks:
            self._note(task)
        reset_at = {event.task: event.seq for event in begun}
        paused_at = {event.task: event.seq for event in paused}
        for request in requests:
            if request.seq < reset_at.get(request.task, 0):
                continue
            reason = str(request.data.get("reason", "cancelled"))
            if request.kind != pausing.PAUSE_TASK:
                self.ask_cancel(request.task, reason)
            elif request.seq > paused_at.get(request.task, 0):
                self.ask_pause(request.task, reason)

    def _begin(self, run: RunRecord) -> RunRecord:
        now = stamp(self._clock.now())
        with self._journal.write() as tx:
            run = tx.change(tx.need(RunRecord, run.id), "run.started", state="running", started_at=now)
        crash.point("engine.run.started")
        return run

    def _note(self, task: TaskRecord) -> None:
        if self._frontier is None:
            return
        self._frontier.note(task.name, task.state)
        self._frontier.reassign(task.name, task.agent)
        self._watchman.note(task)
        self._occasions.note(task)
        self._known.goes_on.discard(task.name)
        if goes_on_by_itself(task):
            self._known.goes_on.add(task.name)
        self._known.generation[task.name] = task.generation
        self._known.skipped_only = self._known.skipped_only and task.state == "skipped"
        self._known.next_number[task.name] = task.attempts + 1
        self._known.after.pop(task.name, None)
        self._known.roles[task.name] = task.role
        self._known.outside.discard(task.name)
        if waits_for_hours(task):
            self._known.outside.add(task.name)
        if task.state == "paused" and task.after:
            self._known.after[task.name] = task.after
        if task.state in TASK_FINAL:
            self._live.pardon(task.id)
        elif task.state == "paused":
            self._live.pardon(task.id, stop=False)

    # -- drawing consequences -----------------------------------------------------------------------------------

    def _apply(self, run: RunRecord, changed: set[str] | None) -> None:
        """Read what changed, then settle, cancel, block and end until nothing follows any more."""
        names = {name for name in changed or () if name} | self._expired()
        with self._journal.read() as tx:
            wanted = {"run": run.id} if changed is None else {"id": tuple(sorted(names))}
            records = tx.find(TaskRecord, **wanted) if names or changed is None else []
        for record in records:
            self._note(record)
        self._settle([record.id for record in records if record.state in TASK_WAITING])
        self._cancel()
        self._pause(run)
        self._release(run)
        self._keep_hours(run)
        while self._next_block() is not None:
            with self._journal.write() as tx:
                self._block(tx)
        self._planning = self._occasions.look(run, goes_on=not self._cancel_run)
        if self._moves().final and not self._planning:
            self._finish()
        else:
            self._watchman.look(run)

    def _settle(self, waiting: Sequence[str]) -> None:
        """Move on what a human has answered, or what nobody answered in time."""
        now = stamp(self._clock.now())
        for batch in _batches(waiting):
            with self._journal.write() as tx:
                for name in batch:
                    self._known.expires_at.pop(name, None)
                    expires_at = settle.settle_task(tx, tx.need(TaskRecord, name), now)
                    if expires_at:
                        self._known.expires_at[name] = expires_at
                    self._note(tx.need(TaskRecord, name))
            crash.point("engine.approval.settled")

    def _block(self, tx: Writer) -> None:
        """Block what can never start, and what then can never start, up to one batch."""
        now = stamp(self._clock.now())
        for _ in range(BATCH):
            block = self._next_block()
            if block is None:
                return
            name, cause = block
            task = tx.need(TaskRecord, join_task(self.run_id, name))
            if task.state == "pending":
                reason = f"{cause}, which it depends on, is {self._state(cause)}"
                data = {"by": cause}
                task = tx.change(
                    task, "task.blocked", data=data, state="blocked", reason=reason, ended_at=now
                )
            self._note(task)

    def _cancel(self) -> None:
        """Tell living attempts to end; what does not live is cancelled here and now."""
        with self._lock:
            wanted, run_reason = dict(self._cancel_tasks), self._cancel_run
        if not wanted and not run_reason:
            return
        with self._journal.read() as tx:
            tasks = tx.find(TaskRecord, run=self.run_id)
            alive = {attempt.task for attempt in settle.find_alive(tx, run=self.run_id)}
        targets = {
            task.id: run_reason or wanted[task.id]
            for task in tasks
            if task.state not in TASK_FINAL and (run_reason or task.id in wanted)
        }
        self._live.stop({name: reason for name, reason in targets.items() if name in alive})
        now = stamp(self._clock.now())
        for batch in _batches([name for name in targets if name not in alive]):
            with self._journal.write() as tx:
                for name in batch:
                    settle.cancel_task(tx, tx.need(TaskRecord, name), targets[name], now)
                    self._note(tx.need(TaskRecord, name))
        with self._lock:
            self._cancel_tasks = {
                name: reason for name, reason in self._cancel_tasks.items() if name in alive
            }

    def _pause(self, run: RunRecord) -> None:
        """Tell living attempts to pause; a task between two attempts is paused here and now."""
        with self._lock:
            wanted, self._pause_tasks = self._pause_tasks, {}
        if not wanted and run.state != "paused":
            return
        with self._journal.write() as tx:
            # In one transaction: an attempt that begins after it finds its task paused, one from before is in the list.
            running = tx.find(TaskRecord, run=self.run_id, state="running")
            alive = {attempt.task for attempt in settle.find_alive(tx, run=self.run_id)}
            reasons = {
                task.id: wanted.get(task.id) or run.reason
                for task in running
                if run.state == "paused" or task.id in wanted
            }
            for name in sorted(reasons.keys() - alive):
                pausing.hold(tx, tx.need(TaskRecord, name), reason=reasons[name])
                self._note(tx.need(TaskRecord, name))
        self._live.pause({name: reason for name, reason in reasons.items() if name in alive})

    def _keep_hours(self, run: RunRecord) -> None:
        """Hold the tasks of roles that do not work now, pause those that run, and let those go on whose hours began."""
        if self._shifts is None or self._frontier is None or run.state != "running":
            return
        now = self._clock.now()
        closed = self._shifts.find_closed(now)
        if closed != self._closed:
            roles = self._known.roles
            self._frontier.release(name for name in roles if roles[name] in self._closed - closed)
            self._frontier.hold(name for name in roles if roles[name] in closed - self._closed)
            self._closed = closed
        began = {name for name in self._known.outside if self._known.roles[name] not in closed}
        waiting = (self._frontier.take_ready_held() | self._known.outside) - began
        if not began and not waiting and not closed:
            return
        changed, pause = keep_hours(self._journal, self.run_id, self._shifts, began, waiting, now)
        for task in changed:
            self._note(task)
        self._live.pause(pause)

    def _release(self, run: RunRecord) -> None:
        """Let those go on that were paused until others are done, or until another agent takes over."""
        if self._known.goes_on and run.state == "running":
            with self._journal.write() as tx:
                for name in sorted(self._known.goes_on):
                    pausing.release(tx, join_task(self.run_id, name), actor="engine")
                    self._note(tx.need(TaskRecord, join_task(self.run_id, name)))
        ready = [
            name
            for name, after in self._known.after.items()
            if all(self._state(each) in TASK_FINAL for each in after)
        ]
        if not ready:
            return
        with self._journal.write() as tx:
            for name in ready:
                pausing.release_waiting(tx, tx.need(TaskRecord, join_task(self.run_id, name)))
                self._note(tx.need(TaskRecord, join_task(self.run_id, name)))

    def _finish(self) -> None:
        now = stamp(self._clock.now())
        with self._journal.write() as tx:
            run = tx.need(RunRecord, self.run_id)
            if run.state != "running" and not self._cancel_run:
                return
            if self._cancel_run:
                reason = self._cancel_run
                settle.withdraw_questions(tx, run, reason)
                data = {"reason": reason}
                tx.change(run, "run.cancelled", data=data, state="cancelled", reason=reason, ended_at=now)
            elif self._known.skipped_only:
                reason = "there was nothing to do: every task was done already"
                tx.change(run, "run.finished", state="completed_empty", reason=reason, ended_at=now)
            else:
                tx.change(run, "run.finished", state="in_review", ended_at=now)

    # -- choosing ------------------------------------------------------------------------------------------------

    def _choose(self, run: RunRecord) -> Step:
        moves = self._moves()
        paused = run.state == "paused" or bool(self._cancel_run)
        if self._frontier is not None and not moves.final and not paused:
            moves = self._bars.choose(self._frontier, self._is_new)
        if moves.final and not self._planning:
            crash.point("engine.run.finished")
            return self._end()
        start = () if paused else tuple(self._launch(name) for name in moves.start if self._is_new(name))
        started = bool(moves.start) and not paused
        with self._lock:
            self._rest = (
                "waiting"
                if (moves.quiet and not self._known.outside and not self._bars.next_at and not self._planning)
                or (paused and not self._live.tasks() and not started)
                else "going"
            )
        return Step(start, wait_s=self._sleep_s())

    def _launch(self, name: str) -> Launch:
        known = self._known
        known.launched[name] = (known.generation[name], known.next_number[name])
        return Launch(join_task(self.run_id, name), *known.launched[name])

    def _is_new(self, name: str) -> bool:
        known = self._known
        return known.launched.get(name) != (known.generation[name], known.next_number[name])

    def _next_block(self) -> tuple[str, str] | None:
        return self._frontier.next_block() if self._frontier is not None else None

    def _state(self, name: str) -> str:
        return self._frontier.state(name) if self._frontier is not None else ""

    def _moves(self) -> Moves:
        return self._frontier.moves() if self._frontier is not None else Moves()

    def _expired(self) -> set[str]:
        now = stamp(self._clock.now())
        return {name for name, at in self._known.expires_at.items() if at <= now}

    def _sleep_s(self) -> float:
        change = self._shifts.next_change(self._clock.now()) if self._shifts else None
        opens = [stamp(change)] if change else []
        opens += [each for each in (self._bars.next_at, self._watchman.next_at) if each]
        next_at = min((*self._known.expires_at.values(), *opens), default="")
        if not next_at:
            return SAFETY_S
        left = (parse_stamp(next_at) - self._clock.now()).total_seconds()
        return min(SAFETY_S, max(0.05, left))

    def _end(self) -> Step:
        with self._lock:
            self._rest = "final"
        return Step(done=True)
