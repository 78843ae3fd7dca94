"""Where an attack is run: one level of one launcher, over a copy-on-write base of bait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

import nightcrew
from nightcrew.model.isolation import (
    Bind,
    Confinement,
    Level,
    Limits,
    Outcome,
    Overlay,
    Process,
    SandboxSpec,
    Session,
)
from nightcrew.sandbox.exits import Serve
from nightcrew.sandbox.order import portable

#: Where the attacked copy lies inside.
WORKSPACE: Final = "/nightcrew-attack"
SOURCE: Final = "/run/nightcrew-source"
PACKAGE: Final = Path(nightcrew.__file__).resolve().parent
_MOST_KEPT: Final = 4 << 20


class Runs(Protocol):
    """What runs a spec to its end: a launcher."""

    def run(
        self,
        spec: SandboxSpec,
        session: Session,
        *,
        cancel: threading.Event,
        serve: Serve | None = None,
    ) -> Outcome:
        """See Launcher.run."""


@dataclass
class Listener:
    """A session that gives its process something to read and keeps what it says."""

    stdin: bytes = b""
    said: bytearray = field(default_factory=bytearray)
    complained: bytearray = field(default_factory=bytearray)
    received: int = 0

    def started(self, process: Process) -> None:
        """Send all of it."""
        process.write(self.stdin)
        process.close_stdin()

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Keep the beginning."""
        self.received += len(data)
        kept = self.said if stream == "stdout" else self.complained
        kept += data[: max(0, _MOST_KEPT - len(kept))]


@dataclass
class Ground:
    """Makes specs of attacks.

    Attributes:
        launcher: that is attacked. folder: of the bait. level: to attack. overlay: a shadow can be mounted.
        python: interpreter that exists inside, by ``binds`` where it is not part of the system.
        confinement: the back end to attack.
        variables: what that needs of the user's environment, for a launcher of its own.
    """

    launcher: Runs
    folder: Path
    level: Level
    overlay: bool
    python: str
    binds: tuple[Bind, ...] = ()
    confinement: Confinement = Confinement()
    variables: Mapping[str, str] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def run(self, spec: SandboxSpec, session: Session, serve: Serve | None = None) -> Outcome:
        """Run a spec of ours to its end."""
        return self.launcher.run(spec, session, cancel=threading.Event(), serve=serve)

    @property
    def source(self) -> str:
        """Where the source of the attacks is seen from inside."""
        return SOURCE if self.level.mounts else str(PACKAGE.parent)

    def spec(self, *arguments: str, limits: Limits) -> SandboxSpec:
        """Return a spec that runs the interpreter with these arguments in a fresh copy of the base."""
        place = self.folder / "runs" / str(next(self._numbers))
        upper, work = place / "upper", place / "work"
        for each in (upper, work):
            each.mkdir(parents=True)
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "LC_ALL": "C.UTF-8"}
        argv = (self.python, "-I", "-S", "-B", *arguments)
        shown = (*self.binds, self._show_source())
        overlays: tuple[Overlay, ...] = ()
        if self.level.mounts and self.overlay:
            overlays = (Overlay(WORKSPACE, (str(self.folder / "base"),), str(upper), str(work)),)
        else:
            target = WORKSPACE if self.level.mounts else str(upper)
            shown = (*shown, Bind(str(upper), target, writable=True))
        return SandboxSpec(
            argv,
            WORKSPACE if self.level.mounts else str(upper),
            env,
            overlays=overlays,
            binds=() if self.level is Level.S0 else shown,
            limits=limits,
            level=self.level,
            confinement=self.confinement,
        )

    def _show_source(self) -> Bind:
        # Python lists the folder that a package lies in, so where nothing is mounted that has to be seen as well.
        if self.level.mounts:
            return Bind(str(PACKAGE), f"{SOURCE}/{PACKAGE.name}")
        return Bind(str(PACKAGE.parent), str(PACKAGE.parent))

    def program(self, module: str) -> tuple[str, str]:
        """Return the arguments that make an interpreter inside run ``main`` of a module of ours."""
        start = f"import sys; sys.path.append({portable(self.source)!r}); from {module} import main; main()"
        return "-c", start
