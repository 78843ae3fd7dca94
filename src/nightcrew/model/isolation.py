"""Confinement as values: levels, limits, what to mount, how a process ended."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, Protocol


class Level(StrEnum):
    """Isolation levels, strongest first; what each holds was tried, not believed (see sandbox.probe).

    A container stands between namespaces and Landlock: its walls are those of S3, but somebody else's program builds
    them out of an image that we do not know (docs/decisions/0054).
    """

    S3 = "S3"
    S2 = "S2"
    SX = "SX"
    S1 = "S1"
    S0 = "S0"

    def satisfies(self, required: Level) -> bool:
        """Tell whether this level is at least as strong as ``required``."""
        order = list(Level)
        return order.index(self) <= order.index(required)

    @property
    def mounts(self) -> bool:
        """Whether the copy of the repository is seen at the repository's own path; else it is used where it lies."""
        return self not in (Level.S1, Level.S0)

    @property
    def words(self) -> str:
        """What it is made of, for a person."""
        return _WORDS[self]


_WORDS: Final = {
    Level.S3: "namespaces",
    Level.S2: "namespaces, the host's process list visible",
    Level.SX: "container",
    Level.S1: "Landlock and supervised system calls",
    Level.S0: "no confinement",
}

Backend = Literal["nightcrew", "bwrap", "landlock", "podman", "docker", "none"]
#: Everything that can build a sandbox, in the order in which it is tried when nobody has chosen.
BACKENDS: Final[tuple[Backend, ...]] = ("nightcrew", "bwrap", "landlock", "podman", "docker", "none")

Profile = Literal["light", "standard", "heavy"]


@dataclass(frozen=True, slots=True)
class Confinement:
    """Which back end builds sandboxes, as a person has chosen it.

    Attributes:
        backend: one by name, or ``auto``: the strongest that works without anything being set up for it (never a
            container, never none).
        image: of a container; empty for the host's own programs in an empty root, which only podman can do.
        profile: how much a container may use: ``light`` 512 MiB, 1 processor, 128 processes; ``standard`` 2 GiB, 2,
            256; ``heavy`` 4 GiB, 4, 512. Never more than the limits of the task.
    """

    backend: Backend | Literal["auto"] = "auto"
    image: str = ""
    profile: Profile = "standard"


@dataclass(frozen=True, slots=True)
class IsolationReport:
    """What this host can enforce, found out by trying it.

    Attributes:
        level: strongest level that works.
        holds: guarantees in words.
        missing: guarantees that are absent, in words.
        fixes: commands or settings that would make it stronger.
        overlay: kernel overlay mounts work on the state directory's file system.
        details: probe name → result, for ``doctor --json``.
        backend: what builds the sandboxes.
    """

    level: Level
    holds: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    overlay: bool = False
    details: Mapping[str, str] = field(default_factory=dict)
    backend: Backend = "nightcrew"


@dataclass(frozen=True, slots=True)
class Overlay:
    """A copy-on-write mount.

    Attributes:
        target: absolute path inside the sandbox.
        lowers: read-only layers, topmost first.
        upper: writable layer; receives the change.
        work: empty directory on the same file system as ``upper``, new for every mount.
    """

    target: str
    lowers: tuple[str, ...]
    upper: str
    work: str


