"""Kill -9 at every named point of every way a promotion can go: exactly old or exactly new, and the record can tell which."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote.commits import Step
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.target import Target
from promote_fork import die_at
from promote_world import Content, World, record_of

LINES = b"".join(b"%d\n" % n for n in range(1, 10))
FILES: Content = {"a.txt": LINES, "dir/b.txt": b"b\n", "c": b"c\n", "mine": b"m"}
FIRST: Content = {"a.txt": LINES.replace(b"1\n", b"one\n", 1), "new/x": b"x"}
SECOND: Content = {**FIRST, "dir/b.txt": None, "c": ("100755", b"c\n")}

BEFORE = ("promote.staged", "promote.planned", "promote.committed")
AFTER = ("promote.ref", "promote.done")
IN_FILES = ("promote.path", "promote.checked", "promote.index")


def prepare(world: World, target: Target, base: str = "HEAD") -> Prepared:
    commit = world.git("rev-parse", base)
    steps = tuple(
        Step(world.tree(change, commit), f"step\n\nN: {n}\n") for n, change in enumerate((FIRST, SECOND))
    )
    return world.promoter().prepare("M-1", base_commit=commit, steps=steps, target=target)


def undo(world: World, target: Target, times: int = 1) -> Prepared:
    last = prepare(world, target)
    for number in range(2, 2 + times):
        world.promoter().publish(last)
        last = world.promoter().undo(record_of(last), id=f"M-{number}", message="back")
    return last


def moved_on(world: World) -> Prepared:
    base = world.git("rev-parse", "HEAD")
    world.write({"later": b"l"})
    world.git("add", "later")
    world.git("commit", "-qm", "later")
    return prepare(world, Target(join="merge"), base)


def edited(world: World) -> Prepared:
    world.write({"a.txt": LINES.replace(b"9\n", b"mine\n")})
    return prepare(world, Target())


def edited_back(world: World) -> Prepared:
    first = edited(world)
    world.promoter().publish(first)
    return world.promoter().undo(record_of(first), id="M-2", message="back")


WAYS: dict[str, Callable[[World], Prepared]] = {
    "several commits": lambda world: prepare(world, Target()),
    "merge": moved_on,
    "with the user's edits": edited,
    "with the user's edits, back": edited_back,
    "another branch": lambda world: prepare(world, Target("branch", "other")),
    "another branch, back": lambda world: undo(world, Target("branch", "other")),
    "new branch": lambda world: prepare(world, Target("new", "night")),
    "new branch, back": lambda world: undo(world, Target("new", "night")),
    "new branch, again": lambda world: undo(world, Target("new", "night"), times=2),
}


def states(world: World) -> dict[str, object]:
    return {**world.snapshot(), "branches": world.git("for-each-ref", "refs/heads")}


@pytest.mark.parametrize("way", WAYS)
def test_killed_at_every_point(tmp_path: Path, way: str) -> None:
    world = World.make(tmp_path / "w", FILES)
    world.git("branch", "other")
    world.write({"mine": b"edited", "wip": b"untracked"})
    prepared = WAYS[way](world)
    old = states(world)
    pristine = tmp_path / "pristine"
    shutil.copytree(world.root, pristine, symlinks=True)
    world.promoter().publish(prepared)
    new = states(world)
    assert old != new
    points = [*BEFORE, *(IN_FILES if prepared.place == "here" else ()), *AFTER]
    for point in points:
        shutil.rmtree(world.root)
        shutil.copytree(pristine, world.root, symlinks=True)
        assert die_at(point, lambda: world.promoter().publish(prepared)), point
        # Recovery is killed too, where it takes something back; the next one brings it to its end.
        killed = die_at("promote.unmarked", lambda: world.promoter().recover())
        world.promoter().recover()
        assert world.promoter().recover() == ()
        assert killed == (point not in AFTER), point
        published = point in AFTER
        assert states(world) == (new if published else old), point
        outcome = world.promoter().outcome(prepared.transaction)
        assert outcome == ("published" if published else "aborted"), point
        if not published:
            world.promoter().publish(prepared)
            assert states(world) == new, point
    world.git("fsck", "--no-dangling")
