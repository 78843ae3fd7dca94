"""Kill -9 during a promotion or an undo, at every named point and at random times: exactly old or exactly new."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote.prepared import Prepared
from promote_world import World, record_of

FILES = {
    "a.txt": b"a\n",
    "d/b.txt": b"b\n",
    "d/keep": b"keep\n",
    "gone/deep/x": b"x",
    "link": "a.txt",
    "run.sh": b"#!/bin/sh\n",
    "turns/into/file": b"1",
    "turned": b"into a directory",
    "binary": bytes(range(256)),
}
CHANGE = {
    "a.txt": b"A\n",
    "d/b.txt": None,
    "gone/deep/x": None,
    "link": "d/keep",
    "run.sh": ("100755", b"#!/bin/sh\n"),
    "turns/into/file": None,
    "turns": b"now a file",
    "turned": None,
    "turned/in": b"2",
    "binary": bytes(range(255, -1, -1)),
    "new/folder/f": b"\0\1",
}
POINTS = [
    ("promote.half_handed", 1),
    ("promote.staged", 1),
    ("promote.planned", 1),
    ("promote.committed", 1),
    *[("promote.path", hit) for hit in range(1, 19)],
    ("promote.checked", 1),
    ("promote.index", 1),
    ("promote.ref", 1),
    ("promote.done", 1),
]


def make_world(root: Path) -> World:
    """A repository with work of the user's of every sort beside the promoted paths."""
    world = World.make(
        root, FILES | {"mine.txt": b"1\n2\n3\n", "mine2.txt": b"mine", ".gitignore": b"*.log\n"}
    )
    world.write({"mine.txt": b"stashed\n"})
    world.git("stash")
    world.git("branch", "other")
    world.write(
        {"mine.txt": b"1\n2\nedited\n", "mine2.txt": b"staged", "d/wip": b"untracked", "x.log": b"ignored"}
    )
    world.git("add", "mine2.txt")
    return world


def publish_copy(world: World, prepared: Prepared, place: Path) -> dict[str, object]:
    """Publish in a copy of the world, and return what it looks like then."""
    shutil.copytree(world.root, place, symlinks=True)
    copy = World(place)
    copy.promoter().publish(prepared)
    found = copy.snapshot()
    shutil.rmtree(place)
    return found


def check(world: World, old: dict[str, object], new: dict[str, object]) -> str:
    """Recover twice; return which state it is, exactly."""
    said = world.promoter().recover()
    assert world.promoter().recover() == ()
    found = world.snapshot()
    name = "new" if found["head"] == new["head"] else "old"
    assert found == (new if name == "new" else old), said
    return name


def prepare(world: World, kind: str) -> Prepared:
    if kind == "promote":
        return world.prepare(CHANGE)
    return world.promoter().undo(world.promote(CHANGE), id="M-2", message="undo")


@pytest.mark.parametrize("kind", ["promote", "undo"])
def test_killed_at_every_point(tmp_path: Path, kind: str) -> None:
    world = make_world(tmp_path / "w")
    prepared = prepare(world, kind)
    old = world.snapshot()
    new = publish_copy(world, prepared, tmp_path / "copy")
    pristine = tmp_path / "pristine"
    world.root.rename(pristine)
    states = []
    for point, hit in POINTS:
        # A fresh world at the same place: what was prepared names objects of its store.
        shutil.copytree(pristine, world.root, symlinks=True)
        process = world.run_killed("publish", prepared, point, hit)
        code = process.wait(60)
        # An undo makes fewer moves, and hands nothing over.
        if code == 0 and (point == "promote.path" or (point, kind) == ("promote.half_handed", "undo")):
            assert check(world, old, new) == "new"
        else:
            assert code == -signal.SIGKILL, point
            states.append((point, check(world, old, new)))
        shutil.rmtree(world.root)
    assert {state for point, state in states if point in ("promote.ref", "promote.done")} == {"new"}
    assert {state for point, state in states if point not in ("promote.ref", "promote.done")} == {"old"}
    assert sum(point == "promote.path" for point, _ in states) >= 11


