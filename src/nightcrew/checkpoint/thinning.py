"""Which checkpoints to give up: values in, values out.

All of the last hour stay; of the rest of the last day every fifth; of those before, the first and the last of each
task. What something still needs is held and always stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

ALL_S: Final = 3600.0
SOME_S: Final = 24 * 3600.0
EACH: Final = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A checkpoint as thinning sees it.

    Attributes:
        id: its id; task: whose it is.
        age_s: how long ago it was taken.
        held: something refers to it.
        gone: it was given up before.
    """

    id: str
    task: str
    age_s: float
    held: bool = False
    gone: bool = False


def thin(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    """Return the ids of those that may go, oldest first.

    Args:
        snapshots: all of them, those that are gone too (they count, so that thinning twice is thinning once), in the
            order in which they were taken.
    """
    chosen = []
    for group in _by_task(snapshots):
        last = len(group) - 1
        for number, each in enumerate(group):
            if each.gone or each.held or number in (0, last) or each.age_s <= ALL_S:
                continue
            if each.age_s > SOME_S or number % EACH:
                chosen.append(each)
    return _oldest_first(chosen)


def squeeze(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    """Return the ids of all that nothing holds, for when there is no room: only the newest of each task stays."""
    return _oldest_first(
        each
        for group in _by_task(snapshots)
        for number, each in enumerate(group)
        if not (each.gone or each.held or number == len(group) - 1)
    )


def _by_task(snapshots: Iterable[Snapshot]) -> Iterable[Sequence[Snapshot]]:
    groups: dict[str, list[Snapshot]] = {}
    for each in snapshots:
        groups.setdefault(each.task, []).append(each)
    return groups.values()


def _oldest_first(snapshots: Iterable[Snapshot]) -> tuple[str, ...]:
    return tuple(each.id for each in sorted(snapshots, key=lambda each: -each.age_s))
