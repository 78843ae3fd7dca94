"""The back ends by name, which levels each gives, and which one a spec means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Backend, Level, SandboxSpec
from nightcrew.sandbox.landlocked import LandlockBackend
from nightcrew.sandbox.starting import Builder

#: The levels of each back end, strongest first.
LEVELS: Final[Mapping[Backend, tuple[Level, ...]]] = {
    "nightcrew": (Level.S3, Level.S2),
    "bwrap": (Level.S3, Level.S2),
    "podman": (Level.SX,),
    "docker": (Level.SX,),
    "landlock": (Level.S1,),
    "none": (Level.S0,),
}

_USUAL: Final[Mapping[Level, Backend]] = {
    Level.S3: "nightcrew",
    Level.S2: "nightcrew",
    Level.SX: "podman",
    Level.S1: "landlock",
    Level.S0: "none",
}


def make_builders(scratch: Path, search: str) -> Mapping[Backend, Builder]:
    """Return every back end that is not our own launcher.

    Args:
        scratch: directory of ours for what one run needs on disk.
        search: PATH to find programs on.
    """
    return {"landlock": LandlockBackend(scratch)}


def pick(spec: SandboxSpec) -> Backend:
    """Return the back end that a spec means.

    Raises:
        UsageError: it does not give the level that is asked for.
    """
    chosen = spec.confinement.backend
    backend = _USUAL[spec.level] if chosen == "auto" else chosen
    if spec.level not in LEVELS[backend]:
        given = " or ".join(LEVELS[backend])
        raise UsageError(
            f"the back end {backend} gives isolation {given}, not {spec.level}", code="sandbox.backend"
        )
    return backend