def test_killed_at_random_times(tmp_path: Path) -> None:
    """Forth and back, each killed at some time or not at all; whatever is found after recovery is one of the two."""
    rounds = 40
    chance = random.Random(4711)
    world = make_world(tmp_path / "w")
    many = {f"many/{n % 7}/{n}": b"%d" % n for n in range(60)}
    prepared = world.prepare(CHANGE | many)
    old = world.snapshot()
    new = publish_copy(world, prepared, tmp_path / "copy")
    whole = publish_once(world, prepared, 60.0)[1]
    assert check(world, old, new) == "new"
    record, seen = record_of(prepared), set()
    for number in range(2, 2 + rounds):
        undone = world.promoter().undo(record, id=f"M-{number}", message="back")
        code, took = publish_once(world, undone, whole * chance.uniform(0.0, 1.1))
        state = check(world, old, new)
        if state == ("old" if undone.new_commit == prepared.old_commit else "new"):
            record = record_of(undone)
        if code == 0:
            whole = took  # so the aim follows how busy the machine is
        seen.add((code, state))
    assert {state for _, state in seen} == {"old", "new"}
    assert -signal.SIGKILL in {code for code, _ in seen}


def publish_once(world: World, prepared: Prepared, after_s: float) -> tuple[int, float]:
    """Publish in a process that is killed so long after its transaction began; return its exit code and how long it took."""
    process = world.run_killed("publish", prepared)
    place = world.repo / ".git" / "nightcrew" / prepared.transaction
    while not place.exists() and process.poll() is None:
        time.sleep(0.001)
    started = time.monotonic()
    try:
        code = process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return code, time.monotonic() - started


