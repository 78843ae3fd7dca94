"""A run that asks its planner anew by itself: after so many finished tasks, or after one that failed for good.

That it asks is written down before anybody is asked, and is taken back in the transaction that records the answer: a host that
dies in between is followed by one that asks the same question again, as the same round. The run goes on meanwhile with what is
approved, and only its end waits for the answer. Who asks, and what becomes of the answer, is not known here: it is a port.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host import crash
from nightcrew.model.errors import NightcrewError
from nightcrew.model.records import RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

LOG: Final = logging.getLogger("nightcrew.engine")
#: Key in ``RunRecord.settings``; absent when a run asks nobody by itself.
KEY: Final = "replan"
#: Key of a version that waits for a person in ``RunRecord.settings``: ``{version, before, digest, more, at}``.
OFFERED: Final = "offered"
#: States of a run that has begun and can still be planned anew.
GOING: Final = ("running", "paused", "in_review")
BEGUN: Final = "plan.replan_begun"
FAILED: Final = "plan.replan_failed"
_FINISHED: Final = ("succeeded", "failed")

#: Asks the planner of a run for what has not begun, for a reason, until it is told to stop; raises when there is no new plan.
Ask = Callable[[str, str, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Replan:
    """When a run asks its planner anew, and how far it is with that.

    Attributes:
        agent: who is asked.
        after_tasks: after so many finished tasks, 0 for never. on_failure: after a task that failed for good.
        rounds: questions in all. asked: of them by now.
        counted: tasks that were finished when it last asked. failures: tasks whose failure it has asked about, ``T01/g1``.
        asking: why, while a question is under way; empty otherwise.
    """

    agent: str = ""
    after_tasks: int = 0
    on_failure: bool = False
    rounds: int = 3
    asked: int = 0
    counted: int = 0
    failures: tuple[str, ...] = ()
    asking: str = ""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Replan:
        """Return what the settings of a run say."""
        plain = settings.get(KEY, {})
        known = {each.name: plain[each.name] for each in fields(cls) if each.name in plain}
        return cls(**{**known, "failures": tuple(known.get("failures", ()))})

    @property
    def wanted(self) -> bool:
        """Whether it asks at all."""
        return bool(self.rounds and (self.after_tasks or self.on_failure))

    def to_plain(self) -> dict[str, Any]:
        """Return it for ``RunRecord.settings``."""
        return {**asdict(self), "failures": list(self.failures)}

    def describe(self) -> str:
        """Return when it asks, in words; empty for never."""
        when = [f"after every {self.after_tasks} finished tasks"] if self.after_tasks > 1 else []
        when += ["after every finished task"] if self.after_tasks == 1 else []
        when += ["after a task that failed for good"] if self.on_failure else []
        return " and ".join(when) if self.wanted else ""


def settled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with no question under way."""
    if not settings.get(KEY, {}).get("asking"):
        return dict(settings)
    return {**settings, KEY: {**settings[KEY], "asking": ""}}


def find_due(replan: Replan, finished: int, failed: Collection[str], *, left: bool) -> str:
    """Return why the planner is to be asked now; empty when it is not.

    Args:
        finished: tasks that succeeded or failed. failed: those that failed for good, ``T01/g1``.
        left: something of the plan has not begun.
    """
    if replan.asked >= replan.rounds:
        return ""
    fresh = sorted(set(failed) - set(replan.failures))
    if replan.on_failure and fresh:
        return f"{' '.join(each.partition('/')[0] for each in fresh)} failed for good"
    done = finished - replan.counted
    if replan.after_tasks and left and done >= replan.after_tasks:
        return f"{done} more {'task is' if done == 1 else 'tasks are'} finished"
    return ""


