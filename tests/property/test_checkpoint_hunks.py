"""Hunks: all of them are the change, none of them is nothing, and any subset is the same from either side."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint.hunks import leave_out_homeless, split_lines
from nightcrew.model.errors import UsageError
from nightcrew.model.trees import Hunk
from shadow_world import World, write_files

MARKS = [b"--- x\n", b"@@ -1 +1 @@\n", b"diff --git a b\n", b"\\ No newline\n", b"+\n", b"-\n"]
LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\r\n", b"\r\n", b"\n", b"\xff\n", *MARKS]), max_size=12)
TEXT = st.builds(lambda lines, end: b"".join(lines) + end, LINES, st.sampled_from([b"", b"end", b"\r"]))
BINARY = st.sampled_from([b"\0", b"\0\n1\n", b"\0\n2\n"])
FILE = st.tuples(st.sampled_from([0o644, 0o755]), st.one_of(TEXT, TEXT, TEXT, BINARY))
CONTENT = st.one_of(FILE, FILE, FILE, st.sampled_from(["link", "other"]))
NAMES = st.sampled_from(["a", "d/e", "d/f", "g", "n\nl", "\udcff", "@@ -1 +1 @@"])
FLAT = st.dictionaries(st.sampled_from(["d", "g", "h/x", "k"]), CONTENT, max_size=4)
DEEP = st.dictionaries(st.sampled_from(["d/e", "d/f/g", "g/a", "h/x/y", "k"]), CONTENT, max_size=5)
TREES = st.dictionaries(NAMES, CONTENT, max_size=5)


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as place:
        world = World.make(Path(place) / "w", {"x": b"x\n"})
        yield world
        world.close()


def tree_of(world: World, files) -> str:
    with tempfile.TemporaryDirectory() as place:
        write_files(Path(place), files)
        return world.tree_of_directory(Path(place))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=TREES, new=TREES, data=st.data())
def test_hunks_put_together_are_the_change(world, old, new, data):
    one, two = tree_of(world, old), tree_of(world, new)
    hunks = world.store.hunks(one, two)
    assert world.store.take_hunks(one, []) == one
    assert world.store.take_hunks(one, data.draw(st.permutations(hunks))) == two
    assert len({hunk.id for hunk in hunks}) == len(hunks)
    chosen = data.draw(st.sets(st.sampled_from(hunks))) if hunks else set()
    made = world.store.take_hunks(one, chosen)
    assert made == world.store.take_hunks(two, [turn(hunk) for hunk in hunks if hunk not in chosen])
    assert {hunk.path for hunk in world.store.hunks(one, made)} == {hunk.path for hunk in chosen}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=FLAT, new=DEEP, turned=st.booleans(), data=st.data())
def test_a_file_in_the_place_of_a_folder_goes_when_there_is_room_and_takes_nothing_with_it(
    world, old, new, turned, data
):
    one, two = tree_of(world, new if turned else old), tree_of(world, old if turned else new)
    hunks = world.store.hunks(one, two)
    assert world.store.take_hunks(one, data.draw(st.permutations(hunks))) == two
    chosen = [hunk for hunk in hunks if data.draw(st.booleans())]
    kept = leave_out_homeless(hunks, chosen)
    made = world.store.take_hunks(one, kept)
    assert {hunk.path for hunk in world.store.hunks(one, made)} == {hunk.path for hunk in kept}
    if len(kept) < len(chosen):
        with pytest.raises(UsageError, match="no room"):
            world.store.take_hunks(one, chosen)


@settings(max_examples=200, deadline=None)
@given(text=TEXT)
def test_lines_end_in_a_line_feed_and_nothing_else(text):
    lines = split_lines(text)
    assert b"".join(lines) == text
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines[:-1])
    assert b"" not in lines


def turn(hunk: Hunk) -> Hunk:
    """Return the hunk that takes this one back."""
    return Hunk(
        hunk.id,
        hunk.path,
        hunk.kind,
        old_mode=hunk.new_mode,
        new_mode=hunk.old_mode,
        old_id=hunk.new_id,
        new_id=hunk.old_id,
        old_start=hunk.new_start,
        new_start=hunk.old_start,
        removed=hunk.added,
        added=hunk.removed,
    )
