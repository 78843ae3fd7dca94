"""Putting parts together: disjoint changes are all there, the same change twice is there once, others are named."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

import shadow_operations
from nightcrew.model.trees import Entry
from shadow_world import World, read_files, write_files

TEXTS = st.sampled_from(["", "1\n", "2\n", "line\n" * 20, "\0\udcff"])
NAMES = st.sampled_from(["a", "b", "d/e", "d/f", "g/h/i", "n\nl", "\udcff"])
CHANGES = st.dictionaries(NAMES, st.one_of(st.none(), TEXTS), max_size=6)


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as place:
        files = {f"{part}/{name}": b"first\n" for part in "xyz" for name in ("a", "d/e", "g/h/i")}
        world = World.make(Path(place) / "w", files)
        yield world
        world.close()


def change(world: World, tree: str, changes: dict[str, str | None]) -> str:
    """Return a tree with files written or (None) deleted."""
    with tempfile.TemporaryDirectory() as place:
        entries = []
        for number, (path, text) in enumerate(changes.items()):
            if text is None:
                entries.append(Entry(path, "deleted"))
                continue
            source = Path(place) / str(number)
            source.write_bytes(text.encode("utf-8", "surrogateescape"))
            entries.append(Entry(path, "file", str(source), 0o100644))
        return world.store.capture(tree, entries).tree


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.tuples(CHANGES, CHANGES, CHANGES), order=st.permutations([0, 1, 2]))
def test_disjoint_changes_are_all_applied_in_any_order(world, changes, order):
    base = world.store.tree_of(world.repository.head)
    mine = [
        {f"{part}/{name}": text for name, text in c.items()} for part, c in zip("xyz", changes, strict=True)
    ]
    parts = [(f"T{n}", base, change(world, base, mine[n])) for n in order]
    composed = world.store.compose(base, parts)
    assert composed.conflicts == ()
    assert composed.tree == change(world, base, mine[0] | mine[1] | mine[2])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shared=CHANGES, own=CHANGES)
def test_the_same_change_on_both_sides_is_no_conflict(world, shared, own):
    base = world.store.tree_of(world.repository.head)
    shared = {f"x/{name}": text for name, text in shared.items()}
    own = {f"y/{name}": text for name, text in own.items()}
    one, two = change(world, base, shared), change(world, base, shared | own)
    composed = world.store.compose(base, [("T1", base, one), ("T2", base, two)])
    assert (composed.tree, composed.conflicts) == (two, ())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=CHANGES, then=CHANGES)
def test_delta_applied_to_an_export_gives_the_files_of_the_tree(world, first, then):
    base = world.store.tree_of(world.repository.head)
    old = change(world, base, {f"x/{name}": text for name, text in first.items()})
    new = change(world, base, {f"x/{name}": text for name, text in then.items()})
    with tempfile.TemporaryDirectory() as place:
        model = Path(place)
        for entry in world.store.delta("4b825dc642cb6eb9a060e54bf8d69288fbee4904", old):
            write_files(
                model, {entry.path: (0o755 if entry.mode == 0o100755 else 0o644, entry.open().read())}
            )
        for entry in world.store.delta(old, new):
            if entry.mode == 0:
                shadow_operations.remove(str(model), entry.path)
            else:
                shadow_operations.apply(str(model), [("remove", entry.path)])
                write_files(model, {entry.path: entry.open().read()})
        assert world.tree_of_directory(model) == new
        assert read_files(model).keys() == {
            e.path for e in world.store.delta("4b825dc642cb6eb9a060e54bf8d69288fbee4904", new)
        }
