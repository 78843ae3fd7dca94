"""The engine: hosts runs in this process. One per state directory, held by a lock file.

engine = Engine(journal, state_dir=..., launcher=..., clock=..., open_workspace=...)
engine.launch()                    # takes the lock, takes over what a dead host left, goes on with open runs
engine.submit("R-7")
engine.wait("R-7", until="quiet")  # final, or all that is left waits for a human
engine.close()                     # agents ended, unfinished work stays for the next host
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from nightcrew.agents.adapters import find_setting
from nightcrew.engine.board import Bell, Board, Step
from nightcrew.engine.books.budgets import Calendar
from nightcrew.engine.books.reserving import Reservations
from nightcrew.engine.client import LOCK_NAME
from nightcrew.engine.course import attempts, pausing, settle, starts
from nightcrew.engine.course.deadlines import Deadlines
from nightcrew.engine.course.drift import DriftWatch
from nightcrew.engine.course.forecast import Forecasts
from nightcrew.engine.course.replans import Ask, Replans
from nightcrew.engine.following import Follower, Strays
from nightcrew.engine.logbook import Logbook
from nightcrew.engine.opened import OPEN, Opened
from nightcrew.engine.work.attempt import run_attempt
from nightcrew.engine.work.gateway import Models
from nightcrew.engine.work.live import Live
from nightcrew.engine.work.network import Networks
from nightcrew.engine.work.tools import Tools
from nightcrew.engine.workspace import Workspace, keep
from nightcrew.host.clock import Clock, stamp
from nightcrew.host.files import ensure_private_directory
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable, NightcrewError, StaleError, UsageError
from nightcrew.model.events import Event
from nightcrew.model.ids import split_task
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import AttemptRecord, RunRecord, TaskRecord
from nightcrew.model.settings import Retries

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.sandbox.launcher import Launcher

LOG: Final = logging.getLogger("nightcrew.engine")
#: Asks a planner as ``Ask`` does, and holds what its answers cost against what else is asked.
AskHeld = Callable[[str, str, threading.Event, Reservations], None]
#: Longest that agents may take to die when the host stops; their sandbox is killed, so this is generous.
STOP_S: Final = 20.0
#: Pause before a run looks again for a database that did not answer.
AGAIN_S: Final = 1.0
#: Longest that workflows with nothing left to do are waited for.
END_S: Final = 1.0
#: How often a waiting caller looks whether it should stop waiting.
LOOK_S: Final = 0.1
TELLING: Final = ("task.", "approval.", "run.")


class Engine:
    """Hosts the runs of one state directory while it is launched.

    Args:
        journal: our tables; DBOS keeps its own in the same database.
        state_dir: where the lock file and the log are.
        launcher: builds sandboxes; started by the caller in its main thread.
        clock: the only clock.
        open_workspace: opens what a run works with, from its record.
        redact: applied to the log.
        read_calendar: what a day and a month may cost.
        replan: asks the planner of a run anew, see ``replans``; None where nobody can be asked.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        state_dir: Path,
        launcher: Launcher,
        clock: Clock,
        open_workspace: Callable[[RunRecord], Workspace],
        redact: Callable[[str], str] = keep,
        read_calendar: Callable[[], Calendar] = Calendar,
        replan: AskHeld | None = None,
    ) -> None:
        self._journal = journal
        self._state_dir = state_dir
        self._clock = clock
        self._redact = redact
        self._live = Live()
        self._forecasts = Forecasts(journal)
        self._models = Models.begin(journal, clock, read_calendar)
        self._networks = Networks(journal)
        self._tools = Tools(
            journal, clock, launcher, self._live, self._forecasts, self._models, self._networks
        )
        self._lock = FileLock(state_dir / LOCK_NAME)
        self._deadlines = Deadlines(journal, clock, state_dir)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._opened = Opened(journal, open_workspace)
        self._follower = Follower(journal, clock, self._hear, self._audit)
        self._state = threading.RLock()
        self._moved = threading.Condition(self._state)
        self._boards: dict[str, Board] = {}
        self._performing: Counter[str] = Counter()
        self._strays = Strays()
        self._drift = DriftWatch(journal, clock, self._opened.find_workspace, self._forecasts.find_paths)
        self._replans = Replans(journal, _hold_against(replan, self._models.spendings.reservations))
        self._queues: dict[str, int] = {}
        self._logbook: Logbook | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Take the lock, take over what a dead host left, and go on with every open run.

        Raises:
            EngineUnavailable: another process hosts the engine (it is named), or the database cannot be used.
        """
        from nightcrew.engine import durable, workflows

        ensure_private_directory(self._state_dir)
        if not self._lock.acquire():
            holder = self._lock.holder() or "another process"
            raise EngineUnavailable(
                f"{holder} hosts the engine already",
                code="engine.locked",
                where=[str(self._lock.path)],
                hint="it goes on with every open run; follow one with: nightcrew resume R-1",
            )
        try:
            self._deadlines.begin()
            seen = self._reap()
            workflows.host(self)
            workflows.bodies()
            self._logbook = Logbook(self._state_dir / "engine.log", self._redact)
            self._loop = durable.start(self._journal.engine, self._logbook.handler)
            self._follower.start(seen)
            for run in self._opened.list_runs():
                self.submit(run)
        except BaseException:
            self.close()
            raise

    def submit(self, run_id: str) -> None:
        """Have an approved run executed; one that is hosted already is only looked at.

        Raises:
            StaleError: the run is not approved, or over.
            NotFound: there is none.
        """
        run = self._opened.read_run(run_id)
        if run.state in RUN_FINAL:
            return
        if run.state not in (*OPEN, "paused"):
            raise StaleError(
                f"{run_id} is {run.state}; only an approved plan is executed",
                hint=f"nightcrew approve {run_id}",
            )
        with self._state:
            known = self._boards.get(run_id)
            if known is not None and known.rest != "final":
                known.touch()
                return
            self._boards.pop(run_id, None)
            self._find_board(run_id)
        self._start_chapter(run)
        self._look_for_drift()

    def wait(
        self, run_id: str, *, until: Literal["final", "quiet"] = "final", stop: threading.Event | None = None
    ) -> RunRecord:
        """Wait until a hosted run is over, or (``quiet``) until all that is left of it waits for a human.

        Args:
            run_id: a submitted run.
            until: what to wait for.
            stop: ends the waiting early.
        """
        board = self._find_board(run_id)
        enough = ("final",) if until == "final" else ("final", "waiting")
        with self._moved:
            while board.rest not in enough and not self._stop.is_set() and not (stop and stop.is_set()):
                self._moved.wait(LOOK_S)
        return self._opened.read_run(run_id)

    def is_idle(self) -> bool:
        """Tell whether nothing can go on without a human: what a background host ends by."""
        with self._state:
            resting = all(board.rest != "going" for board in self._boards.values())
        return resting and not self._live.tasks() and not set(self._opened.list_runs()) - set(self._boards)

    def interrupt(self) -> None:
        """Stop hosting at once: agents are killed, their attempts lost, workflows stay pending for the next host."""
        self.close()

    def close(self) -> None:
        """Stop hosting. What was not at rest is recorded as interrupted and goes on with the next host.

        Safe to call twice, and after a launch that failed half way.
        """
        from nightcrew.engine import durable, workflows

        if not self._lock.held:
            return
        self._come_to_rest()
        going = [run for run, board in self._boards.items() if board.rest == "going"]
        self._stop.set()
        if not self._live.interrupt(STOP_S):
            LOG.error("agents did not end in %s s: %s", STOP_S, ", ".join(sorted(self._live.tasks())))
        self._replans.stop(STOP_S)
        self._follower.stop()
        self._deadlines.beat()
        self._drift.stop(STOP_S)
        self._note_interrupted(going)
        if self._loop is not None:
            durable.stop()
            self._loop = None
        workflows.unhost()
        self._models.services.close()
        self._networks.close()
        self._opened.close()
        if self._logbook is not None:
            self._logbook.close()
            self._logbook = None
        with self._moved:
            self._moved.notify_all()
        self._lock.release()

    # -- called by the workflows ------------------------------------------------------------------------------------

    async def next_move(self, run_id: str) -> dict[str, Any]:
        """Return what a run does next; comes back when there is something to do, or when the run is over."""
        board = await asyncio.to_thread(self._find_board, run_id)
        while True:
            try:
                step, start = await asyncio.to_thread(self._advance, board)
            except EngineUnavailable as error:
                # The database is busy or gone for a while: nothing is lost by looking again.
                LOG.warning("%s waits for the database: %s", run_id, error.message)
                await asyncio.sleep(AGAIN_S)
                continue
            if start or step.done:
                return {"start": start, "done": step.done}
            await board.bell.wait(step.wait_s)

    async def attempt(self, task_id: str, number: int) -> None:
        """Make one attempt, in a thread of its own while it lasts."""
        await asyncio.to_thread(self._attempt, task_id, number)

    async def settle(self, task_id: str, number: int) -> dict[str, Any]:
        """Return whether there is another attempt after this one, and after how many seconds."""
        return await asyncio.to_thread(self._settle, task_id, number)

    @contextmanager
    def performing(self, name: str) -> Iterator[None]:
        """Note that a workflow takes care of this task (or run), as long as it does."""
        with self._state:
            self._performing[name] += 1
        try:
            yield
        finally:
            with self._moved:
                self._performing[name] -= 1
                self._performing += Counter()
                self._moved.notify_all()

    # -- moves ------------------------------------------------------------------------------------------------------

    def _advance(self, board: Board) -> tuple[Step, list[list[Any]]]:
        """Let a board draw its move; a run that cannot be worked on (or a defect of ours) fails here, in one place."""
        try:
            step = board.advance()
            start = [
                [each.task, each.generation, each.number, self._find_queue(each.task)] for each in step.start
            ]
        except EngineUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a run must end with a reason and never just stand still
            self._fail_run(board.run_id, error)
            step, start = Step(wait_s=0.0), []
        if step.done:
            self._opened.let_go(board.run_id)
            self._forecasts.forget(board.run_id)
            self._models.spendings.forget(board.run_id)
        with self._moved:
            self._moved.notify_all()
        return step, start

    def _attempt(self, task_id: str, number: int) -> None:
        run_id = split_task(task_id)[0]
        run = self._opened.read_run(run_id)
        workspace, plan = self._opened.find_workspace(run), self._opened.find_plan(run)
        try:
            run_attempt(self._tools, workspace, run, plan, task_id, number)
        finally:
            self._find_board(run_id).touch(task_id)

    def _settle(self, task_id: str, number: int) -> dict[str, Any]:
        with self._journal.write() as tx:
            attempt = tx.get(AttemptRecord, starts.name_attempt(task_id, number))
            if attempt is not None and not attempts.is_over(attempt):
                failure = attempts.Failure("internal", "its workflow failed; see engine.log")
                now = stamp(self._clock.now())
                attempts.fail(tx, attempt, failure, Retries(), deterministic=True, now=now)
                attempt = tx.get(AttemptRecord, attempt.id)
        self._find_board(split_task(task_id)[0]).touch(task_id)
        if attempt is None or "retry_s" not in attempt.progress:
            return {"again": False, "delay_s": 0.0}
        return {"again": True, "delay_s": attempt.progress["retry_s"]}

    def _find_queue(self, task_id: str) -> str:
        """Return the queue of the task's agent, empty when it has no slots of its own."""
        from nightcrew.engine import durable

        run_id, _ = split_task(task_id)
        run = self._opened.read_run(run_id)
        with self._journal.read() as tx:
            agent = tx.need(TaskRecord, task_id).agent
        slots = find_setting(agent, self._opened.find_workspace(run).settings.agents).slots
        if not slots:
            return ""
        queue = f"agent.{agent}"
        if self._queues.get(queue) != slots:
            if len(self._queues) >= durable.MAX_QUEUES:
                raise UsageError(f"more than {durable.MAX_QUEUES} agents have slots of their own")
            durable.offer_slots(queue, slots)
            self._queues[queue] = slots
        return queue

    def _fail_run(self, run_id: str, error: Exception) -> None:
        LOG.error("%s cannot go on: %s", run_id, error, exc_info=error)
        reason = f"a defect in nightcrew: {type(error).__name__}: {error}"
        if isinstance(error, NightcrewError):
            reason = "; ".join([error.message, *error.where])
        now = stamp(self._clock.now())
        self._live.stop({task: reason for task in self._live.tasks() if task.startswith(f"{run_id}/")})
        with self._journal.write() as tx:
            for task in tx.find(TaskRecord, run=run_id):
                settle.cancel_task(tx, task, f"the run failed: {reason}", now)
            run = tx.need(RunRecord, run_id)
            if run.state not in RUN_FINAL:
                tx.change(
                    run, "run.failed", data={"reason": reason}, state="failed", reason=reason, ended_at=now
                )

    # -- what is open -----------------------------------------------------------------------------------------------

    def _find_board(self, run_id: str) -> Board:
        with self._state:
            if run_id not in self._boards:
                if self._loop is None:
                    raise EngineUnavailable("the engine is not hosted by this process", code="engine.closed")
                bell = Bell(self._loop)
                self._boards[run_id] = Board(
                    self._journal, self._clock, self._live, bell, run_id, self._replans
                )
            return self._boards[run_id]

    # -- taking over --------------------------------------------------------------------------------------------------

    def _reap(self) -> int:
        """Record what ran in a dead host as lost, before anything of it can be taken up again.

        Returns:
            The event up to which the tables are what launching begins with.
        """
        with self._journal.read() as tx:
            seen = tx.last_seq()
            alive = settle.find_alive(tx)
        if not alive:
            return seen
        with self._journal.write() as tx:
            lost = settle.lose_attempts(tx, settle.find_alive(tx), stamp(self._clock.now()))
            for run in sorted({name.partition("/")[0] for name in lost}):
                tx.append(
                    "run.recovered",
                    run=run,
                    data={"lost": [name for name in lost if name.startswith(f"{run}/")]},
                )
        return seen

    def _start_chapter(self, run: RunRecord, *, anew: bool = False) -> None:
        """Start the run's workflow, unless one is pending; then the recovery of DBOS has it (``anew``: it has not)."""
        from nightcrew.engine import durable, workflows

        chapter = 1
        status = durable.find_status(workflows.name_run(run.id, run.generation, chapter))
        while status:
            following = durable.find_status(workflows.name_run(run.id, run.generation, chapter + 1))
            if not anew and not following and status in ("PENDING", "ENQUEUED", "DELAYED"):
                return
            chapter, status = chapter + 1, following
        name = workflows.name_run(run.id, run.generation, chapter)
        if self._loop is None:
            return
        started = durable.start_workflow(name, workflows.bodies().drive, run.id, run.generation, chapter)
        asyncio.run_coroutine_threadsafe(started, self._loop).result(STOP_S)

    def _come_to_rest(self) -> None:
        """Wait a moment for what is only bookkeeping: runs that are over to be recorded as over, last changes to be seen.

        Not while agents live: then this is an interrupt, and every moment counts.
        """

        def is_at_rest() -> bool:
            over = [run for run, board in self._boards.items() if board.rest == "final"]
            going = any(board.rest == "going" for board in self._boards.values())
            return not going and not any(self._performing[run] for run in over)

        with self._moved:
            self._moved.wait_for(lambda: bool(self._live.tasks()) or is_at_rest(), timeout=END_S)

    def _note_interrupted(self, runs: Sequence[str]) -> None:
        for run_id in runs:
            with self._journal.write() as tx:
                if tx.need(RunRecord, run_id).state == "running":
                    tx.append("run.interrupted", run=run_id)

    # -- following ----------------------------------------------------------------------------------------------------

    def _hear(self, events: Sequence[Event]) -> None:
        """Tell the boards of what was written, by this process or another, and take up runs that became open."""
        unknown = {event.run for event in events if event.run and not self._tell(event)}
        for run_id in sorted(unknown):
            if self._opened.read_run(run_id).state in OPEN:
                self.submit(run_id)

    def _tell(self, event: Event) -> bool:
        """Tell the run's board of an event; False when the run is not hosted."""
        with self._state:
            board = self._boards.get(event.run)
        if board is None or board.rest == "final":
            return False
        if event.kind == "task.succeeded":
            self._drift.note_finished(event.run)
        if event.kind == settle.CANCEL_RUN:
            board.ask_cancel("", str(event.data.get("reason", "cancelled")))
        elif event.kind == settle.CANCEL_TASK:
            board.ask_cancel(event.task, str(event.data.get("reason", "cancelled")))
        elif event.kind == pausing.PAUSE_TASK:
            board.ask_pause(event.task, str(event.data.get("reason", "")))
        elif event.kind.startswith(TELLING):
            board.touch(event.task)
        return True

    def _audit(self) -> None:
        """Take care of what is recorded as going on while no workflow takes care of it, several looks in a row."""
        from nightcrew.engine import durable

        self._deadlines.beat()
        durable.look_for_recovered(durable.REST_LOOK_S)
        boards = self._look_for_drift()
        with self._journal.read() as tx:
            running = [task.id for run in boards for task in tx.find(TaskRecord, run=run, state="running")]
        with self._state:
            unattended = [name for name in (*boards, *running) if not self._performing[name]]
        for name in self._strays.look(unattended):
            LOG.error("%s goes on, but nothing takes care of it; it starts again", name)
            if "/" in name:
                self._put_back(name)
            else:
                self._start_chapter(self._opened.read_run(name), anew=True)

    def _look_for_drift(self) -> list[str]:
        """Have the repositories of all open runs looked at, those whose time it is; return these runs."""
        with self._state:
            boards = [run for run, board in self._boards.items() if board.rest != "final"]
        self._drift.look(boards)
        return boards

    def _put_back(self, task_id: str) -> None:
        with self._journal.write() as tx:
            settle.lose_attempts(tx, settle.find_alive(tx, task=task_id), stamp(self._clock.now()))
            task = tx.need(TaskRecord, task_id)
            if task.state == "running":
                tx.change(
                    task,
                    "task.returned",
                    data={"reason": "its workflow was lost"},
                    state="pending",
                    generation=task.generation + 1,
                )
        self._find_board(split_task(task_id)[0]).touch(task_id)


def _hold_against(ask: AskHeld | None, reservations: Reservations) -> Ask | None:
    if ask is None:
        return None
    return lambda run, why, stop: ask(run, why, stop, reservations)