@dataclass(frozen=True, slots=True)
class Bind:
    """Make ``source`` of the host visible at ``target`` inside; read-only unless ``writable``."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process tree may use; 0 means no limit of that kind.

    Attributes:
        memory_bytes: resident memory of the whole tree.
        processes: processes and threads at once.
        open_files: per process.
        file_bytes: largest single file.
        disk_bytes, inodes: what may be added to the writable layer.
        output_bytes: what is kept of stdout and stderr; more is counted and dropped, never waited for.
        spawn_s: until the process exists inside its sandbox.
        idle_s: without any output.
        hard_s: in all.
        grace_s: between TERM and KILL.
        cpus: processors' worth of time for the whole tree, 1.5 for one and a half.
    """

    memory_bytes: int = 4 << 30
    processes: int = 512
    open_files: int = 4096
    file_bytes: int = 2 << 30
    disk_bytes: int = 4 << 30
    inodes: int = 200_000
    output_bytes: int = 64 << 20
    spawn_s: float = 15.0
    idle_s: float = 600.0
    hard_s: float = 1800.0
    grace_s: float = 5.0
    cpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Listen:
    """A place inside a sandbox at which something of ours, outside, answers.

    Attributes:
        kind: ``tcp`` or ``udp``.
        address: of the sandbox's own loopback (``127.0.0.1``, ``::1``), or ``0.0.0.0`` for every one of them.
        port: 1..65535; low ones may be used.
        name: what it is served by, once in a spec.
    """

    kind: Literal["tcp", "udp"]
    address: str
    port: int
    name: str


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """One confined process.

    Attributes:
        argv: program and arguments, looked up inside the sandbox.
        cwd: absolute path inside.
        env: the whole environment; nothing is inherited.
        overlays, binds: what is visible beside the curated system directories.
        hostname: inside name of the machine.
        limits: see Limits.
        level: level to build; a launcher refuses what it cannot give.
        confinement: what builds it; ``auto`` is what usually gives this level.
        exits: the only ways out of the sandbox's network; without any there is no network.
    """

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    overlays: tuple[Overlay, ...] = ()
    binds: tuple[Bind, ...] = ()
    hostname: str = "nightcrew"
    limits: Limits = Limits()
    level: Level = Level.S3
    exits: tuple[Listen, ...] = ()
    confinement: Confinement = Confinement()


Ending = Literal[
    "exited",
    "spawn_timeout",
    "idle_timeout",
    "hard_timeout",
    "memory",
    "disk",
    "cancelled",
    "lost",
    "stopped",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a confined process tree ended; by then no process of it is left.

    Attributes:
        ending: ``exited`` by itself; a ``*_timeout``; ``memory`` or ``disk`` limit; ``cancelled`` by a person or
            an interrupt; ``stopped`` by its own session (an action must wait); ``lost`` when the launcher died.
        exit_code: 0..255 (128+n for signal n), None unless ``exited``.
        duration_s: wall time in seconds.
        output_bytes: bytes written to stdout and stderr in all.
        dropped_bytes: of those, beyond the limit.
        detail: in words, for a person.
    """

    ending: Ending
    exit_code: int | None
    duration_s: float
    output_bytes: int = 0
    dropped_bytes: int = 0
    detail: str = ""


class Session(Protocol):
    """What drives a confined process while the supervisor reads from it (an agent adapter, an acceptance run)."""

    def started(self, process: Process) -> None:
        """The process exists; its stdin can be written."""

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Bytes arrived; any length, any content, never whole lines by promise."""


class Process(Protocol):
    """A live confined process as its session sees it."""

    def write(self, data: bytes) -> None:
        """Write to stdin; a closed pipe is not an error."""

    def close_stdin(self) -> None:
        """Send end of file."""

    def stop(self, reason: str) -> None:
        """End the whole tree now; the outcome will be ``stopped`` with this reason."""

    def prepare_to_freeze(self) -> None:
        """Make later holds quicker and unseen from inside, where this host can; takes some milliseconds."""

    def frozen(self, limit_s: float) -> AbstractContextManager[Stillness]:
        """Hold every process of the tree still until the end of the block, but never longer than ``limit_s``."""


class Stillness(Protocol):
    """A moment in which a process tree stands still.

    Attributes:
        whole: every process stood still at its beginning (else something was still moving when it was given up).
        over: the tree goes on again, because the time was up or the block has ended.
        held_ms: how long it stood still, once over.
    """

    @property
    def whole(self) -> bool: ...

    @property
    def over(self) -> bool: ...

    @property
    def held_ms(self) -> float: ...

    def let_go(self) -> None:
        """Let the tree go on before the end of the block."""
