"""Which levels each back end gives, and which back end a spec means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Backend, Level, SandboxSpec

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
