"""Hosting the engine: in the foreground of a command, in the background, or not at all when somebody else does."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.deadlines import find_timed
from nightcrew.host.signals import endings_interrupt, uninterrupted
from nightcrew.model.errors import EngineUnavailable
from nightcrew.model.isolation import Level
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import ApprovalRecord, RunRecord, TaskRecord
from nightcrew.runtime.answers.callbacks import Asker
from nightcrew.runtime.answers.webhook import Poster
from nightcrew.runtime.money.budgeting import read_calendar
from nightcrew.runtime.opening import open_workspace
from nightcrew.runtime.people.terms import time_of_answer
from nightcrew.runtime.resting import Rest, find_rest
from nightcrew.runtime.rules import Rules
from nightcrew.runtime.trees.drifting import note_end
from nightcrew.runtime.views import view_event

if TYPE_CHECKING:
    from nightcrew.engine.engine import Engine
    from nightcrew.runtime.parts import Parts

#: How long a follower sleeps at most before it looks whether the host is still alive.
_LOOK_S: Final = 0.25
#: How long a background host stays when nothing can go on; saves starting again between two answers of a person.
_LINGER_S: Final = 3.0

OnChange = Callable[[Sequence[dict[str, Any]]], None]


def choose_level(parts: Parts, rules: Rules, *, unsandboxed: bool) -> Level:
    """Return the isolation level a run will have.

    Raises:
        SandboxUnavailable: it is weaker than required; nothing was started.
    """
    from nightcrew.runtime.isolating import choose

    return choose(parts, rules, unsandboxed=unsandboxed).level


class Host:
    """The engine while this process hosts it; does nothing while another one does.

    Use it in the main thread: the helper that builds sandboxes is started from there, before any other thread.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._engine: Engine | None = None
        self.poster = Poster(parts)
        self._submitted: set[str] = set()

    @property
    def hosting(self) -> bool:
        """True while this process hosts the engine."""
        return self._engine is not None

    def take(self) -> bool:
        """Host the engine if nobody does; return whether this process does now."""
        from nightcrew.engine.engine import Engine
        from nightcrew.runtime.goals.replanning import ask_anew

        if self._engine is not None:
            return True
        parts = self._parts
        launcher = parts.launcher
        engine = Engine(
            parts.journal,
            state_dir=parts.env.state,
            launcher=launcher,
            clock=parts.clock,
            open_workspace=lambda run: open_workspace(parts, run),
            redact=parts.keyring.redact,
            read_calendar=partial(read_calendar, parts),
            replan=partial(ask_anew, parts),
        )
        try:
            engine.launch()
        except EngineUnavailable as error:
            if error.code == "engine.locked":
                return False
            raise
        self._engine = engine
        self.poster = Poster(parts)
        self.poster.start()
        self._submitted.clear()
        return True

    def submit(self, run: str) -> None:
        """Have a run executed: here, or by whoever hosts the engine."""
        from nightcrew.engine.client import wake

        if self._engine is None:
            wake(self._parts.journal, run, clock=self._parts.clock)
        elif run not in self._submitted:
            self._engine.submit(run)
            self._submitted.add(run)

    def close(self) -> None:
        """Stop hosting: agents are ended, what is unfinished is interrupted and will go on."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        self.poster.close()
        with warnings.catch_warnings():
            # The durable engine is told to let its workflows lie; it warns about one that it was just about to take up.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            engine.close()


def drive(parts: Parts, run: str, *, on_change: OnChange, wait: bool) -> Rest:
    """Bring a run to its end, hosting the engine where nobody does, and return how it came to rest.

    Args:
        run: run id, approved.
        on_change: called with new events of the run, and without any a few times a second.
        wait: go on while all that is left waits for a human.

    Raises:
        KeyboardInterrupt: INT, TERM or HUP; agents are ended, the run can be resumed.
    """
    host = Host(parts)
    with endings_interrupt(), Asker(parts) as asker:
        try:
            rest = _follow(parts, host, run, on_change, more=lambda: wait or asker.is_busy())
        except BaseException:
            _leave(parts, host, abandoned=run)
            raise
        _leave(parts, host, abandoned="")
    note_end(parts, run)
    _collect(parts, [run])
    return rest


def _follow(parts: Parts, host: Host, run: str, on_change: OnChange, *, more: Callable[[], bool]) -> Rest:
    with parts.journal.read() as tx:
        seq = tx.last_seq()
    host.take()
    host.submit(run)
    while True:
        with parts.journal.read() as tx:
            events = tx.events(after=seq, run=run)
            rest = find_rest(tx, tx.need(RunRecord, run))
            last = tx.last_seq()
        on_change([view_event(event) for event in events])
        seq = last
        if rest == "final" or (rest == "waiting" and not more()):
            return rest
        if not host.hosting and not parts.engine_holder and host.take():
            host.submit(run)
        if host.hosting:
            _submit_all(parts, host)
        parts.journal.wait(seq, _LOOK_S)


def _submit_all(parts: Parts, host: Host) -> None:
    """Take in the runs that other processes handed over."""
    for each in going_runs(parts):
        host.submit(each)


def _leave(parts: Parts, host: Host, *, abandoned: str) -> None:
    """Stop hosting, and have a background host go on with what others handed to us meanwhile."""
    if not host.hosting:
        return
    with uninterrupted():
        host.close()
        left = [each for each in [*going_runs(parts), *runs_in_time(parts, host.poster)] if each != abandoned]
        if left and not parts.engine_holder:
            start_background(parts, left)


def going_runs(parts: Parts) -> list[str]:
    """Return the runs that an engine could go on with now."""
    with parts.journal.read() as tx:
        runs = tx.find(RunRecord, state=("approved", "running", "paused"))
        return [run.id for run in runs if find_rest(tx, run) == "going"]


def nudge(parts: Parts, name: str, *, start: bool) -> str:
    """Make work go on after a decision.

    Args:
        name: id of a run, task or approval that changed.
        start: start a background host when nobody hosts the engine and something can go on.

    Returns:
        ``woken`` (a living engine was told), ``started`` (a background host), or ``recorded`` (nothing goes on with it
        now, because no engine runs or the run is paused).
    """
    from nightcrew.engine.client import wake

    run = _run_of(parts, name)
    wake(parts.journal, run, now=time_of_answer(parts))
    with parts.journal.read() as tx:
        record = tx.need(RunRecord, run)
        held = record.state == "paused" and find_rest(tx, record) != "going"
    if parts.engine_holder and not held:
        return "woken"
    if start and run in going_runs(parts):
        start_background(parts, [])
        return "started"
    return "recorded"


def _run_of(parts: Parts, name: str) -> str:
    with parts.journal.read() as tx:
        if "/" in name:
            return tx.need(TaskRecord, name).run
        return tx.need(ApprovalRecord, name).run if name.startswith("A-") else name


def start_background(parts: Parts, runs: Sequence[str]) -> int:
    """Start a host in the background, for these runs or for all; return its process id."""
    from nightcrew.host.files import ensure_private_directory
    from nightcrew.host.procs import start_detached

    ensure_private_directory(parts.env.state)
    argv = [sys.executable, "-m", "nightcrew", "engine", *runs]
    # A token is for one program to decide with; a host decides nothing.
    env = {name: value for name, value in parts.env.variables.items() if name != "NIGHTCREW_TOKEN"}
    return start_detached(argv, env=env, cwd="/", log=parts.env.state / "engine.log")


def host_in_background(parts: Parts, runs: Sequence[str]) -> None:
    """Host the engine until nothing can go on without a human, then a moment longer.

    Args:
        runs: only these; all of them when empty.

    Raises:
        EngineUnavailable: the database cannot be used.
    """
    host = Host(parts)
    hosted: set[str] = set()
    with endings_interrupt(), Asker(parts):
        try:
            # Once more after letting go: a decision may have come while we still held the lock and did not look.
            while _going(parts, host, runs) and host.take():
                hosted |= _serve(parts, host, runs)
                host.close()
        finally:
            with uninterrupted():
                host.close()
        for each in sorted(hosted):
            note_end(parts, each)
        _collect(parts, sorted(hosted))


def _serve(parts: Parts, host: Host, runs: Sequence[str]) -> set[str]:
    """Serve until nothing can go on; return the runs that went on."""
    hosted: set[str] = set()
    idle_since = parts.clock.monotonic()
    while parts.clock.monotonic() - idle_since < _LINGER_S:
        going = _going(parts, host, runs)
        hosted.update(going)
        for each in going:
            host.submit(each)
        if going:
            idle_since = parts.clock.monotonic()
        with parts.journal.read() as tx:
            seq = tx.last_seq()
        parts.journal.wait(seq, _LOOK_S)
    return hosted


def _collect(parts: Parts, runs: Sequence[str]) -> None:
    """Give up what has become old, when it is time for that, where one of these runs is over."""
    from nightcrew.runtime.evidence.sealing import seal_when_new
    from nightcrew.runtime.upkeep.collecting import collect_when_due

    with parts.journal.read() as tx:
        over = [run for name in runs if (run := tx.need(RunRecord, name)).state in RUN_FINAL]
    if over:
        seal_when_new(parts)
    for run in {each.repo_key: each for each in over}.values():
        collect_when_due(parts, run.id)


def runs_in_time(parts: Parts, poster: Poster) -> list[str]:
    """Return the runs that wait for a person for a limited time, or of whom somebody is still to be told: their clock runs
    only while somebody hosts them."""
    with parts.journal.read() as tx:
        names = {each.run for each in find_timed(tx)} | poster.find_runs(tx)
        return [name for name in sorted(names) if tx.need(RunRecord, name).state in ("approved", "running")]


def _going(parts: Parts, host: Host, runs: Sequence[str]) -> list[str]:
    names = dict.fromkeys([*going_runs(parts), *runs_in_time(parts, host.poster)])
    return [each for each in names if not runs or each in runs]
