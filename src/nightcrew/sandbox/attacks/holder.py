"""A nightcrew that is started to be killed: it holds one tree, and says when that runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from nightcrew.model.isolation import Bind, Confinement, Level, Limits, Overlay, Process, SandboxSpec
from nightcrew.sandbox.launcher import Launcher


class _Herald:
    """A session that passes on what the program says; what a container's own program has to say goes to stderr."""

    def started(self, process: Process) -> None:
        process.close_stdin()

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if stream == "stdout":
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


def hold(spec: Mapping[str, Any], scratch: str, variables: Mapping[str, str]) -> None:
    """Run a spec, given as plain values, until somebody kills us.

    Args:
        spec: what to run. scratch: for what its back end needs on disk. variables: see Launcher.start.
    """
    with Launcher.start(scratch=Path(scratch), variables=variables) as launcher:
        launcher.run(read_spec(spec), _Herald(), cancel=threading.Event())


def read_spec(plain: Mapping[str, Any]) -> SandboxSpec:
    """Return a spec from what ``dataclasses.asdict`` made of it."""
    return SandboxSpec(
        argv=tuple(plain["argv"]),
        cwd=plain["cwd"],
        env=plain["env"],
        overlays=tuple(
            Overlay(o["target"], tuple(o["lowers"]), o["upper"], o["work"]) for o in plain["overlays"]
        ),
        binds=tuple(Bind(**bind) for bind in plain["binds"]),
        limits=Limits(**plain["limits"]),
        level=Level(plain["level"]),
        confinement=Confinement(**plain["confinement"]),
    )
