"""The back ends beside our own launcher, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nightcrew.model.isolation import Backend
from nightcrew.sandbox.bubblewrap import BubblewrapBackend
from nightcrew.sandbox.landlocked import LandlockBackend
from nightcrew.sandbox.starting import Builder


def make_builders(scratch: Path, search: str) -> Mapping[Backend, Builder]:
    """Return every back end that is not our own launcher.

    Args:
        scratch: directory of ours for what one run needs on disk.
        search: PATH to find programs on.
    """
    return {"bwrap": BubblewrapBackend(scratch, search), "landlock": LandlockBackend(scratch)}
