"""Running one process in the sandbox over a shadow: the spec it gets, what it prints, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from nightcrew.agents.adapter import Launch
from nightcrew.agents.transcript import Transcript
from nightcrew.engine.work.place import place_of
from nightcrew.engine.workspace import Workspace
from nightcrew.host.files import ensure_private_directory, write_atomic
from nightcrew.model.isolation import Bind, Level, Limits, Process, SandboxSpec
from nightcrew.model.records import AttemptRecord
from nightcrew.shadow.skeleton import IDENTITY, IDENTITY_BESIDE

if TYPE_CHECKING:
    from nightcrew.shadow.shadows import Shadow

#: The search path inside: the curated system directories; an interpreter of our own is named by its full path.
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The home directory inside: empty, private to the process tree, gone with it.
HOME: Final = "/home/agent"
#: How much of the end of the output is kept as evidence.
TAIL_CHARACTERS: Final = 4000


class Listener(Protocol):
    """What a watched process is listened to by."""

    def started(self, process: Process) -> None:
        """The process exists."""

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """It printed something."""


class Watched:
    """A session that writes everything to the transcript before anybody else sees it.

    What goes wrong in the listener (a full disk under the journal, a defect of ours) must not be lost in the
    supervisor: it ends the process and is raised again by ``raise_problem``.
    """

    def __init__(
        self,
        listener: Listener | None,
        transcript: Transcript,
        *,
        prefix: str = "",
        on_start: Callable[[Process], None] | None = None,
    ) -> None:
        self._listener = listener
        self._transcript = transcript
        self._prefix = prefix
        self._on_start = on_start
        self._process: Process | None = None
        self._problem: BaseException | None = None
        self._tail = b""

    def started(self, process: Process) -> None:
        """Pass it on; a process without a listener gets no input."""
        self._process = process
        self._guard(self._begin)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Write it down, then pass it on."""
        self._tail = (self._tail + data)[-4 * TAIL_CHARACTERS :]
        self._guard(lambda: self._pass_on(stream, data))

    @property
    def listener(self) -> Listener | None:
        """What it passes everything on to."""
        return self._listener

    def raise_problem(self) -> None:
        """Raise what went wrong while listening."""
        if self._problem is not None:
            raise self._problem

    @property
    def tail(self) -> str:
        """The end of what was printed, at most TAIL_CHARACTERS."""
        return self._tail.decode("utf-8", "backslashreplace")[-TAIL_CHARACTERS:]

    def _begin(self) -> None:
        if self._process is None:
            return
        if self._on_start is not None:
            self._on_start(self._process)
        if self._listener is None:
            self._process.close_stdin()
        else:
            self._listener.started(self._process)

    def _pass_on(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        self._transcript.write(f"{self._prefix}{stream}", data)
        if self._listener is not None:
            self._listener.feed(stream, data)

    def _guard(self, act: Callable[[], None]) -> None:
        if self._problem is not None:
            return
        try:
            act()
        except Exception as problem:  # noqa: BLE001 - kept and raised again in the attempt's own thread
            self._problem = problem
            if self._process is not None:
                self._process.stop("an error in nightcrew itself")


def make_spec(
    workspace: Workspace,
    shadow: Shadow,
    launch: Launch,
    *,
    level: Level,
    limits: Limits,
    env: Mapping[str, str],
) -> SandboxSpec:
    """Return what to confine: the shadow over the repository's own path, with nothing inherited."""
    # The weakest settings there are: the agent's own, and those of a repository, go before them.
    file = IDENTITY_BESIDE if level is Level.SX else IDENTITY
    identity = {"GIT_CONFIG_SYSTEM": f"{place_of(workspace, shadow, level)}/.git/{file}"}
    variables = {"PATH": PATH, "HOME": HOME, **identity, **workspace.env, **env, **launch.env}
    if launch.search:
        variables["PATH"] = ":".join((*launch.search, variables["PATH"]))
    overlays, binds = workspace.shadows.mounts(shadow)
    if not level.mounts:
        return _make_spec_in_place(workspace, shadow, launch, binds, variables, level=level, limits=limits)
    return SandboxSpec(
        argv=launch.argv,
        cwd=workspace.root,
        env=variables,
        overlays=overlays,
        binds=(*binds, *workspace.agent_binds, *launch.binds),
        limits=limits,
        level=level,
        confinement=workspace.confinement,
    )


def _make_spec_in_place(
    workspace: Workspace,
    shadow: Shadow,
    launch: Launch,
    binds: Sequence[Bind],
    variables: Mapping[str, str],
    *,
    level: Level,
    limits: Limits,
) -> SandboxSpec:
    """Nothing can be mounted: the process works in the copy itself, wherever that is, and sees the rest where it lies.

    Environment folders are part of the copy; the live ones can be read too, because programs in them name themselves
    by their full path.
    """
    here = place_of(workspace, shadow, level)
    live = [f"{workspace.root}/{folder}" for folder in shadow.environment]
    seen = [each.source for each in (*binds, *workspace.agent_binds, *launch.binds) if not each.writable]
    written = [here, *(each.source for each in launch.binds if each.writable)]
    folders = [
        each.replace(workspace.root, here) if _is_below(each, live) else each
        for each in variables["PATH"].split(":")
    ]
    return SandboxSpec(
        argv=launch.argv,
        cwd=here,
        env={**variables, "PATH": ":".join(folders)},
        # At level S0 nothing is hidden, so nothing has to be shown.
        binds=()
        if level is Level.S0
        else (
            *(Bind(each, each) for each in dict.fromkeys([*seen, *live])),
            *(Bind(each, each, writable=True) for each in written),
        ),
        limits=limits,
        level=level,
        confinement=workspace.confinement,
    )


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def describe_task(attempt: AttemptRecord) -> Mapping[str, str]:
    """Return the variables that tell a process of an attempt where it is."""
    return {
        "NIGHTCREW_RUN": attempt.run,
        "NIGHTCREW_TASK": attempt.task,
        "NIGHTCREW_ATTEMPT": attempt.id,
    }


def write_private(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files that an adapter wants beside its agent into a folder that only we can enter."""
    if files:
        ensure_private_directory(folder)
    for name, data in files.items():
        write_atomic(folder / name, data)


def limit_attempt(limits: Limits, timeout_s: float | None) -> Limits:
    """Return the limits of one attempt: a task's own ``Timeout:`` stands for the configured hard limit."""
    if timeout_s is None:
        return limits
    return replace(limits, hard_s=timeout_s, idle_s=min(limits.idle_s, timeout_s) if limits.idle_s else 0.0)


def limit_acceptance(limits: Limits) -> Limits:
    """Return the limits of an acceptance command: test runners may be silent for long, so only the hard one holds."""
    return replace(limits, idle_s=0.0)
