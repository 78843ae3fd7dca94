"""A disk that is full while a capture is stored: an error, nothing visible, nothing left over, and on with it later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.trees import Entry
from shadow_world import World

# No file may grow beyond the limit: write fails as it does on a full disk, after some bytes were taken.
VICTIM = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from shadow_world import World
from nightcrew.model.trees import Entry
world = World(Path(sys.argv[2]))
base = world.store.tree_of(world.repository.head)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    world.store.capture(base, [Entry(f"new{n}", "file", sys.argv[3], 0o100644) for n in range(3)])
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize(("size", "limit"), [(5_000_000, 100_000), (10_000_000, 100_000), (10_000, 1000)])
def test_full_disk(tmp_path, size, limit):
    world = World.make(tmp_path, {"a": b"1"})
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    base = world.store.tree_of(world.repository.head)
    before = sorted((world.store.path / "objects").rglob("*"))
    here = str(Path(__file__).parents[1])
    argv = [sys.executable, "-c", VICTIM, here, str(tmp_path), str(source), str(limit)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.stdout == "File too large\n", done.stderr
    assert [
        p for p in sorted((world.store.path / "objects").rglob("*")) if p.is_file() and p not in before
    ] == []
    tree = world.store.capture(base, [Entry("new", "file", str(source), 0o100644)]).tree
    assert world.store.read(tree, "new") == source.read_bytes()
    world.close()
