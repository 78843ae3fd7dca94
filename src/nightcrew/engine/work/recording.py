"""The checkpoints of one attempt: taken while its agent works, when it waits, when it is paused, when it has ended.

A thread of its own takes them one after the other. The agent stands still only while its files are read, and never
longer than FREEZE_S: when that was not enough, the rest is read after it goes on, and then everything is looked at
once more while it stands still, which reads only what has changed in between. What then still is of no one moment is
said in the checkpoint (``degraded``) and never passed over.

Checkpoints that take long are spaced out: see ``Pace``. What an agent asks is answered only when the checkpoint of
what it did before is read, so that each action has a checkpoint of its own.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from nightcrew.agents.adapter import AgentSession, Standing
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.engine.work.pace import Pace
from nightcrew.engine.work.place import Place
from nightcrew.engine.work.watching import ChangeWatch
from nightcrew.engine.workspace import Workspace
from nightcrew.host import crash
from nightcrew.host.clock import Clock, stamp
from nightcrew.model.actions import Change, Finding, Verdict
from nightcrew.model.errors import LimitReached, NightcrewError, StaleError
from nightcrew.model.ids import CHECKPOINT
from nightcrew.model.isolation import Process, Stillness
from nightcrew.model.plans import Task
from nightcrew.model.records import CheckpointRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Captured
from nightcrew.policy.inspect import Known, inspect

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

LOG: Final = logging.getLogger("nightcrew.engine")
#: Longest that an agent stands still for a checkpoint.
FREEZE_S: Final = 0.045
#: How often the thread looks whether it is time for one.
TICK_S: Final = 0.1
_SHOWN: Final = 5
_SHOWN_EMPTY: Final = 100


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read from a shadow, before it is recorded."""

    captured: Captured
    standing: Standing
    event: int
    began_s: float
    capture_s: float
    frozen_ms: float = 0.0
    degraded: str = ""


@dataclass(slots=True)
class _Request:
    why: str
    read: threading.Event = field(default_factory=threading.Event)


class _Read(NamedTuple):
    """What one reading brought: nothing when files vanished under it; what is wrong with it; where the agent stood."""

    captured: Captured | None
    problem: str
    standing: Standing


class _Reading:
    """One reading of the shadow: where the agent stood at its beginning, and whether it still did at its end.

    Args:
        still: holds the agent's processes.
        session: of the agent.
        read: set when it is over in time: the agent may be answered.
        released: set when it is over in any case; None when there is another try.
    """

    def __init__(
        self, still: Stillness, session: AgentSession, read: threading.Event, released: threading.Event | None
    ) -> None:
        self.still = still
        self._session = session
        self._read = read
        self._released = released
        self.standing = session.standing()
        self.between = False
        self.late = False

    def end(self) -> None:
        """Nothing more is read: let the agent go on; putting it all on the disk is nothing it need wait for."""
        self.late = self.still.over
        # Had it gone on before the end, what was read would not be what it stood at.
        self.between = self.standing.between and self._session.standing() == self.standing
        self.still.let_go()
        if not self.late and self.still.whole:
            self._read.set()
        if self._released is not None:
            self._released.set()


