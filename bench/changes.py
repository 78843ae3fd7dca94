"""Rows: finding what changed, checkpoints of it, the way back to one."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ground import Ground, command
from opening import open_on
from rows import Act, Row, interleave

from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.shadow.shadows import Shadow

AT = datetime(2024, 1, 1, tzinfo=UTC)
FASTER_THAN_GIT = {1: 100, 100: 30, 1000: 10}
"""By changed files: how many times faster than ``git add -A`` and a commit, in 100,000 files."""

HELD = 100


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    yield _find(ground, rounds)
    for number in FASTER_THAN_GIT:
        if number <= ground.number:
            yield from _checkpoint(ground, rounds, number)
    yield from _checkpoint_on_top(ground, rounds)
    yield from _restore(ground, rounds)


def _find(ground: Ground, rounds: int) -> Row:
    number = min(200, ground.number // 5)
    chosen = ground.files.spread(number, seed=3)
    shadow = ground.shadows.open("find", ground.base)
    ground.files.write(Path(shadow.path), chosen, next(ground.fresh))
    ground.files.write(ground.other, chosen, next(ground.fresh))
    ours, theirs = interleave(
        [
            Act(lambda: sum(1 for _ in ground.shadows.scan(shadow))),
            Act(lambda: command("git", "status", "--porcelain", cwd=ground.other)),
        ],
        rounds,
    )
    ground.shadows.discard(shadow)
    clean(ground)
    goal = 0.02 if ground.number >= 100_000 else None
    return Row(f"what changed after {number} edits", ground.number, ours, "git status", theirs, goal)


def _checkpoint(ground: Ground, rounds: int, number: int) -> Iterator[Row]:
    chosen = ground.files.spread(number, seed=4)
    shadow = ground.shadows.open(f"checkpoint-{number}", ground.base)
    upper = Path(shadow.path)
    taker = Taker(ground, shadow)

    def edit(root: Path) -> None:
        ground.files.write(root, chosen, next(ground.fresh))

    ours, least, theirs = interleave(
        [
            Act(taker.take, lambda: edit(upper)),
            Act(lambda: limit(ground, upper, chosen), lambda: edit(upper)),
            Act(lambda: add_and_commit(ground), lambda: edit(ground.other)),
        ],
        rounds,
    )
    ground.shadows.discard(shadow)
    clean(ground)
    what = f"checkpoint, {number} changed files"
    big = ground.number >= 100_000
    yield Row(what, ground.number, ours, "read them, write one file, fdatasync", least, 12 if big else None)
    yield Row(
        what,
        ground.number,
        ours,
        "git add -A; git commit",
        theirs,
        1 / FASTER_THAN_GIT[number] if big else None,
    )
    if number == HELD:
        held = statistics.median(taker.held_ms)
        yield Row(f"an agent waits for that ({HELD} files)", ground.number, held, "15 ms", 15.0, 1)


def _checkpoint_on_top(ground: Ground, rounds: int) -> Iterator[Row]:
    """One file more, where 1,000 were changed and captured before: the way it goes on in a long task."""
    number = min(1000, ground.number // 2)
    before = ground.files.spread(number, seed=5)
    shadow = ground.shadows.open("on-top", ground.base)
    upper = Path(shadow.path)
    ground.files.write(upper, before, next(ground.fresh))
    taker = Taker(ground, shadow)
    taker.take()

    def edit() -> None:
        ground.files.write(upper, before[:1], next(ground.fresh))

    ours, least = interleave(
        [Act(taker.take, edit), Act(lambda: limit(ground, upper, before[:1]), edit)], rounds
    )
    ground.shadows.discard(shadow)
    goal = 12 if ground.number >= 100_000 else None
    what = f"checkpoint, 1 changed after {number} captured"
    yield Row(what, ground.number, ours, "read it, write one file, fdatasync", least, goal)


class Taker:
    """Takes the checkpoints of one shadow as the engine does: walk, capture, commit, all of it on disk at the end.

    Attributes:
        held_ms: how long each of them needs the files of the shadow to stand still.
    """

    def __init__(self, ground: Ground, shadow: Shadow) -> None:
        self._ground = ground
        self._shadow = shadow
        self._parents: tuple[str, ...] = ()
        self._memory = CaptureMemory()
        self.held_ms: list[float] = []

    def take(self) -> str:
        """Take one and return its tree."""
        ground = self._ground
        entries = ground.shadows.scan(self._shadow)
        started = time.perf_counter()

        def note() -> None:
            self.held_ms.append((time.perf_counter() - started) * 1000)

        tree = ground.store.capture(ground.base.tree, entries, memory=self._memory, when_read=note).tree
        number = next(ground.fresh)
        self._parents = (
            ground.store.commit(tree, parents=self._parents, message="checkpoint", at=AT, ref=f"C-{number}"),
        )
        return tree


def limit(ground: Ground, upper: Path, chosen: list[int]) -> None:
    """Do the least that any checkpoint must: read the changed bytes, write them to one file, wait for the disk."""
    place = ground.state / "limit"
    with place.open("wb", buffering=1 << 20) as out:
        for at in chosen:
            out.write((upper / ground.files.paths[at]).read_bytes())
        out.flush()
        os.fdatasync(out.fileno())


def add_and_commit(ground: Ground) -> None:
    command("git", "add", "-A", cwd=ground.other)
    command("git", "commit", "-q", "-m", "checkpoint", cwd=ground.other)


def clean(ground: Ground) -> None:
    """Bring the yardsticks' working tree back."""
    command("git", "checkout", "-q", "-f", "--detach", "main", cwd=ground.other)


def _restore(ground: Ground, rounds: int) -> Iterator[Row]:
    number = min(1000, ground.number // 2)
    chosen = ground.files.spread(number, seed=6)
    trees: list[str] = []
    shadows: list[Shadow] = []

    def new_checkpoint() -> None:
        shadow = ground.shadows.open(f"restore-{next(ground.fresh)}", ground.base)
        ground.files.write(Path(shadow.path), chosen, next(ground.fresh))
        trees.append(Taker(ground, shadow).take())
        shadows.append(shadow)
        command("git", "branch", "-f", "restored", ground.head, cwd=ground.other)

    def restore() -> None:
        """Put a shadow with other work in it at the checkpoint: the old one goes, one on the checkpoint comes."""
        ground.shadows.discard(shadows.pop())
        shadows.append(open_on(ground, trees[-1]))

    def new_commit() -> None:
        ground.files.write(ground.other, chosen, next(ground.fresh))
        add_and_commit(ground)
        command("git", "tag", "-f", "restored-to", cwd=ground.other)
        command("git", "checkout", "-q", "--detach", "main", cwd=ground.other)

    def checkout() -> None:
        command("git", "checkout", "-q", "--detach", "restored-to", cwd=ground.other)

    def drop_last() -> None:
        ground.shadows.discard(shadows.pop())

    def fill() -> None:
        shadows.append(ground.shadows.open(f"drop-{next(ground.fresh)}", ground.base))
        ground.files.write(Path(shadows[-1].path), chosen, next(ground.fresh))

    ours, theirs, drop = interleave(
        [
            Act(restore, new_checkpoint, drop_last),
            Act(checkout, new_commit, lambda: clean(ground)),
            Act(drop_last, fill),
        ],
        rounds,
    )
    yield Row(
        f"restore of {number} changed paths", ground.number, ours, "git checkout of the same", theirs, 1
    )
    yield Row(f"drop a layer of {number} changed paths", ground.number, drop, "1 ms", 1.0, 1)
