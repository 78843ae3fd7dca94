"""Rows: the export of a base commit, opening a shadow, dropping one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ground import NEXT_FILES, Ground, command
from rows import Act, Row, disk_kib, interleave

from nightcrew.shadow.shadows import Shadow

DELTA_FILES = 100
"""What the tasks before have changed, where a task depends on others."""


def measure_exports(ground: Ground, rounds: int) -> Iterator[Row]:
    """A base commit seen for the first time, and one a little newer."""
    ours, theirs = interleave([_export_first(ground), _add_worktree(ground)], rounds)
    ground.worktree_ms = theirs
    yield Row("first export of a base commit", ground.number, ours, "git worktree add", theirs, 1.2)
    yield _newer_base(ground, rounds)


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    """A shadow on a base that was exported, and one that starts on the results of other tasks."""
    if not ground.worktree_ms:
        (ground.worktree_ms,) = interleave([_add_worktree(ground)], 1)
    yield from _open(ground, rounds, ground.worktree_ms)
    yield from _open_dependent(ground, rounds, ground.worktree_ms)


def _export_first(ground: Ground) -> Act:
    states: list[Path] = []

    def export() -> None:
        states.append(ground.place / f"first-{ground.state.name}-{next(ground.fresh)}")
        states[-1].mkdir()
        ground.new_shadows(states[-1]).export(ground.head)

    return Act(export, tidy=lambda: shutil.rmtree(states.pop()))


def _add_worktree(ground: Ground) -> Act:
    trees: list[Path] = []

    def add() -> None:
        trees.append(ground.place / f"tree-{ground.state.name}-{next(ground.fresh)}")
        command("git", "worktree", "add", "-q", "--detach", str(trees[-1]), "main", cwd=ground.repository)

    def remove() -> None:
        shutil.rmtree(trees.pop())
        command("git", "worktree", "prune", cwd=ground.repository)

    return Act(add, tidy=remove)


def _newer_base(ground: Ground, rounds: int) -> Row:
    """The older export is there; beside it git moves a working tree by the same 200 files."""
    states = (ground.place / f"newer-{ground.state.name}-{number}" for number in ground.fresh)
    ground.base  # noqa: B018  (exported before the clock starts)
    made: list[Path] = []

    def give_old() -> None:
        # Only the newer export may be new; the older one is there by renaming, which costs nothing.
        made.append(next(states))
        made[-1].mkdir()
        (ground.state / "bases").rename(made[-1] / "bases")

    def take_back() -> None:
        for left in (made[-1] / "bases").glob("*"):
            if ground.head not in left.name:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        (made[-1] / "bases").rename(ground.state / "bases")
        shutil.rmtree(made.pop())

    def switch(to: str) -> None:
        command("git", "checkout", "-q", "--detach", to, cwd=ground.other)

    ours, theirs = interleave(
        [
            Act(lambda: ground.new_shadows(made[-1]).export(ground.later), give_old, take_back),
            Act(lambda: switch(ground.later), tidy=lambda: switch(ground.head)),
        ],
        rounds,
    )
    return Row(
        f"export of a base {NEXT_FILES} files newer",
        ground.number,
        ours,
        "git checkout of the same",
        theirs,
        1.5,
    )


def _open(ground: Ground, rounds: int, worktree: float) -> Iterator[Row]:
    opened: list[Shadow] = []

    def open_one() -> None:
        opened.append(ground.shadows.open(f"open-{next(ground.fresh)}", ground.base))

    def open_and_run() -> None:
        open_one()
        ground.confined(["/bin/true"], opened[-1])

    kib = [0.0]

    def discard() -> None:
        kib.append(disk_kib(Path(opened[-1].directory)))
        ground.shadows.discard(opened.pop())

    bare, run = interleave([Act(open_one, tidy=discard), Act(open_and_run, tidy=discard)], rounds)
    hundred = 0.01 if ground.number >= 100_000 else None
    yield Row("open a shadow", ground.number, bare, "git worktree add", worktree, hundred)
    yield Row("open a shadow", ground.number, bare, "30 ms (idle machine)", 30.0, 1)
    yield Row("open a shadow and run `true` in it", ground.number, run, "git worktree add", worktree, hundred)
    yield Row(
        "disk of an open shadow",
        ground.number,
        kib[-1],
        "a working tree's",
        disk_kib(ground.other),
        0.001 if ground.number >= 100_000 else None,
        "KiB",
    )


def _open_dependent(ground: Ground, rounds: int, worktree: float) -> Iterator[Row]:
    """A task that starts on the result of others; then the same start once more (acceptance, a retry)."""
    opened: list[Shadow] = []
    trees: list[str] = []
    chosen = ground.files.spread(DELTA_FILES, seed=2)

    def new_result() -> None:
        shadow = ground.shadows.open(f"result-{next(ground.fresh)}", ground.base)
        ground.files.write(Path(shadow.path), chosen, next(ground.fresh))
        trees.append(ground.store.capture(ground.base.tree, ground.shadows.scan(shadow)).tree)
        ground.shadows.discard(shadow)

    def start() -> None:
        opened.append(open_on(ground, trees[-1]))

    def discard() -> None:
        ground.shadows.discard(opened.pop())

    first, again = interleave([Act(start, new_result, discard), Act(start, tidy=discard)], rounds)
    goal = 0.01 if ground.number >= 100_000 else None
    what = f"open on a result of {DELTA_FILES} files"
    yield Row(what, ground.number, first, "git worktree add", worktree, goal)
    yield Row(f"{what}, the second time", ground.number, again, "git worktree add", worktree, goal)


def open_on(ground: Ground, tree: str) -> Shadow:
    """Open a shadow that starts from ``tree``."""
    delta = ground.store.delta(ground.base.tree, tree)
    return ground.shadows.open(f"on-{next(ground.fresh)}", ground.base, delta, tree=tree)