def test_recovery_is_killed_too(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    old = world.snapshot()
    new = publish_copy(world, prepared, tmp_path / "copy")
    for delay in (0.15, 0.2, 0.25, 0.3, 0.35):
        assert world.run_killed("publish", prepared, "promote.index").wait(60) == -signal.SIGKILL
        process = world.run_killed("recover", prepared)
        time.sleep(delay)
        process.kill()
        process.wait()
        assert check(world, old, new) == "old"


LAST_CHILD = """
import os, subprocess, sys
from nightcrew.host.locks import FileLock
lock = FileLock(sys.argv[1])
assert lock.acquire()
subprocess.Popen(["sleep", "1"], pass_fds=[lock._fd])
os._exit(0)
"""
"""Dies with the lock, which a child of it that has not quite started still holds."""


def test_the_last_child_of_a_killed_process_is_waited_for(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    old = world.snapshot()
    assert world.run_killed("publish", prepared, "promote.index").wait(60) == -signal.SIGKILL
    lock = world.repo / ".git/nightcrew/lock"
    subprocess.run([sys.executable, "-c", LAST_CHILD, lock], check=True)
    assert world.promoter().recover()
    assert world.snapshot() == old


def test_recovery_killed_while_it_cleans_up(tmp_path: Path) -> None:
    """Everything is back, the marker is gone, and the rest of the transaction lies there in any state of removal."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    old = world.snapshot()
    new = publish_copy(world, prepared, tmp_path / "copy")
    for missing in ((), ("plan.json",), ("s",), ("plan.json", "s")):
        assert world.run_killed("publish", prepared, "promote.index").wait(60) == -signal.SIGKILL
        assert world.run_killed("recover", prepared, "promote.unmarked").wait(60) == -signal.SIGKILL
        [place] = [each for each in (world.repo / ".git" / "nightcrew").iterdir() if each.is_dir()]
        for name in missing:
            gone = place / name
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        assert check(world, old, new) == "old"
        assert not place.exists()


def test_git_refuses_to_work_on_a_half_moved_tree(tmp_path: Path) -> None:
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    assert world.run_killed("publish", prepared, "promote.path", 3).wait(60) == -signal.SIGKILL
    with pytest.raises(AssertionError, match=r"index\.lock"):
        world.git("commit", "-qam", "by the user")
    assert world.promoter().recover()[0].startswith("M-1: an interrupted promotion was taken back")
    world.git("commit", "-qam", "by the user")


def test_edit_after_the_kill_is_kept(tmp_path: Path) -> None:
    """What a person writes between the kill and the recovery stays, and they are told where the original is."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    assert world.run_killed("publish", prepared, "promote.index").wait(60) == -signal.SIGKILL
    (world.repo / "a.txt").write_bytes(b"edited after the kill\n")
    said = world.promoter().recover()
    assert "a.txt was edited after the interruption" in said[0]
    assert (world.repo / "a.txt").read_bytes() == b"edited after the kill\n"
    original = Path(said[0].rpartition(" is in ")[2])
    assert original.read_bytes() == b"a\n"
    assert (world.repo / "d/b.txt").read_bytes() == b"b\n"
    assert world.git("rev-parse", "HEAD") == prepared.old_commit
    assert world.promoter().outcome(prepared.transaction) == "aborted"
    assert world.promoter().recover() == ()


def test_lock_removed_and_committed_by_hand(tmp_path: Path) -> None:
    """A person removes index.lock and commits half of it: recovery loses nothing of what they committed."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    assert world.run_killed("publish", prepared, "promote.path", 4).wait(60) == -signal.SIGKILL
    (world.repo / ".git" / "index.lock").unlink()
    world.git("commit", "-q", "-m", "staged only")
    tip = world.git("rev-parse", "HEAD")
    world.promoter().recover()
    assert world.git("rev-parse", "HEAD") == tip
    assert (world.repo / "a.txt").read_bytes() == b"a\n"
    assert world.git("status", "--porcelain", "-uno") == " M mine.txt"


def test_commit_on_top_between_kill_and_recovery(tmp_path: Path) -> None:
    """Killed after the branch moved: the promotion stands, also when the user has gone on from there."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    assert world.run_killed("publish", prepared, "promote.ref").wait(60) == -signal.SIGKILL
    (world.repo / ".git" / "index.lock").unlink()
    world.git("commit", "-q", "-m", "on top")
    tip = world.git("rev-parse", "HEAD")
    assert "was complete" in world.promoter().recover()[0]
    assert world.git("rev-parse", "HEAD") == tip
    assert world.promoter().outcome(prepared.transaction) == "published"
    assert world.git("rev-parse", "refs/nightcrew/undo/M-1") == prepared.new_commit


def test_reset_between_kill_and_recovery(tmp_path: Path) -> None:
    """The user throws the promotion away by hand before recovery: the reflog still tells that it was published."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    assert world.run_killed("publish", prepared, "promote.ref").wait(60) == -signal.SIGKILL
    (world.repo / ".git" / "index.lock").unlink()
    world.git("reset", "-q", "--hard", prepared.old_commit)
    before = world.snapshot()
    assert "was complete" in world.promoter().recover()[0]
    assert world.snapshot() == before


def test_a_git_that_outlived_us_cannot_move_the_branch(tmp_path: Path) -> None:
    """Killed just after starting the ref update: that git runs on. Once recovery has begun it must find no pin."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    old = world.snapshot()
    assert world.run_killed("publish", prepared, "promote.index").wait(60) == -signal.SIGKILL
    world.promoter().recover()
    pin, branch = "refs/nightcrew/undo/M-1", prepared.branch
    late = (
        f"verify {pin} {prepared.new_commit}\nupdate {branch} {prepared.new_commit} {prepared.old_commit}\n"
    )
    with pytest.raises(AssertionError, match="cannot lock ref"):
        world.git_raw("update-ref", "--stdin", data=late.encode())
    assert world.snapshot() == old


@pytest.mark.parametrize("step", range(3, 90, 9))
def test_killed_before_every_ninth_effect(tmp_path: Path, step: int) -> None:
    """Not only at the points we thought of: before the n-th file operation or process start of any kind."""
    world = make_world(tmp_path / "w")
    prepared = world.prepare(CHANGE)
    old = world.snapshot()
    new = publish_copy(world, prepared, tmp_path / "copy")
    code = world.run_killed("publish", prepared, "effect", step).wait(60)
    assert code in (0, -signal.SIGKILL)
    assert check(world, old, new) in ("old", "new")
