"""Parts that edit the same files: composition, rollback, forecast and the look for lost hunks, against ``git merge-file``.

The model is one dictionary of plain files per tree; a part is put on top path by path.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.trees import Entry
from shadow_world import World

Files = dict[str, bytes]

LINES = 24
PATHS = ("a", "b c", "d/a", "d/ï", "n\nl", "late")
AT_START = PATHS[:5]
EDITS = st.dictionaries(st.integers(0, LINES - 1), st.sampled_from(["", "x", "y\nz"]), max_size=3)
CHANGES = st.dictionaries(st.sampled_from(PATHS), st.one_of(EDITS, EDITS, EDITS, st.none()), max_size=4)


def text(path: str, edits: dict[int, str]) -> bytes:
    """Return lines that no other path has (so that nothing looks like a rename), some of them edited."""
    rows = [
        f"{path!r} {n}" if n not in edits else f"{path!r} {n} {edits[n]}" if edits[n] else None
        for n in range(LINES)
    ]
    return "\n".join(row for row in rows if row is not None).encode() + b"\n"


START: Files = {path: text(path, {}) for path in AT_START}


class Model:
    """The store with what it says, and dictionaries of files with what must come out."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.base = world.store.tree_of(world.repository.head)

    def capture(self, files: Files) -> str:
        """Return the tree of some files."""
        with tempfile.TemporaryDirectory() as place:
            entries = [Entry(path, "deleted") for path in START if path not in files]
            for number, (path, content) in enumerate(files.items()):
                source = Path(place) / str(number)
                source.write_bytes(content)
                entries.append(Entry(path, "file", str(source), 0o100644))
            return self.world.store.capture(self.base, entries).tree

    def merge(self, base: Files, ours: Files, theirs: Files) -> tuple[Files, set[str]]:
        """Return the merged files and the paths that collide."""
        merged: Files = {}
        collisions = set()
        for path in {*base, *ours, *theirs}:
            content, clean = self.merge_file(base.get(path), ours.get(path), theirs.get(path))
            if not clean:
                collisions.add(path)
            elif content is not None:
                merged[path] = content
        return merged, collisions

    def merge_file(
        self, base: bytes | None, ours: bytes | None, theirs: bytes | None
    ) -> tuple[bytes | None, bool]:
        if ours in (base, theirs):
            return theirs, True
        if theirs == base:
            return ours, True
        if ours is None or theirs is None:
            return None, False
        places = [self.world.root / name for name in ("ours", "base", "theirs")]
        for place, content in zip(places, (ours, base or b"", theirs), strict=True):
            place.write_bytes(content)
        argv = ["git", "merge-file", "-p", *map(str, places)]
        done = subprocess.run(argv, env=self.world.env, capture_output=True, check=False)
        return done.stdout, done.returncode == 0

    def compose(self, parts: list[tuple[str, Files]]) -> tuple[Files, dict[str, set[str]]]:
        """Put parts on top of each other; one that collides is left out and told with its paths."""
        files, conflicts = START, {}
        for name, end in parts:
            merged, collisions = self.merge(START, files, end)
            if collisions:
                conflicts[name] = collisions
            else:
                files = merged
        return files, conflicts


@pytest.fixture(scope="module")
def model():
    with tempfile.TemporaryDirectory() as place:
        world = World.make(Path(place) / "w", START)
        yield Model(world)
        world.close()


def end_of(changes: dict[str, dict[int, str] | None]) -> Files:
    files: dict[str, bytes | None] = START | {
        path: None if edits is None else text(path, edits) for path, edits in changes.items()
    }
    return {path: content for path, content in files.items() if content is not None}


FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(changes=st.lists(CHANGES, min_size=2, max_size=4), dropped=st.integers(0, 3))
def test_parts_in_order_are_what_merging_file_by_file_gives(model, changes, dropped):
    ends = [(f"T{number}", end_of(each)) for number, each in enumerate(changes)]
    parts = [(name, model.base, model.capture(end)) for name, end in ends]
    check_composition(model, parts, ends)
    # Taking one of them back is putting together the others.
    left = [n for n in range(len(ends)) if n != dropped]
    check_composition(model, [parts[n] for n in left], [ends[n] for n in left])


def check_composition(model, parts, ends):
    store = model.world.store
    composed = store.compose(model.base, parts)
    files, conflicts = model.compose(ends)
    assert {c.part: set(c.paths) for c in composed.conflicts} == conflicts
    for conflict in composed.conflicts:
        assert conflict.part not in conflict.others
    if not conflicts:
        assert composed.tree == model.capture(files)
        assert store.missing(parts, composed.tree) == ()


@FEW
@given(one=CHANGES, other=CHANGES)
def test_a_forecast_tells_what_composing_will_find(model, one, other):
    ends = [("T1", end_of(one)), ("T2", end_of(other))]
    parts = [(name, model.base, model.capture(end)) for name, end in ends]
    told = model.world.store.forecast(model.base, *parts)
    _, conflicts = model.compose(ends)
    assert {c.part: set(c.paths) for c in told} == conflicts


@FEW
@given(changes=CHANGES, data=st.data())
def test_a_hunk_that_is_not_in_the_tree_is_missed_by_name(model, changes, data):
    store = model.world.store
    part = ("T1", model.base, model.capture(end_of(changes)))
    hunks = store.hunks(model.base, part[2])
    kept = [hunk for hunk in hunks if data.draw(st.booleans())]
    tree = store.take_hunks(model.base, kept)
    assert {each.hunk.id for each in store.missing([part], tree)} == {h.id for h in hunks} - {
        h.id for h in kept
    }
    # What is left out can be put on later, and then everything is there.
    rest = store.hunks(tree, part[2])
    assert store.take_hunks(tree, rest) == part[2]
