"""The install phase: a task's ``Install:`` commands, run in its copy with a network list of their own.

They run before the agent works, and again in every fresh copy that an acceptance command gets: what is ignored there
(a virtual environment, node_modules) is no part of a result, and so is not in those copies.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from nightcrew.agents.adapter import Launch
from nightcrew.agents.transcript import Transcript
from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.course.starts import Start
from nightcrew.engine.work.acceptance import Acceptance
from nightcrew.engine.work.confined import Watched, describe_task, limit_acceptance, make_spec
from nightcrew.engine.work.endings import describe_ending
from nightcrew.engine.work.halting import Halt
from nightcrew.engine.work.live import Interrupted, Signals
from nightcrew.engine.work.network import Attempting, run_connected
from nightcrew.engine.work.place import AttemptFailed, Place
from nightcrew.engine.work.tools import Tools
from nightcrew.engine.workspace import Workspace
from nightcrew.model.actions import Action
from nightcrew.model.isolation import Level, Process
from nightcrew.model.records import AttemptRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.sandbox.egress.egress import Egress
    from nightcrew.sandbox.launcher import Launcher
    from nightcrew.shadow.shadows import Shadow

#: How long a copy is held still before its tree is ended; see Halt.
_NO_PATIENCE_S: Final = 0.0


@dataclass(frozen=True, slots=True)
class Installer:
    """Runs install commands in copies.

    Attributes:
        launcher, workspace, transcript, level: of the attempt or the proof.
        commands: as written in the plan.
        open_egress: makes the way out of one sandbox; None where the phase has no network.
    """

    launcher: Launcher
    workspace: Workspace
    transcript: Transcript
    level: Level
    commands: Sequence[str]
    open_egress: Callable[[], Egress | None]

    def install(
        self,
        shadow: Shadow,
        stop: threading.Event,
        env: Mapping[str, str],
        on_start: Callable[[Process], None] | None = None,
    ) -> str:
        """Run all commands, one after the other, until one fails; return what went wrong in words, or nothing."""
        for command in self.commands:
            self.transcript.note("install", f"$ {command}")
            limits = limit_acceptance(self.workspace.settings.limits)
            launch = Launch(argv=("bash", "-c", command))
            spec = make_spec(self.workspace, shadow, launch, level=self.level, limits=limits, env=env)
            watched = Watched(None, self.transcript, prefix="install-", on_start=on_start)
            egress = self.open_egress()
            ways = (egress,) if egress is not None else ()
            outcome = run_connected(self.launcher, spec, watched, stop, ways)
            watched.raise_problem()
            if outcome.exit_code != 0:
                return f"`{command}`: {describe_ending(outcome)}"
        return ""


class InstallingAttempt(Attempting, Protocol):
    """An attempt, as far as its install phase is concerned."""

    transcript: Transcript
    halt: Halt
    start: Start
    signals: Signals
    run: RunRecord

    @property
    def tools(self) -> Tools:
        """What it uses."""

    @property
    def record(self) -> AttemptRecord:
        """As last written."""

    def park(self, resume: Start, checkpoint: str, *, keep_grants: bool = True) -> None:
        """End as parked."""

    def cancelled(self) -> AttemptFailed:
        """Return the way out of an attempt that a person has stopped."""


def install(attempt: InstallingAttempt, place: Place) -> None:
    """Do the install phase of an attempt; a copy in which it was done already is left as it is.

    Raises:
        AttemptFailed: a command failed.
        Parked: a person must decide on a host first; the phase is done again after that.
    """
    if not attempt.task.install or attempt.start.shadow:
        return

    def begin(process: Process) -> None:
        attempt.halt.begin(process, _NO_PATIENCE_S)
        attempt.questions.attend(None, attempt.halt)

    installer = make_installer(attempt)
    stop = attempt.signals.stop
    problem = installer.install(place.shadow, stop, describe_task(attempt.record), begin)
    if attempt.tools.live.interrupted:
        raise Interrupted
    if stop.is_set():
        raise attempt.cancelled()
    if attempt.questions.stopped:
        attempt.park(attempt.start, "", keep_grants=False)
    if problem:
        raise AttemptFailed(Failure("agent", f"install failed: {problem}"))


def install_action(line: str) -> Action:
    """Return the action an ``Install:`` line stands for."""
    return Action(kind="exec", command=line, purpose="install")


def make_acceptance(attempt: InstallingAttempt) -> Acceptance:
    """Return what proves the results of an attempt."""
    tools, install = attempt.tools, make_installer(attempt, asks=False).install
    return Acceptance(
        tools.launcher, attempt.workspace, attempt.run, attempt.transcript, attempt.level, install
    )


def make_installer(attempt: InstallingAttempt, *, asks: bool = True) -> Installer:
    """Return what installs in copies of an attempt; without ``asks`` an unknown host is refused."""
    networks = attempt.tools.networks
    return Installer(
        attempt.tools.launcher,
        attempt.workspace,
        attempt.transcript,
        attempt.level,
        attempt.task.install,
        lambda: networks.open(attempt, "install", asks=asks),
    )
