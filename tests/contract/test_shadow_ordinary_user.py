"""The same as an ordinary user: everything works, and what its own mode hides is refused, not overlooked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SOURCES = TESTS.parent / "src"
USER = 54321

SCRIPT = """
import os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from nightcrew.shadow.layering import Layering
from shadow_world import World, report
root = Path(sys.argv[3])
world = World.make(root, {"a": b"1\\n", "d/b": b"2\\n", "d/c": b"3\\n", ".gitignore": b"node_modules\\n"})
(world.repo / "node_modules").mkdir()
(world.repo / "node_modules" / "x").write_bytes(b"live\\n")
assert os.geteuid() != 0
for mode in ("overlay", "copy") if report().overlay else ("copy",):
    shadows = world.shadows(mode, environment=["node_modules"])
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one-" + mode, base)
    world.run(shadows, shadow, "git status --porcelain; echo 2 > a; rm d/b; echo n > node_modules/x; mkdir new; echo 1 > new/f;"
        "git add -A; git commit -qm x; echo s > secret; chmod 000 secret d/c new")
    captured = world.capture(shadows, shadow)
    paths = {p.path: p.kind for p in world.store.compare(base.tree, captured.tree).paths}
    print(mode, paths, captured.refused)
    second = shadows.open("two-" + mode, base, world.store.delta(base.tree, captured.tree))
    print(repr(world.run(shadows, second, "git status --porcelain; cat a; ls d")))
    (world.repo / "d/c").write_bytes(mode.encode())
    world.git("add", "d/c")
    world.git("commit", "-q", "-m", "newer")
    newer = world.shadows(mode, layering=Layering(max_share=1.0)).export(world.repository.head)
    assert newer.parent
    third = shadows.open("three-" + mode, newer)
    seen = world.run(shadows, third, "git status --porcelain; cat d/c; ls d; git fsck --no-dangling")
    assert seen == mode + "b\\nc\\n", seen
    shadows.discard(third)
    shadows.discard(shadow)
    shadows.discard(second)
    assert shadows.names() == ()
    shadows.finish()
assert (world.repo / "node_modules" / "x").read_bytes() == b"live\\n"
assert not (world.state / "shadows").exists() or not os.listdir(world.state / "shadows")
"""


def find_interpreter() -> str:
    """Return an interpreter that another user can run, of a version we support."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", check], user=USER, group=USER, cwd="/", capture_output=True, check=False
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip("no Python of 3.11 or later that another user can run")


@pytest.mark.needs_root
def test_as_an_ordinary_user(tmp_path_factory):
    python = find_interpreter()
    place = Path("/tmp") / f"nightcrew-ordinary-{os.getpid()}"
    place.mkdir()
    try:
        os.chown(place, USER, USER)
        # The checkout may lie where only root may look.
        for source in (SOURCES, TESTS):
            shutil.copytree(source, place / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        done = subprocess.run(
            [python, "-B", "-c", SCRIPT, str(place / "src"), str(place / "tests"), str(place / "world")],
            user=USER,
            group=USER,
            extra_groups=[],
            cwd=place,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(place), "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(place)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    assert rows
    for row, seen in zip(rows[::2], rows[1::2], strict=True):
        assert "{'a': 'modified', 'd/b': 'deleted'}" in row
        for refused in (
            "secret: its mode forbids reading it",
            "new: a directory whose mode forbids reading it",
        ):
            assert refused in row
        assert seen == repr("2\nc\n")
