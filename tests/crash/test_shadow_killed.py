"""Kill -9 while a base is exported, a shadow opened or a capture stored: the next process finds all of it or nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint.compaction import compact
from nightcrew.model.trees import Entry
from nightcrew.shadow.layering import Layering
from shadow_world import World, snapshot, write_files

VICTIM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shadow_world import World
from nightcrew.host import crash
from nightcrew.checkpoint.compaction import compact
from nightcrew.model.trees import Entry
world = World(Path(sys.argv[2]))
crash.arm(sys.argv[3])
shadows = world.shadows("copy")
base = shadows.export(world.repository.head)
shadow = shadows.open("one", base)
Path(shadow.path, "new").write_bytes(b"new")
world.capture(shadows, shadow)
print("alive")
"""
FILES = {f"d{n}/f{n}": b"%d" % n for n in range(20)}


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


def kill_at(world: World, point: str) -> None:
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", VICTIM, here, str(world.root), point], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


@pytest.mark.parametrize(
    "point",
    ["shadow.export_publish", "shadow.open_publish", "checkpoint.publish", "checkpoint.half_published"],
)
def test_killed_and_started_again(world, point):
    before = snapshot(world.repo)
    kill_at(world, point)
    assert snapshot(world.repo) == before

    shadows = world.shadows("copy")
    shadows.sweep()
    left = shadows.reopen("one")
    assert (left is not None) == point.startswith("checkpoint")
    if left is not None:
        shadows.discard(left)
    shadows.finish()
    for place in ("bases", "shadows"):
        names = os.listdir(world.state / place) if (world.state / place).exists() else []
        assert not [name for name in names if name.startswith(".")]

    shadow = shadows.open("one", shadows.export(world.repository.head))
    write_files(Path(shadow.path), {"new": b"new"})
    captured = world.capture(shadows, shadow)
    assert world.store.read(captured.tree, "new") == b"new"
    assert world.store.read(captured.tree, "d7/f7") == b"7"
    world.git("--git-dir", str(world.store.path), "fsck", "--strict")


def test_capture_that_was_killed_shows_nothing(world):
    base = world.store.tree_of(world.repository.head)
    kill_at(world, "checkpoint.publish")
    listed = world.git("--git-dir", str(world.store.path), "cat-file", "--batch-check", "--batch-all-objects")
    assert "new" not in listed
    assert world.store.capture(base, [Entry("d1", "deleted")]).tree != base


LAYING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shadow_world import World
from nightcrew.host import crash
world = World(Path(sys.argv[2]))
shadows = world.shadows("copy")
first, second, tree = sys.argv[4:]
base = shadows.export(first)
crash.arm(sys.argv[3])
newer = shadows.export(second)
shadows.discard(shadows.open("one", newer, world.store.delta(newer.tree, tree), tree=tree))
shadows.collect(grace_s=0.0)
print("alive")
"""


@pytest.mark.parametrize(
    "point",
    ["shadow.export_publish", "shadow.delta_publish", "shadow.open_publish", "shadow.collect_base"],
)
def test_killed_while_a_newer_base_or_a_delta_is_laid_or_collected(world, point):
    first = world.repository.head
    write_files(world.repo, {"d3/f3": b"newer", "added": b"newer"})
    second = world.commit("second")
    write_files(world.repo, {"d4/f4": b"of a task", "added": b"of a task"})
    tree = world.git("rev-parse", f"{world.commit('task')}^{{tree}}").strip()
    before = snapshot(world.repo)
    here = str(Path(__file__).parents[1])
    argv = [sys.executable, "-c", LAYING, here, str(world.root), point, first, second, tree]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    assert snapshot(world.repo) == before

    shadows = world.shadows("copy")
    shadows.sweep()
    for place in ("bases", "deltas", "shadows"):
        names = os.listdir(world.state / place) if (world.state / place).exists() else []
        assert not [name for name in names if name.startswith(".")]
    if (left := shadows.reopen("one")) is not None:
        shadows.discard(left)
    newer = shadows.export(second)
    shadow = shadows.open("one", newer, world.store.delta(newer.tree, tree), tree=tree)
    found = {name: Path(shadow.path, name).read_bytes() for name in ("d3/f3", "d4/f4", "added", "d5/f5")}
    assert found == {"d3/f3": b"newer", "d4/f4": b"of a task", "added": b"of a task", "d5/f5": b"5"}
    assert world.run(shadows, shadow, "git status --porcelain; git fsck --no-dangling") == ""


def test_a_layer_hurt_by_a_power_loss_is_made_anew_on_what_is_whole(world):
    shadows = world.shadows("copy", layering=Layering(max_share=1.0))
    first = shadows.export(world.repository.head)
    write_files(world.repo, {"d3/f3": b"newer"})
    second = shadows.export(world.commit("second"))
    assert second.parent == first.commit
    for base in (first, second):
        meta = Path(base.lowers[0]).parent / "meta.json"
        meta.write_text(meta.read_text().replace('"boot": "', '"boot": "0'))
    (Path(second.lowers[0]) / "d3/f3").write_bytes(b"")
    assert shadows.export(second.commit).lowers == second.lowers
    assert (Path(second.lowers[0]) / "d3/f3").read_bytes() == b"newer"
    assert shadows.export(first.commit) == first


COMPACTING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shadow_world import World
from nightcrew.checkpoint.compaction import compact
from nightcrew.host import crash
world = World(Path(sys.argv[2]))
crash.arm("checkpoint.compacted")
world.store.tree_of(world.repository.head)
compact(world.store._git(), world.store.path, limit=1)
"""


def test_killed_while_packs_are_put_together(world, tmp_path):
    base = world.store.tree_of(world.repository.head)
    source = tmp_path / "source"
    trees = []
    for n in range(3):
        source.write_bytes(b"new %d" % n)
        trees.append(world.store.capture(base, [Entry("new", "file", str(source), 0o100644)]).tree)
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", COMPACTING, here, str(world.root)], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [world.store.read(tree, "new") for tree in trees] == [b"new 0", b"new 1", b"new 2"]
    assert compact(world.store._git(), world.store.path, limit=1)
    assert [world.store.read(tree, "new") for tree in trees] == [b"new 0", b"new 1", b"new 2"]
    assert len(list((world.store.path / "objects/pack").glob("*.pack"))) == 1


def test_what_another_process_is_making_is_not_swept(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one", base)
    (world.state / "shadows" / "one").rename(world.state / "shadows" / ".new-somebody")
    world.shadows("copy").sweep()
    assert os.listdir(world.state / "shadows") == [".new-somebody"]
    shadows.close(shadow)
    world.shadows("copy").sweep()
    assert os.listdir(world.state / "shadows") == []


def test_export_hurt_by_a_power_loss_is_made_anew(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    meta = Path(base.lowers[0]).parent / "meta.json"
    text = meta.read_text()
    meta.write_text(text.replace('"boot": "', '"boot": "0'))
    assert shadows.export(base.commit) == base
    assert meta.read_text() == text
    (Path(base.lowers[0]) / "d3/f3").write_bytes(b"")
    meta.write_text(text.replace('"boot": "', '"boot": "0'))
    assert shadows.export(base.commit).lowers == base.lowers
    assert (Path(base.lowers[0]) / "d3/f3").read_bytes() == b"3"
