"""Puts right what an interrupted promotion left: exactly old or exactly new. Rules: docs/formats/promotion.md."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightcrew.model.errors import DriftError
from nightcrew.model.text import shown
from nightcrew.promote.index import IndexLock
from nightcrew.promote.indexswap import IndexSwap
from nightcrew.promote.moves import Mover
from nightcrew.promote.site import Site, algorithm_of, short
from nightcrew.promote.standing import Standing
from nightcrew.promote.transaction import BESIDE, Plan, Transaction, remove_beside, transactions

_PIN_WAIT_S: Final = 10.0
_PIN_POLL_S: Final = 0.05
_REFLOG_AT_MOST: Final = 500


def is_unsettled(site: Site) -> bool:
    """Tell whether a transaction was interrupted, or is under way in another process. Needs no lock and no write."""
    return any(each.marker in ("", "committed") for each in transactions(site.home))


def recover_all(site: Site) -> list[str]:
    """Settle every transaction that was interrupted. The lock of the home must be held.

    Returns:
        a sentence for each, which begins with the id of the promotion.

    Raises:
        DriftError: a git of the user's own holds a lock that is needed; try again later.
    """
    said = []
    for transaction in transactions(site.home):
        marker = transaction.marker
        if marker == "":
            discard(site, transaction)
        elif marker == "committed":
            said.append(_describe(settle(site, transaction)))
    return said


def discard(site: Site, transaction: Transaction) -> None:
    """Remove a transaction that never had its marker: only slots, objects and perhaps ``index.lock`` were touched."""
    plan = transaction.plan()
    if plan is not None:
        _delete_pin(site, plan)
    IndexLock(site.repository.git_dir, transaction).release()
    transaction.remove(Path(plan.slots) if plan else beside(site))


def beside(site: Site) -> Path:
    """Return where slots lie when the git directory is on another file system."""
    return Path(site.repository.root) / BESIDE


@dataclass(frozen=True, slots=True)
class Settled:
    """How an interrupted transaction ended: published, or taken back except for ``left``."""

    plan: Plan
    published: bool
    left: tuple[str, ...] = ()


def settle(site: Site, transaction: Transaction) -> Settled:
    """Finish a transaction that has its marker, or take it back; the branch says which.

    Raises:
        DriftError: a git of the user's own holds a lock that is needed; try again later.
    """
    plan = transaction.plan()
    if plan is None:
        raise DriftError(f"{transaction.path} has lost its plan.json", code="promote.damaged")
    # First the pin, then the branch: an update-ref that outlived us finds no pin from here on.
    _delete_pin(site, plan)
    if was_published(site, plan):
        finish(site, transaction, plan)
        return Settled(plan, published=True)
    return Settled(plan, published=False, left=tuple(take_back(site, transaction, plan)))


def _describe(settled: Settled) -> str:
    plan = settled.plan
    word = "undo" if plan.undo_of else "promotion"
    if settled.published:
        now = f"at {plan.new_commit[:12]}" if plan.new_commit else "removed"
        return f"{plan.id}: an interrupted {word} was complete: {short(plan.branch)} is {now}"
    if not settled.left:
        return f"{plan.id}: an interrupted {word} was taken back: everything is as it was before"
    return f"{plan.id}: an interrupted {word} was taken back, except: " + "; ".join(settled.left)


def was_published(site: Site, plan: Plan) -> bool:
    """Tell whether the branch was moved by this transaction, also when it has moved on since."""
    now = site.commit_of(plan.branch)
    if now == plan.new_commit:
        return True
    if plan.kind == "commit" and now and site.is_ancestor(plan.new_commit, now):
        return True
    done = site.git.run(
        "log", "-g", f"-n{_REFLOG_AT_MOST}", "--format=%H %gs", plan.branch, "--", check=False
    )
    return f"{plan.new_commit} {plan.note}" in os.fsdecode(done.stdout).splitlines()


def finish(site: Site, transaction: Transaction, plan: Plan) -> None:
    """Everything is in place: keep the pin, let go of the index, say done."""
    site.write_git("update-ref", plan.pin, plan.pin_commit)
    IndexLock(site.repository.git_dir, transaction).release()
    transaction.end("done")
    slots = Path(plan.slots)
    if slots != site.home:
        remove_beside(slots, transaction.name)


def take_back(site: Site, transaction: Transaction, plan: Plan) -> list[str]:
    """Return index and paths to what they were; say what could not be returned.

    Raises:
        DriftError: the index is locked by somebody else.
    """
    if plan.place != "here":
        _delete_pin(site, plan)
        transaction.remove(Path(plan.slots))
        return []
    lock = IndexLock(site.repository.git_dir, transaction)
    lock.take()
    IndexSwap(site, transaction, site.configured()).take_back(plan.index)
    algorithm = algorithm_of(plan.pin_commit)
    left = []
    with Standing(site.repository.root, algorithm) as tree, Standing(plan.slots, algorithm) as slots:
        with Mover(tree, slots) as mover:
            for move in reversed(plan.moves):
                why = mover.back(move)
                if why:
                    left.append(f"{shown(move.path)} {why}")
        for directory in {move.path.rpartition("/")[0] for move in plan.moves}:
            tree.sync(directory)
    _delete_pin(site, plan)
    lock.release()
    if left:
        transaction.end("aborted")
    else:
        transaction.remove(Path(plan.slots))
    return left


def _delete_pin(site: Site, plan: Plan) -> None:
    """Delete the pin; an update-ref of ours that still runs holds its lock, and is waited for."""
    deadline = site.clock.monotonic() + _PIN_WAIT_S
    while site.commit_of(plan.pin):
        done = site.git.run("update-ref", "-d", plan.pin, check=False)
        if done.code == 0:
            return
        if site.clock.monotonic() > deadline:
            raise DriftError(
                f"{plan.pin} cannot be deleted: {os.fsdecode(done.stderr).strip()}",
                code="drift.locked",
                hint="if no git is running here, remove the .lock file it names, then run any nightcrew command",
            )
        site.clock.sleep(_PIN_POLL_S)
