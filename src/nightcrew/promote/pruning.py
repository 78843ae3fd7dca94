"""Removes old undo material: the slots of all but the last transactions."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.host.apart import Emptied
from nightcrew.promote.site import Site, algorithm_of
from nightcrew.promote.standing import EMPTY_DIRECTORY, Standing
from nightcrew.promote.transaction import EMPTIED, Plan, Transaction, transactions

KEEP: Final = 20
"""Transactions whose slots stay. Undo of older ones takes the content from git's objects: same bytes, new inodes.

What a person had not committed when it was displaced is in none of those: such slots stay for good.
"""


@dataclass(slots=True)
class Pruned:
    """What was removed, or would be: files that promotions have displaced, and what they take on the disk."""

    files: int = 0
    size_bytes: int = 0


def prune(site: Site, *, dry_run: bool = False) -> Pruned:
    """Empty the slots of old transactions; a slot that does not hold what was displaced into it is left alone.

    Nothing while a transaction waits to be settled: an undo moves in the slots of the promotion that it takes back.

    Args:
        dry_run: only tell.
    """
    pruned = Pruned()
    found = transactions(site.home)
    if any(each.marker in ("", "committed") for each in found):
        return pruned
    planned = {
        each.name: each.plan() for each in found if (each.path / "s").is_dir() and each.marker == "done"
    }
    with_slots = [each for each in found if planned.get(each.name)]
    if len(with_slots) <= KEEP:
        return pruned
    with_slots.sort(key=lambda each: ((each.path / "done").stat().st_mtime_ns, each.name))
    plans = [plan for each in with_slots if (plan := planned[each.name]) is not None]
    only_here = _find_uncommitted(plans)
    emptied = Emptied(site.scratch / EMPTIED)
    with Standing(str(site.home), algorithm_of(plans[-1].pin_commit)) as slots:
        doubtful = []
        for each in with_slots[:-KEEP]:
            before = pruned.files
            doubtful += _empty(slots, each, pruned, only_here, dry_run=dry_run)
            if not dry_run:
                emptied.note(each.path.stat().st_ino, pruned.files - before)
        if doubtful and not dry_run:
            _compare(slots, doubtful, plans)
    for each in with_slots[:-KEEP] if not dry_run else ():
        if not any((each.path / "s").iterdir()):
            (each.path / "s").rmdir()
    return pruned


def _find_uncommitted(plans: Sequence[Plan]) -> frozenset[str]:
    """Return the slots of paths that held edits of a person's: the merged file has those, their own version is nowhere else."""
    found: set[str] = set()
    for plan in plans:
        edited = frozenset(plan.edited)
        found.update(move.slot for move in plan.moves if move.path in edited)
    return frozenset(found)


def _empty(
    slots: Standing, transaction: Transaction, pruned: Pruned, only_here: Collection[str], *, dry_run: bool
) -> list[str]:
    """Remove what nobody wrote to since it was displaced; return the slots of which that is not certain.

    The marker was made before the first file was displaced (its time of modification) and was renamed after the last one (its
    time of change). What was written before the one and not touched after the other is what was compared on the way.
    """
    marker = (transaction.path / "done").stat()
    place = f"{transaction.name}/s"
    doubtful = []
    names = slots.names(place)
    # Ours, and nobody else's to move: opened once for the thousands of files that may be in it.
    directory = slots.open_directory(place)
    try:
        for name in names:
            if f"{place}/{name}" in only_here:
                continue
            found = os.lstat(name, dir_fd=directory)
            if found.st_mtime_ns < marker.st_mtime_ns and found.st_ctime_ns <= marker.st_ctime_ns:
                pruned.files += 1
                pruned.size_bytes += found.st_blocks * 512
                if not dry_run:
                    (os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink)(name, dir_fd=directory)
            else:
                doubtful.append(f"{place}/{name}")
    finally:
        os.close(directory)
    return doubtful


def _compare(slots: Standing, doubtful: Sequence[str], plans: Sequence[Plan]) -> None:
    """Remove those that hold what they should by now; a later undo may have used the slots of the promotion it took back."""
    expected = {
        move.slot: move.old for plan in sorted(plans, key=lambda plan: plan.at) for move in plan.moves
    }
    for slot in doubtful:
        found = slots.fingerprint(slot)
        # Else a program had the file open and went on writing after it was displaced: those bytes are nowhere else.
        if found == expected.get(slot):
            _remove(slots, slot, directory=found == EMPTY_DIRECTORY)


def _remove(slots: Standing, slot: str, *, directory: bool) -> None:
    with slots.parent(slot) as (fd, name):
        (os.rmdir if directory else os.unlink)(name, dir_fd=fd)
