"""Removes old undo material: the slots of all but the last transactions."""

from __future__ import annotations

import os
from typing import Final

from nightcrew.promote.site import Site, algorithm_of
from nightcrew.promote.standing import EMPTY_DIRECTORY, Standing
from nightcrew.promote.transaction import Plan, Transaction, transactions

KEEP: Final = 20
"""Transactions whose slots stay. Undo of older ones takes the content from git's objects: same bytes, new inodes."""
SLACK: Final = 10
"""Pruning reads every plan and every slot that goes, so it waits until there is this much to do."""


def prune(site: Site) -> None:
    """Empty the slots of old transactions; a slot that does not hold what was displaced into it is left alone."""
    with_slots = [
        each for each in transactions(site.home) if (each.path / "s").is_dir() and each.marker == "done"
    ]
    if len(with_slots) <= KEEP + SLACK:
        return
    plans = [(plan.at, each, plan) for each in with_slots if (plan := each.plan()) is not None]
    plans.sort(key=lambda item: (item[0], item[1].name))
    expected = _displaced([plan for _, _, plan in plans])
    with Standing(str(site.home), algorithm_of(plans[-1][2].pin_commit)) as slots:
        for _, transaction, _ in plans[:-KEEP]:
            _empty(slots, transaction, expected)


def _displaced(plans: list[Plan]) -> dict[str, str]:
    """Return what each slot holds by now; a later undo may have used the slots of the promotion it took back."""
    return {move.slot: move.old for plan in plans for move in plan.moves}


def _empty(slots: Standing, transaction: Transaction, expected: dict[str, str]) -> None:
    place = f"{transaction.name}/s"
    for name in slots.names(place):
        slot = f"{place}/{name}"
        found = slots.fingerprint(slot)
        if found != expected.get(slot):
            # A program had the file open and went on writing after it was displaced: those bytes are nowhere else.
            continue
        with slots.parent(slot) as (fd, last):
            (os.rmdir if found == EMPTY_DIRECTORY else os.unlink)(last, dir_fd=fd)
    if not slots.names(place):
        (transaction.path / "s").rmdir()
