"""Rows: promotion into the user's repository, and the way back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ground import ENV, Ground, command
from rows import Act, Row, interleave

from nightcrew.host import repository as host_repository
from nightcrew.host.clock import SystemClock
from nightcrew.host.renames import sync_file_system
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.promoter import Promoter


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    for number in (10, 1000):
        yield from _land(ground, rounds, min(number, ground.number // 2))


def _land(ground: Ground, rounds: int, number: int) -> Iterator[Row]:
    chosen = ground.files.spread(number, seed=9)
    shadow = ground.shadows.open(f"land-{number}", ground.base)
    mark = next(ground.fresh)
    ground.files.write(Path(shadow.path), chosen, mark)
    contents = {ground.other / ground.files.paths[at]: ground.files.content(at, mark) for at in chosen}
    tree = ground.store.capture(ground.base.tree, ground.shadows.scan(shadow)).tree
    ground.shadows.discard(shadow)
    patch = ground.state / "patch"
    patch.write_bytes(ground.store.patch(ground.base.tree, tree))
    published: list[Prepared] = []

    def promoter() -> Promoter:
        return Promoter(
            host_repository.discover(ground.repository, ENV),
            store_git_dir=str(ground.store.path),
            # As in the product, where shadows and promotions keep in mind together which parts of the disk were emptied.
            state_dir=ground.state,
            env=ENV,
            clock=SystemClock(),
        )

    def promote() -> None:
        mine = promoter()
        name = f"M-{next(ground.fresh)}"
        published.append(mine.prepare(name, base_commit=ground.head, tree=tree, message="work"))
        mine.publish(published[-1])

    def undo() -> None:
        mine = promoter()
        back = mine.undo(record_of(published.pop()), id=f"M-{next(ground.fresh)}", message="undo")
        mine.publish(back)

    def apply(*more: str) -> None:
        command("git", "apply", *more, str(patch), cwd=ground.other)

    def commit() -> None:
        """Do what a promotion does beside the files: the index, a commit, the branch."""
        command("git", "apply", "--index", str(patch), cwd=ground.other)
        command("git", "commit", "-q", "-m", "work", cwd=ground.other)

    def back() -> None:
        command("git", "checkout", "-q", "-f", "--detach", "main", cwd=ground.other)

    acts = [Act(promote), Act(apply), Act(undo), Act(lambda: apply("-R"))]
    others = [Act(commit, back, back), Act(lambda: write_anew(ground.other, contents), back, back)]
    promoted, applied, undone, taken_back, committed, anew = interleave([*acts, *others], rounds)
    _see_that_it_is_back(ground)
    goal = 1.5 if ground.number >= 100_000 and number == 1000 else None
    for against, took, most in (
        ("git apply (no fsync, not atomic)", applied, goal),
        ("git apply --index; git commit", committed, None),
        ("write, syncfs, rename; no more", anew, None),
    ):
        yield Row(f"promotion of {number} paths", ground.number, promoted, against, took, most)
    yield Row(f"undo of {number} paths", ground.number, undone, "git apply -R", taken_back, goal)


def write_anew(tree: Path, contents: Mapping[Path, bytes]) -> None:
    """Do nothing but what no promotion can leave out: the files beside, on the disk, in their places."""
    aside = tree / ".anew"
    aside.mkdir()
    for at, content in enumerate(contents.values()):
        (aside / str(at)).write_bytes(content)
    fd = os.open(aside, os.O_RDONLY)
    sync_file_system(fd)
    os.close(fd)
    for at, place in enumerate(contents):
        (aside / str(at)).rename(place)
    aside.rmdir()


def _see_that_it_is_back(ground: Ground) -> None:
    changed = command("git", "status", "--porcelain", cwd=ground.repository)
    if changed or command("git", "rev-parse", "HEAD", cwd=ground.repository) != ground.head:
        raise SystemExit("undo did not bring the repository back")


def record_of(prepared: Prepared) -> PromotionRecord:
    """Return what the journal would hold of a published promotion."""
    return PromotionRecord(
        id=prepared.id,
        run="R-1",
        state="published",
        tasks=(),
        branch=prepared.branch,
        old_commit=prepared.old_commit,
        new_commit=prepared.new_commit,
        tree=prepared.tree,
        paths=prepared.paths,
        actor="bench",
        created_at="",
        transaction=prepared.transaction,
        undo_of=prepared.undo_of,
    )
