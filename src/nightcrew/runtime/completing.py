"""What a shell completes beside commands and options: ids of what there is."""

from __future__ import annotations

from pathlib import Path

from nightcrew.journal.completing import read_ids
from nightcrew.model.errors import NightcrewError
from nightcrew.runtime.settings.environment import read_environment

_FILE = "sqlite:///"


def list_ids(kinds: str, begun: str, *, waiting: bool = False) -> list[str]:
    """Return ids of these kinds (letters out of ``RTACM``) that begin like this; none when they cannot be read quickly.

    Args:
        waiting: only what waits for a person's answer.
    """
    try:
        url = read_environment().database
    except NightcrewError:  # no home directory: the command itself will say so
        return []
    if not url.startswith(_FILE):
        return []  # asking a server takes longer than a person waits for a completion
    return read_ids(Path(url.removeprefix(_FILE)), kinds, begun, waiting=waiting)
