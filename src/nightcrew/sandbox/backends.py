"""The back ends beside our own launcher, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nightcrew.model.isolation import Backend
from nightcrew.sandbox.bubblewrap import BubblewrapBackend
from nightcrew.sandbox.containers import ContainerBackend
from nightcrew.sandbox.landlocked import LandlockBackend
from nightcrew.sandbox.starting import Builder


def make_builders(scratch: Path, variables: Mapping[str, str]) -> Mapping[Backend, Builder]:
    """Return every back end that is not our own launcher.

    Args:
        scratch: directory of ours for what one run needs on disk.
        variables: what the programs of other back ends need of the user's environment, PATH above all.
    """
    return {
        "bwrap": BubblewrapBackend(scratch, variables.get("PATH", "")),
        "landlock": LandlockBackend(scratch),
        "podman": ContainerBackend("podman", scratch, variables),
        "docker": ContainerBackend("docker", scratch, variables),
    }