class Recorder:
    """Takes and records the checkpoints of one attempt.

    Args:
        journal, clock, workspace, run, task: of the attempt.
        attempt: its id.
        place: where it works.
        known: what the policy found at single paths before; shared with who judges the result.

    Attributes:
        told: called with every checkpoint and its change, once recorded.
        judged: called with the change of every checkpoint taken while the agent works, and what policy found in it.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        workspace: Workspace,
        run: RunRecord,
        task: Task,
        attempt: str,
        place: Place,
        known: dict[Known, tuple[Finding, ...]],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._workspace = workspace
        self._run = run
        self._task = task
        self._attempt = attempt
        self._place = place
        # What the shadow held when the attempt began: a checkpoint must differ from it to be worth one.
        self.last_tree = place.begun
        self._settings = workspace.settings.checkpoints
        self._pace = Pace(self._settings)
        self._memory = CaptureMemory()
        self._known = known
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._last_request: _Request | None = None
        self._thread: threading.Thread | None = None
        self._process: Process | None = None
        self._session: AgentSession | None = None
        # From before the agent begins: it may have written something by the time we hear of it.
        self._watch = ChangeWatch(place.shadow.path)
        self._tick: Callable[[], None] = _do_nothing
        self._problem: Exception | None = None
        self.told: Callable[[CheckpointRecord, Change], None] = _tell_nobody
        self.judged: Callable[[Change, Sequence[Finding]], None] = _judge_nothing

    # -- while the agent works --------------------------------------------------------------------------------------

    def begin(self, process: Process, session: AgentSession, tick: Callable[[], None]) -> None:
        """The agent's process exists: from now on watch it. ``tick`` is called ten times a second."""
        self._process, self._session, self._tick = process, session, tick
        self._thread = threading.Thread(
            target=self._work, name=f"nightcrew-checkpoint-{self._attempt}", daemon=True
        )
        self._thread.start()

    def note_action(self, what: str) -> None:
        """An action of the agent is done: a checkpoint follows, unless they are spaced out at the moment."""
        if self._thread is not None and self._pace.allows(self._clock.monotonic()):
            self._last_request = _Request(f"after {what}")
            self._requests.put(self._last_request)

    def settle(self) -> None:
        """Wait until what was done so far is read; the agent, who is waiting for an answer, goes on after that."""
        if self._last_request is not None:
            self._last_request.read.wait(self._settings.slow_s)

    def end(self) -> None:
        """The process is gone: take no further checkpoint on its own account, and finish the one under way.

        Raises:
            Exception: a defect that ended the watch; nobody may believe that there were checkpoints when there were none.
        """
        if self._thread is not None:
            self._requests.put(None)
            self._thread.join()
            self._thread = None
        if self._problem is not None:
            raise self._problem

    def _work(self) -> None:
        try:
            self._serve()
        except Exception as problem:  # noqa: BLE001 - kept and raised again in the attempt's own thread
            self._problem = problem
            if self._process is not None:
                self._process.stop("an error in nightcrew itself")

    def _serve(self) -> None:
        if self._process is not None:
            self._process.prepare_to_freeze()
        while True:
            try:
                request = self._requests.get(timeout=TICK_S)
            except queue.Empty:
                request = self._find_reason()
            else:
                if request is None:
                    return
            if request is not None:
                self._take_one(request)
            self._tick()

    def _find_reason(self) -> _Request | None:
        """Tell whether the working copy has changed long enough, or enough, for a checkpoint."""
        now = self._clock.monotonic()
        if not self._pace.is_time_to_look(now):
            return None
        seen = self._watch.look(now)
        why = self._pace.find_reason(now, seen.young) if seen is not None else ""
        return _Request(why) if why else None

    def _take_one(self, request: _Request) -> None:
        """Take one checkpoint; whatever goes wrong with it is recorded, and the agent's own work goes on."""
        try:
            self._need_room()
            with self._workspace.store.using():
                taken = self._read_frozen(request)
                if taken.captured.tree != self.last_tree:
                    self._record(taken, request.why)
            self._pace.note_taken(self._clock.monotonic(), self._clock.monotonic() - taken.began_s)
        except (NightcrewError, OSError) as problem:
            reason = problem.message if isinstance(problem, NightcrewError) else str(problem)
            LOG.warning("no checkpoint of %s: %s", self._attempt, reason)
            kind = "checkpoint.refused" if isinstance(problem, LimitReached) else "checkpoint.failed"
            # It remembers objects that no checkpoint refers to, and nobody keeps those.
            self._memory = CaptureMemory()
            self._tell(kind, {"why": request.why, "reason": reason})
            self._pace.note_failed(self._clock.monotonic())
        finally:
            request.read.set()
        for kind, data in self._pace.take_news():
            self._tell(kind, data)

    def _need_room(self) -> None:
        """See that checkpoints take no more than they may; never asked for the one that holds the result.

        Raises:
            LimitReached: they do, and there is nothing to give up for it.
        """
        store, limit = self._workspace.store, self._settings.disk_bytes
        if limit and store.usage().bytes >= limit and not self._workspace.make_room():
            raise LimitReached(
                f"the checkpoints of this repository take the {limit} bytes they may (checkpoints.disk)",
                code="checkpoints.disk",
                hint="nightcrew gc, or raise checkpoints.disk in config.yaml",
            )

    # -- reading ----------------------------------------------------------------------------------------------------

    def _read_frozen(self, request: _Request) -> Taken:
        """Read the shadow while the agent stands still; twice when once takes too long."""
        if self._process is None or self._session is None:
            raise StaleError("the agent has not begun")
        began = self._clock.monotonic()
        self._watch.note_checkpoint()
        with self._journal.read() as tx:
            event = tx.last_seq()
        best, frozen_ms = self._read_held(self._process, self._session, request, None)
        if best.captured is None or best.problem:
            again = self._try_again(self._process, self._session, request, best)
            best, frozen_ms = again[0], max(frozen_ms, again[1])
        if best.captured is None:
            raise StaleError(f"its files changed while they were read: {best.problem}")
        took_s = self._clock.monotonic() - began
        return Taken(best.captured, best.standing, event, began, took_s, round(frozen_ms, 3), best.problem)

    def _try_again(
        self, process: Process, session: AgentSession, request: _Request, first: _Read
    ) -> tuple[_Read, float]:
        """Read once more; when that brings nothing, what came late the first time is still all of it.

        Raises:
            OSError: the tree could not be held still, and there is nothing from the first time either.
        """
        try:
            second, frozen_ms = self._read_held(process, session, request, request.read)
        except OSError:
            if first.captured is None:
                raise
            second, frozen_ms = _Read(None, "", Standing()), 0.0
        if second.captured is not None or first.captured is None:
            return second, frozen_ms
        # It remembers what only the reading that failed has seen, and nobody keeps that.
        self._memory = CaptureMemory()
        return first, frozen_ms

    def _read_held(
        self,
        process: Process,
        session: AgentSession,
        request: _Request,
        released: threading.Event | None,
    ) -> tuple[_Read, float]:
        """Read once while the agent stands still; returns what was read and for how many milliseconds it stood."""
        with process.frozen(FREEZE_S) as still:
            reading = _Reading(still, session, request.read, released)
            captured, problem = self._read_once(reading)
        return _Read(captured, problem, Standing(reading.between, reading.standing.progress)), still.held_ms

    def _read_once(self, reading: _Reading) -> tuple[Captured | None, str]:
        """Return what was read, and what is wrong with it in words."""
        try:
            captured = self._capture(self._memory, reading.end)
        except (StaleError, FileNotFoundError, NotADirectoryError) as vanished:
            return None, str(vanished)
        if reading.late:
            names = ", ".join(captured.changing[:_SHOWN])
            said = f"reading took longer than the {FREEZE_S * 1000:.0f} ms the agent may stand still"
            return captured, said + (f"; changed meanwhile: {names}" if names else "")
        return captured, "" if reading.still.whole else "not every process came to a stand in time"

    def _capture(
        self,
        memory: CaptureMemory | None,
        when_read: Callable[[], None] | None = None,
        empty: list[str] | None = None,
    ) -> Captured:
        workspace, place = self._workspace, self._place
        return workspace.store.capture(
            place.lower,
            workspace.shadows.scan(place.shadow, empty),
            memory=memory,
            max_file_bytes=self._settings.max_file_bytes,
            when_read=when_read,
        )

    # -- recording --------------------------------------------------------------------------------------------------

    def take_last(self, why: str, standing: Standing) -> CheckpointRecord:
        """Record what the shadow holds now that nothing runs in it; always, changed or not.

        Every file is read again, whatever earlier checkpoints know: this one is what gets judged.
        """
        began = self._clock.monotonic()
        with self._journal.read() as tx:
            event = tx.last_seq()
        with self._workspace.store.using():
            empty: list[str] = []
            captured = self._capture(None, empty=empty)
            taken = Taken(captured, standing, event, began, self._clock.monotonic() - began)
            return self._record(taken, why, tuple(sorted(empty)[:_SHOWN_EMPTY]))

    def _record(self, taken: Taken, why: str, empty: tuple[str, ...] = ()) -> CheckpointRecord:
        store, place = self._workspace.store, self._place
        captured = taken.captured
        change = store.compare(place.base_tree, captured.tree, refused=captured.refused)
        asked = self._clock.monotonic()
        findings = inspect(self._workspace.policy, change, scope=self._task.scope, known=self._known)
        inspect_s = self._clock.monotonic() - asked
        with self._journal.write() as tx:
            name = tx.next_id(CHECKPOINT)
            task = tx.need(TaskRecord, f"{self._run.id}/{self._task.id}")
            before = tx.get(CheckpointRecord, task.checkpoint) if task.checkpoint else None
        parent = before.commit if before else self._run.base_commit
        now = stamp(self._clock.now())
        # The store is no table: nobody else takes out what the agent's own words hold.
        message = self._workspace.redact(f"{name}: {self._attempt}: {why}\n")
        commit = store.commit(captured.tree, parents=[parent], message=message, at=now, ref=name)
        left_out = self._pace.describe_skipped()
        checkpoint = CheckpointRecord(
            id=name,
            run=self._run.id,
            task=task.id,
            attempt=self._attempt,
            parent=task.checkpoint,
            base_tree=place.base_tree,
            tree=captured.tree,
            commit=commit,
            why=why,
            created_at=now,
            paths=len(change.paths),
            ignored=sum(path.ignored for path in change.paths),
            refused=change.refused,
            empty=empty,
            progress=taken.standing.progress,
            built_on=task.built_on,
            event=taken.event,
            between=taken.standing.between,
            frozen_ms=taken.frozen_ms,
            capture_ms=_ms(taken.capture_s),
            inspect_ms=_ms(inspect_s),
            took_ms=_ms(self._clock.monotonic() - taken.began_s),
            degraded="; ".join(part for part in (taken.degraded, left_out) if part),
        )
        crash.point("engine.checkpoint.written")
        self._store(checkpoint, findings)
        self.last_tree = captured.tree
        if self._thread is not None:
            self.judged(change, findings)
        self._announce(checkpoint, change)
        return checkpoint

    def _announce(self, checkpoint: CheckpointRecord, change: Change) -> None:
        try:
            self.told(checkpoint, change)
        except (NightcrewError, OSError) as problem:
            # A forecast that cannot be made (a pruned tree of another task, a busy store) takes nothing from what is kept.
            LOG.warning("nobody could be told of %s: %s", checkpoint.id, problem)

    def _store(self, checkpoint: CheckpointRecord, findings: tuple[Finding, ...]) -> None:
        data: dict[str, Any] = {"why": checkpoint.why, "tree": checkpoint.tree, "paths": checkpoint.paths}
        for verdict in (Verdict.DENY, Verdict.ASK):
            count = sum(finding.verdict is verdict for finding in findings)
            if count:
                data[str(verdict)] = count
        if checkpoint.degraded:
            data["degraded"] = checkpoint.degraded
        with self._journal.write() as tx:
            tx.add(checkpoint, "checkpoint.taken", data=data)
            tx.change(tx.need(TaskRecord, checkpoint.task), "", checkpoint=checkpoint.id)

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        task = f"{self._run.id}/{self._task.id}"
        try:
            with self._journal.write() as tx:
                tx.append(kind, run=self._run.id, task=task, attempt=self._attempt, data=data)
        except NightcrewError as problem:
            # The database is gone for a moment: a notice that is lost must not end the watch over the agent.
            LOG.warning("%s of %s is not in the journal: %s", kind, self._attempt, problem.message)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _tell_nobody(checkpoint: CheckpointRecord, change: Change) -> None:
    """Nobody wants to know."""


def _judge_nothing(change: Change, findings: Sequence[Finding]) -> None:
    """Nobody wants to know."""


def _do_nothing() -> None:
    """Nobody wants to know."""