class Replans:
    """The questions to planners that are under way in this host; safe to use from any thread.

    Args:
        journal: of the host. ask: asks; None where nobody can be asked.
    """

    def __init__(self, journal: Journal, ask: Ask | None) -> None:
        self._journal = journal
        self._ask = ask
        self._lock = threading.Lock()
        self._going: dict[str, tuple[threading.Thread, threading.Event]] = {}
        self._closed = False

    def watch(self, run_id: str, ring: Callable[[], None]) -> Occasions:
        """Return what notices when a run is to ask.

        Args:
            ring: called when a question has ended.
        """
        return Occasions(self, run_id, ring)

    @property
    def can_ask(self) -> bool:
        """Whether there is anybody who asks."""
        return self._ask is not None

    def begin(self, run_id: str, why: str, ring: Callable[[], None]) -> None:
        """Ask, unless it is being asked already."""
        with self._lock:
            if self._closed or run_id in self._going:
                return
            stop = threading.Event()
            thread = threading.Thread(
                target=self._work,
                args=(run_id, why, stop, ring),
                name=f"nightcrew-replan-{run_id}",
                daemon=True,
            )
            self._going[run_id] = (thread, stop)
            thread.start()

    def leave(self, run_id: str) -> None:
        """End a question without an answer; it stands in the tables, and is asked again when its run goes on."""
        with self._lock:
            going = self._going.get(run_id)
        if going is not None:
            going[1].set()

    def stop(self, timeout_s: float) -> None:
        """End all of them, for good."""
        with self._lock:
            self._closed = True
            going = list(self._going.values())
        for _, stop in going:
            stop.set()
        for thread, _ in going:
            thread.join(timeout_s)

    def due(self, run_id: str, why: str, *, finished: int, failed: Collection[str]) -> bool:
        """Write down that a run asks; False when it may not any more."""
        with self._journal.write() as tx:
            run = tx.need(RunRecord, run_id)
            replan = Replan.of(run.settings)
            if run.state != "running" or replan.asking or replan.asked >= replan.rounds:
                return False
            replan = replace(
                replan,
                asked=replan.asked + 1,
                counted=finished,
                failures=tuple(sorted({*replan.failures, *failed})),
                asking=why,
            )
            data = {"why": why, "round": replan.asked, "of": replan.rounds, "agent": replan.agent}
            tx.change(run, BEGUN, data=data, settings={**run.settings, KEY: replan.to_plain()})
        crash.point("engine.replan.asked")
        return True

    def _work(self, run_id: str, why: str, stop: threading.Event, ring: Callable[[], None]) -> None:
        problem = ""
        try:
            # Looked at once more: who has started this may have read the run just before an answer was recorded.
            if self._ask is not None and self._is_asking(run_id):
                self._ask(run_id, why, stop)
        except NightcrewError as error:
            problem = "; ".join([error.message, *error.where])
        except Exception as error:
            LOG.exception("%s could not be planned anew", run_id)
            problem = f"a defect in nightcrew: {type(error).__name__}: {error}"
        try:
            if not stop.is_set():
                self._end(run_id, problem)
        except NightcrewError as error:
            # The database does not answer: the question stands, and is asked again.
            LOG.warning("%s: that its planner was asked is not recorded: %s", run_id, error.message)
        finally:
            with self._lock:
                self._going.pop(run_id, None)
            ring()

    def _is_asking(self, run_id: str) -> bool:
        with self._journal.read() as tx:
            return bool(Replan.of(tx.need(RunRecord, run_id).settings).asking)

    def _end(self, run_id: str, problem: str) -> None:
        with self._journal.write() as tx:
            run = tx.need(RunRecord, run_id)
            settings = settled(run.settings)
            if problem:
                tx.change(run, FAILED, data={"reason": problem}, settings=settings)
            elif settings != run.settings:
                tx.change(run, "", settings=settings)


class Occasions:
    """What happens in one run, as far as it is a reason to ask; used by its board."""

    def __init__(self, replans: Replans, run_id: str, ring: Callable[[], None]) -> None:
        self._replans = replans
        self._run_id = run_id
        self._ring = ring
        self._finished: set[str] = set()
        self._failed: dict[str, str] = {}
        self._left: set[str] = set()

    def forget(self) -> None:
        """Begin anew: everything is noted again."""
        self._finished, self._failed, self._left = set(), {}, set()

    def note(self, task: TaskRecord) -> None:
        """A task is as it is."""
        name = task.name
        self._failed.pop(name, None)
        self._finished.discard(name)
        self._left.discard(name)
        if task.state in _FINISHED:
            self._finished.add(name)
        if task.state == "failed":
            self._failed[name] = f"{name}/g{task.generation}"
        if task.state in ("pending", "blocked") and not task.attempts:
            self._left.add(name)

    def look(self, run: RunRecord, *, goes_on: bool) -> bool:
        """Ask when it is time to; return whether a question is under way, which the end of the run waits for."""
        if KEY not in run.settings or not self._replans.can_ask:
            return False
        if not goes_on or run.state != "running":
            self._replans.leave(self._run_id)
            return False
        replan = Replan.of(run.settings)
        why = replan.asking
        if not why:
            # What waits for a person is not put aside for something newer: their eyes may be on it.
            if run.settings.get(OFFERED):
                return False
            failed = set(self._failed.values())
            why = find_due(replan, len(self._finished), failed, left=bool(self._left))
            if not why or not self._replans.due(
                self._run_id, why, finished=len(self._finished), failed=failed
            ):
                return False
        self._replans.begin(self._run_id, why, self._ring)
        return True
