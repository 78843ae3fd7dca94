"""A collection that is killed: everything that is needed is there, and the next one finishes it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.trees import Entry
from shadow_world import World

VICTIM = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shadow_world import World
from nightcrew.host import crash
world = World(Path(sys.argv[2]))
crash.arm(sys.argv[3])
since = datetime.now(UTC) - timedelta(hours=1)
world.store.collect(lambda: sys.argv[6:], unused_since=since, pruned=sys.argv[4].split(), cut=sys.argv[5].split())
print("alive")
"""


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, {"a": b"1\n", "sub/b": b"2\n"})
    yield world
    world.close()


@pytest.mark.parametrize(
    "point", ["checkpoint.collect_forgotten", "checkpoint.collect_repacked", "checkpoint.collect_remove"]
)
def test_collection_killed(world, point):
    base = world.store.tree_of(world.repository.head)
    noise = random.Random(1)
    taken, parent = {}, world.repository.head
    for number in range(6):
        source = world.root / f"source-{number}"
        source.write_bytes(noise.randbytes(100_000))
        tree = world.store.capture(base, [Entry(f"f{number}", "file", str(source), 0o100644)]).tree
        parent = world.store.commit(
            tree, parents=[parent], message="m", at="2026-01-01T00:00:00Z", ref=f"C-{number}"
        )
        taken[f"C-{number}"] = (tree, parent)
    world.store.tidy()
    world.close()
    then = datetime.now(UTC).timestamp() - 86400
    for path in (world.store.path / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    before = world.store.usage().bytes
    kept, pruned = ["C-0", "C-4"], ["C-1", "C-2", "C-3", "C-5"]
    roots, cut = [taken[name][1] for name in kept], [taken["C-4"][1]]
    here = str(Path(__file__).parents[1])
    argv = [
        sys.executable,
        "-c",
        VICTIM,
        here,
        str(world.root),
        point,
        " ".join(pruned),
        " ".join(cut),
        *roots,
    ]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    for name in kept:
        assert len(world.store.read(taken[name][0], f"f{name[2:]}")) == 100_000
    world.git("--git-dir", str(world.store.path), "fsck", "--strict", "--no-dangling")
    # A capture that relies on what is about to go still gets all of it.
    again = world.store.capture(base, [Entry("f1", "file", str(world.root / "source-1"), 0o100644)]).tree
    assert again == taken["C-1"][0]
    since = datetime.now(UTC) - timedelta(hours=1)
    world.store.collect(lambda: roots, unused_since=since, pruned=pruned, cut=cut)
    assert len(world.store.read(again, "f1")) == 100_000
    world.close()
    for path in (world.store.path / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    world.store.collect(lambda: roots, unused_since=since, pruned=pruned, cut=cut)
    assert world.store.usage().bytes < before / 2
    for name in kept:
        assert len(world.store.read(taken[name][0], f"f{name[2:]}")) == 100_000
    world.git("--git-dir", str(world.store.path), "fsck", "--strict", "--no-dangling")
