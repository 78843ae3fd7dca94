"""Whatever is done inside a shadow, the captured tree is the one git itself makes of the same files."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

import shadow_operations
from nightcrew.checkpoint.memory import CaptureMemory
from shadow_world import World, needs_overlay, read_files, write_files

# Few names, so that operations meet; odd ones, because file names are bytes.
NAMES = st.sampled_from(
    ["a", "b", "c.o", "-x", "d e", "n\nl", "\udcff", ".gitignore", "é", "build", ":(top)"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TEXTS = st.sampled_from(["", "1\n", "2\n", "*\n", "*.o\nbuild/\n", "\0binary\udcfe", "long\n" * 50])
MODES = st.sampled_from([0o644, 0o755, 0o600])
TARGETS = st.sampled_from(["a", "../b", "/etc/passwd", "nowhere\udcff"])
OPERATION = st.one_of(
    st.tuples(st.just("write"), PATHS, TEXTS, MODES),
    st.tuples(st.just("link"), PATHS, TARGETS),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("make"), PATHS),
    st.tuples(st.just("mode"), PATHS, MODES),
    st.tuples(st.just("touch"), PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("forge"), PATHS, st.sampled_from("xyz")),
    st.tuples(st.just("twin"), PATHS, PATHS),
)
OPERATIONS = st.lists(OPERATION, max_size=14)


def build(root: Path, first: list[tuple[object, ...]]) -> World:
    world = World.make(root, {"always": b"here\n"})
    shadow_operations.apply(str(world.repo), first)
    world.commit("random")
    return world


@pytest.mark.parametrize("mode", ["overlay", "copy"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=OPERATIONS, work=OPERATIONS, more=OPERATIONS)
def test_captured_tree_is_what_git_would_store(mode, first, work, more):
    needs_overlay(mode)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        world = build(root / "w", first)
        shadows = world.shadows(mode)
        base = shadows.export(world.repository.head)
        model = root / "model"
        model.mkdir()
        write_files(model, read_files(Path(base.lowers[0])))

        shadow = shadows.open("one", base)
        world.operate(shadows, shadow, work)
        shadow_operations.apply(str(model), work)
        captured = world.capture(shadows, shadow)
        assert captured.refused == ()
        assert captured.tree == world.tree_of_directory(model)

        # The same shadow goes on: mounted again, captured again.
        world.operate(shadows, shadow, more)
        shadow_operations.apply(str(model), more)
        second = world.capture(shadows, shadow)
        assert second.tree == world.tree_of_directory(model)
        world.close()


@pytest.mark.parametrize("mode", ["overlay", "copy"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=OPERATIONS, steps=st.lists(st.tuples(OPERATIONS, st.booleans()), min_size=2, max_size=4))
def test_a_capture_built_on_the_last_one_is_the_one_from_scratch(mode, first, steps):
    needs_overlay(mode)
    with tempfile.TemporaryDirectory() as place:
        world = build(Path(place) / "w", first)
        shadows = world.shadows(mode)
        shadow = shadows.open("one", shadows.export(world.repository.head))
        memory, tree = CaptureMemory(), shadow.base.tree
        for operations, settled in steps:
            world.operate(shadows, shadow, operations)
            # Once files are older than two ticks of the clock, what is known of them is believed.
            time.sleep(0.03 if settled else 0)
            built = world.store.capture(tree, shadows.scan(shadow), memory=memory)
            again = world.store.capture(tree, shadows.scan(shadow), memory=memory)
            assert built.tree == again.tree == world.capture(world.shadows(mode), shadow).tree
        world.close()


@pytest.mark.parametrize("mode", ["overlay", "copy"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=OPERATIONS, work=OPERATIONS, more=OPERATIONS)
def test_delta_as_a_layer_gives_the_same_files(mode, first, work, more):
    needs_overlay(mode)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        world = build(root / "w", first)
        shadows = world.shadows(mode)
        base = shadows.export(world.repository.head)
        model = root / "model"
        model.mkdir()
        write_files(model, read_files(Path(base.lowers[0])))
        shadow_operations.apply(str(model), work)
        tree = world.tree_of_directory(model)

        shadow = shadows.open("two", base, world.store.delta(base.tree, tree))
        inside = world.run(
            shadows,
            shadow,
            "git status --porcelain 2>/dev/null && git write-tree && git rev-parse HEAD^{tree}",
        )
        assert inside.split() == [tree, tree]
        assert list(shadows.scan(shadow)) == []

        # Every file as it looks inside, content, mode and kind, goes through the shadow's own git.
        listed = world.run(shadows, shadow, "git add -A -f 2>/dev/null && git write-tree")
        assert listed.split() == [tree]
        world.operate(shadows, shadow, more)
        write_fresh(model, world, tree)
        shadow_operations.apply(str(model), more)
        assert world.capture(shadows, shadow, tree).tree == world.tree_of_directory(model)
        world.close()


def write_fresh(model: Path, world: World, tree: str) -> None:
    """Give the model exactly the files of a tree, without the empty directories that git does not know."""
    files = read_files(model)
    for path in sorted(model.iterdir()):
        shadow_operations.remove(str(model), path.name)
    write_files(model, files)
    assert world.tree_of_directory(model) == tree
