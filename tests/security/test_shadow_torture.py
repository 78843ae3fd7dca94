"""What programs do to files comes out the same in a shadow, in the real sandbox, as in a plain directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from shadow_world import World, needs_overlay, read_files, snapshot, write_files

TORTURE = Path(__file__).parents[1] / "shadow_torture.py"
FILES = {
    **{
        f"base/{name}": b"%s of the base\n" % name.encode()
        for name in ("one", "two", "three", "open", "log", "attr")
    },
    "base/map": b"0123456789" * 500,
    "base/link-me": b"linked\n",
    "base/lock": b"",
    "base/many": b"",
    "run.sh": (0o755, b"#!/bin/sh\n"),
    "lnk": "run.sh",
    "tree/a": b"a\n",
    "tree/deep/b": b"b\n",
    "tree/deep/er/c": b"c\n",
}
PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")


@pytest.fixture
def world(request, tmp_path, disks, monkeypatch):
    kind = request.param
    monkeypatch.setattr(World, "layered", kind.endswith("layered"))
    needs_overlay(kind.partition("-")[0])
    root = disks.find("btrfs") / "world" if kind == "reflink" else tmp_path / "world"
    world = World.make(root, {**FILES, "torture.py": TORTURE.read_bytes()})
    world.mode = kind.partition("-")[0]
    yield world
    world.close()


def torture_plain(place: Path) -> list[str]:
    """Do the same in a plain directory."""
    place.mkdir()
    write_files(place, {**FILES, "torture.py": TORTURE.read_bytes()})
    argv = [PYTHON, "-I", "-S", str(TORTURE), str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("world", ["overlay", "overlay-layered", "copy", "reflink"], indirect=True)
def test_the_same_as_in_a_plain_directory(world, tmp_path):
    before = snapshot(world.repo)
    shadows = world.shadows(world.mode)
    shadow = shadows.open("one", shadows.export(world.repository.head))
    argv = (PYTHON, "-I", "-S", str(world.repo / "torture.py"), str(world.repo))
    said = world.run_argv(shadows, shadow, argv).splitlines()
    plain = tmp_path / "plain"
    assert said == torture_plain(plain)
    assert snapshot(world.repo) == before

    # What a capture stores is what git makes of the plain directory.
    (plain / "sparse").unlink()
    world.run(shadows, shadow, "rm sparse")
    captured = world.capture(shadows, shadow)
    assert (captured.tree, captured.refused) == (world.tree_of_directory(plain), ())

    # A shadow opened on that is the same once more.
    again = shadows.open(
        "two", shadow.base, world.store.delta(shadow.base.tree, captured.tree), tree=captured.tree
    )
    assert list(shadows.scan(again)) == []
    copies = world.shadows("copy")
    shown = copies.open(
        "three", shadow.base, world.store.delta(shadow.base.tree, captured.tree), tree=captured.tree
    )
    assert read_files(Path(shown.path)) == read_files(plain)


@pytest.mark.parametrize("world", ["overlay"], indirect=True)
def test_the_one_difference_a_directory_of_the_base_is_not_renamed_but_copied(world):
    """The kernel answers EXDEV, as between two disks; ``mv`` then copies, ``git mv`` of a directory says so."""
    shadows = world.shadows()
    shadow = shadows.open("one", shadows.export(world.repository.head))
    said = world.run(
        shadows,
        shadow,
        'python3 -c \'import os; os.rename("tree", "moved")\' 2>&1 | tail -1; mv tree moved && ls moved moved/deep',
    )
    assert "Invalid cross-device link" in said
    assert said.endswith("moved:\na\ndeep\n\nmoved/deep:\nb\ner\n")
    kinds = {entry.path: entry.kind for entry in shadows.scan(shadow)}
    assert kinds == {
        "moved/a": "file", "moved/deep/b": "file", "moved/deep/er/c": "file",
        "tree/a": "deleted", "tree/deep/b": "deleted", "tree/deep/er/c": "deleted",
    }  # fmt: skip


@pytest.mark.parametrize("world", ["overlay", "copy"], indirect=True)
def test_marks_of_the_kernel_cannot_be_forged(world):
    shadows = world.shadows(world.mode)
    shadow = shadows.open("one", shadows.export(world.repository.head))
    world.run(
        shadows,
        shadow,
        'python3 -c \'import os; os.setxattr("tree", "user.overlay.opaque", b"y")\' || true; mknod base/one-hidden c 0 0 || true;'
        "mknod gone c 0 0 || true; ls tree",
    )
    entries = {entry.path: entry.kind for entry in shadows.scan(shadow)}
    assert "deleted" not in entries.values()
    assert world.run(shadows, shadow, "ls tree") == "a\ndeep\n"


@pytest.mark.parametrize("world", ["copy"], indirect=True)
def test_a_copy_keeps_holes(world):
    live = world.repo / "node_modules"
    live.mkdir()
    with (live / "big").open("wb") as file:
        file.truncate(1 << 30)
        file.seek(1 << 20)
        file.write(b"here")
    (world.repo / ".gitignore").write_text("node_modules\n")
    world.commit("ignored")
    subprocess.run(
        ["git", "rm", "-rq", "--cached", "node_modules"], cwd=world.repo, env=world.env, check=True
    )
    world.git("commit", "-qm", "not tracked")
    shadows = world.shadows("copy", environment=["node_modules"])
    shadow = shadows.open("one", shadows.export(world.repository.head))
    found = os.stat(Path(shadow.path) / "node_modules/big")
    assert (found.st_size, found.st_blocks * 512 < 1 << 20) == (1 << 30, True)
    assert (Path(shadow.path) / "node_modules/big").read_bytes()[1 << 20 : (1 << 20) + 4] == b"here"
