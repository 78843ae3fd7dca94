"""A hunk that got lost between acceptance and what lands stops it, unless a person let it go by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.errors import StaleError
from nightcrew.model.records import RunRecord
from nightcrew.model.trees import Entry
from nightcrew.runtime.results.composing import check_landed, compose
from shadow_world import World, write_files

LINES = [b"%d\n" % n for n in range(20)]


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, {"a": b"".join(LINES), "b": b"b\n"})
    yield world
    world.close()


def change(world: World, tree: str, **files: bytes) -> str:
    place = world.root / f"files-{len(list(world.root.iterdir()))}"
    write_files(place, files)
    return world.store.capture(
        tree, [Entry(name, "file", str(place / name), 0o100644) for name in files]
    ).tree


def run_of(world: World, base: str) -> RunRecord:
    return RunRecord(
        "R-1", "in_review", "t", str(world.repo), "k", world.repository.head, base, 1, "d", "p", "me", ""
    )


def test_every_accepted_hunk_is_in_what_lands_or_was_let_go_by_name(world):
    base = world.store.tree_of(world.repository.head)
    first = change(world, base, a=b"".join([b"top\n", *LINES]), b=b"B\n")
    second = change(world, base, a=b"".join([*LINES, b"end\n"]))
    pieces = [("T01", base, first), ("T02", base, second)]
    run = run_of(world, base)
    tree = compose(world.store, run, pieces)
    assert world.store.read(tree, "a") == b"".join([b"top\n", *LINES, b"end\n"])
    # Somebody's merge gives a tree without one line of the first task, and without a conflict.
    lost = change(world, tree, a=b"".join([*LINES, b"end\n"]))
    with pytest.raises(StaleError) as caught:
        check_landed(world.store, run, pieces, lost)
    [hunk] = [hunk for hunk in world.store.hunks(base, first) if hunk.added == b"top\n"]
    assert (caught.value.code, caught.value.where) == ("promote.missing", (f"T01: {hunk.id} a",))
    check_landed(world.store, run, pieces, lost, waived=[hunk.id])
    check_landed(world.store, run, pieces, lost, waived=["T01"])
    check_landed(world.store, run, pieces, lost, only=["T02"])
    # A later task that started on it and changed it is what was accepted.
    third = change(world, tree, a=b"".join([b"other\n", *LINES, b"end\n"]))
    check_landed(world.store, run, [*pieces, ("T03", tree, third)], third)


def test_a_new_empty_file_is_not_lost_when_another_task_fills_it(world):
    base = world.store.tree_of(world.repository.head)
    empty, full = change(world, base, new=b""), change(world, base, new=b"import os\n")
    tree = compose(world.store, run_of(world, base), [("T01", base, empty), ("T02", base, full)])
    assert world.store.read(tree, "new") == b"import os\n"


def test_two_tasks_that_will_collide_are_told_before_they_are_done(world):
    base = world.store.tree_of(world.repository.head)
    one, two = change(world, base, b=b"one\n"), change(world, base, b=b"two\n")
    [conflict] = world.store.forecast(base, ("T01", base, one), ("T02", base, two))
    assert (conflict.part, conflict.others, conflict.paths) == ("T02", ("T01",), ("b",))
    apart = change(world, base, a=b"".join([*LINES, b"end\n"]))
    assert world.store.forecast(base, ("T01", base, one), ("T02", base, apart)) == ()
    # What one of them stands on is not a collision.
    on_one = change(world, one, b=b"one\nmore\n")
    assert (
        world.store.forecast(base, ("T03", one, on_one), ("T02", base, apart), below=[("T01", base, one)])
        == ()
    )
