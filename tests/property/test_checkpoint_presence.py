"""What was accepted is in the composed tree, hunk by hunk; what is taken out of it again is named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from shadow_world import World, write_files

BASE = {
    "a": b"".join(b"a%d\n" % n for n in range(12)),
    "d/b": b"one\ntwo\nthree\nfour\nfive\n",
    "bin": b"\0\1",
}
PATHS = st.sampled_from([*BASE, "new", "d/new"])
EDIT = st.one_of(
    st.tuples(
        st.just("insert"), PATHS, st.integers(0, 12), st.sampled_from([b"x\n", b"\n", b"a3\n", b"two\n"])
    ),
    st.tuples(st.just("cut"), PATHS, st.integers(0, 12), st.integers(1, 3)),
    st.tuples(st.just("replace"), PATHS, st.integers(0, 12), st.sampled_from([b"y\n", b"z\r\n"])),
    st.tuples(st.just("delete"), PATHS, st.just(0), st.just(0)),
    st.tuples(st.just("chmod"), PATHS, st.just(0), st.just(0)),
    st.tuples(st.just("move"), PATHS, st.just(0), st.sampled_from(["e/moved", "m"])),
)
TASKS = st.lists(st.tuples(st.booleans(), st.lists(EDIT, max_size=4)), min_size=1, max_size=4)
Files = dict[str, tuple[int, bytes]]


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as place:
        world = World.make(Path(place) / "w", BASE)
        yield world
        world.close()


def edited(files: Files, edits) -> Files:
    files = dict(files)
    for what, path, at, with_ in edits:
        mode, data = files.get(path, (0o644, b""))
        lines = data.splitlines(keepends=True)
        if what == "insert":
            files[path] = mode, b"".join([*lines[:at], with_, *lines[at:]])
        elif path in files and what == "move":
            files[with_] = files.pop(path)
        elif path in files and what == "delete":
            del files[path]
        elif path in files and what == "chmod":
            files[path] = mode ^ 0o111, data
        elif path in files and what == "cut":
            files[path] = mode, b"".join([*lines[:at], *lines[at + with_ :]])
        elif path in files and what == "replace" and at < len(lines):
            files[path] = mode, b"".join([*lines[:at], with_, *lines[at + 1 :]])
    return files


def tree_of(world: World, files: Files) -> str:
    with tempfile.TemporaryDirectory() as place:
        write_files(Path(place), files)
        return world.tree_of_directory(Path(place))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=TASKS, data=st.data())
def test_nothing_that_was_merged_is_missing_and_what_is_taken_out_is(world, tasks, data):
    first: Files = {name: (0o644, content) for name, content in BASE.items()}
    base, parts = tree_of(world, first), []
    files, tree = first, base
    for number, (builds_on_all, edits) in enumerate(tasks):
        # Either on everything before it, or next to it on the base.
        start, before = (tree, files) if builds_on_all and files is not None else (base, first)
        after = edited(before, edits)
        part = (f"T{number}", start, tree_of(world, after))
        composed = world.store.compose(base, [*parts, part])
        if composed.conflicts:
            continue
        parts.append(part)
        tree = composed.tree
        files = after if start == tree or part[2] == tree else None
    assert world.store.missing(parts, tree) == ()
    for name, start, end in parts[-1:]:
        hunks = world.store.hunks(start, end)
        if hunks and tree == end:
            out = data.draw(st.sampled_from(hunks))
            less = world.store.take_hunks(start, [hunk for hunk in hunks if hunk != out])
            assert out in [each.hunk for each in world.store.missing(parts, less) if each.part == name]


def test_a_new_name_and_another_ones_lines_are_both_there(world):
    first: Files = {name: (0o644, content) for name, content in BASE.items()}
    base = tree_of(world, first)
    lined = tree_of(world, edited(first, [("insert", "a", 0, b"x\n"), ("chmod", "a", 0, 0)]))
    renamed = edited(first, [("replace", "a", 9, b"y\n"), ("move", "a", 0, "e/moved")])
    parts = [("T0", base, lined), ("T1", base, tree_of(world, renamed))]
    tree = world.store.compose(base, parts).tree
    assert world.store.read(tree, "e/moved") == b"x\n" + renamed["e/moved"][1]
    assert world.store.missing(parts, tree) == ()
    # The line that was changed on the way to the new name is the task's own.
    lost = tree_of(
        world, edited(first, [("insert", "a", 0, b"x\n"), ("chmod", "a", 0, 0), ("move", "a", 0, "e/moved")])
    )
    assert [(each.part, each.hunk.path) for each in world.store.missing(parts, lost)] == [("T1", "e/moved")]
