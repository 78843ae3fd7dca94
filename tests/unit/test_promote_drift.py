"""Where work of the user's overlaps with a promotion, nothing happens and every path is named (row 19)."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError, Exit, NightcrewError

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import Content, World

FILES: Content = {
    "a.txt": b"a\n",
    "dir/b.txt": b"b\n",
    "dir/c.txt": b"c\n",
    "run.sh": b"#!/bin/sh\n",
    "link": "a.txt",
    ".gitignore": b"*.log\n",
    "other": b"o",
}
CHANGE: Content = {
    "a.txt": b"A\n",
    "dir/b.txt": None,
    "run.sh": b"#!/bin/sh\nls\n",
    "link": "dir/c.txt",
    "new/file": b"n",
    "new.log": b"l",
    "dir/sub/x": b"x",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "w", FILES)


def make_fifo(world: World) -> None:
    (world.repo / "a.txt").unlink()
    os.mkfifo(world.repo / "a.txt")


def stage(files: Content, then: Content | None = None) -> Callable[[World], None]:
    def make(world: World) -> None:
        world.write(files)
        world.git("add", "-A", "-f")
        world.write(then or {})

    return make


def link_directory(world: World) -> None:
    (world.repo / "dir").rename(world.root / "outside")
    (world.repo / "dir").symlink_to(world.root / "outside")


OVERLAPS: list[tuple[str, Callable[[World], object], list[str]]] = [
    ("edited", lambda w: w.write({"a.txt": b"mine\n"}), ["a.txt: was edited here, not committed"]),
    ("deleted", lambda w: w.write({"a.txt": None}), ["a.txt: was deleted here, not committed"]),
    ("edited what goes", lambda w: w.write({"dir/b.txt": b"mine"}), ["dir/b.txt: was edited here, not committed"]),
    ("staged", stage({"a.txt": b"mine\n"}), ["a.txt: has a staged change", "a.txt: was edited here, not committed"]),
    ("staged only", stage({"a.txt": b"mine\n"}, {"a.txt": b"a\n"}), ["a.txt: has a staged change"]),
    ("type", lambda w: w.write({"a.txt": "link"}), ["a.txt: changed its type here, not committed"]),
    ("link", lambda w: w.write({"link": "other"}), ["link: was edited here, not committed"]),
    ("untracked", lambda w: w.write({"new/file": b"x"}), ["new/file: an untracked or ignored file is there already"]),
    ("ignored", lambda w: w.write({"new.log": b"x"}), ["new.log: an untracked or ignored file is there already"]),
    ("untracked link", lambda w: w.write({"new/file": "x"}), ["new/file: an untracked or ignored file is there already"]),
    ("file for directory", lambda w: w.write({"new": b"x"}), ["new: a file stands in the way of new/file"]),
    ("link for directory", lambda w: w.write({"new": "dir"}), ["new/file: a symbolic link stands in place of its directory"]),
    ("directory for file", lambda w: w.write({"new.log/mine": b"x"}), ["new.log/mine: is in a directory that would become a file"]),
    ("staged below", stage({"new.log/mine": b"x"}, {"new.log/mine": None}), ["new.log/mine: is staged and in the way of new.log"]),
    ("staged above", stage({"new": b"x"}, {"new": None}), ["new: is staged and in the way of new/file"]),
    ("staged new", stage({"new/file": b"x"}), ["new/file: an untracked or ignored file is there already", "new/file: has a staged change"]),
    ("fifo", make_fifo, ["a.txt: is not a regular file (or is being written right now)"]),
    ("linked directory", link_directory, [
        "dir/b.txt: a symbolic link stands in place of its directory",
        "dir/sub/x: a symbolic link stands in place of its directory",
    ]),
    ("several", lambda w: w.write({"a.txt": b"1", "run.sh": None}), [
        "a.txt: was edited here, not committed",
        "run.sh: was deleted here, not committed",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "lines"), [each[1:] for each in OVERLAPS], ids=[each[0] for each in OVERLAPS]
)
def test_overlap(world: World, make: Callable[[World], object], lines: list[str]) -> None:
    make(world)
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.prepare(CHANGE)
    assert set(lines) <= set(drift.value.where), drift.value.where
    assert drift.value.exit is Exit.STALE
    assert world.snapshot() == before
    assert not (world.repo / ".git/nightcrew").exists()


@pytest.mark.parametrize(
    ("make", "lines"), [each[1:] for each in OVERLAPS], ids=[each[0] for each in OVERLAPS]
)
def test_overlap_that_appears_after_preparing(
    world: World, make: Callable[[World], object], lines: list[str]
) -> None:
    prepared = world.prepare(CHANGE)
    make(world)
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.promoter().publish(prepared)
    assert set(lines) <= set(drift.value.where)
    assert world.snapshot() == before
    assert world.promoter().outcome(prepared.transaction) == "aborted"
    assert world.git("for-each-ref", "refs/nightcrew") == ""


def test_empty_directory_in_the_way_is_no_overlap(world: World) -> None:
    (world.repo / "new.log").mkdir()
    (world.repo / "new").mkdir()
    world.promote(CHANGE)
    assert (world.repo / "new.log").read_bytes() == b"l"


def test_commit_between_prepare_and_publish(world: World) -> None:
    prepared = world.prepare(CHANGE)
    world.write({"other": b"by the user"})
    world.git("commit", "-qam", "by the user")
    before = world.snapshot()
    with pytest.raises(DriftError, match="as when this was prepared"):
        world.promoter().publish(prepared)
    assert world.snapshot() == before


def test_other_branch_between_prepare_and_publish(world: World) -> None:
    prepared = world.prepare(CHANGE)
    world.git("switch", "-q", "-c", "elsewhere")
    before = world.snapshot()
    with pytest.raises(DriftError):
        world.promoter().publish(prepared)
    assert world.snapshot() == before


@pytest.mark.parametrize("attempt", range(3))
def test_concurrent_commit_is_found_by_the_compare_and_swap(world: World, attempt: int) -> None:
    """While our files move, somebody moves the branch without the index: a push, or plumbing."""
    many = {f"many/{n}": b"%d" % n for n in range(400)}
    prepared = world.prepare(CHANGE | many)
    rival = world.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "by the user")
    lock = world.repo / ".git/index.lock"
    won = threading.Event()

    def interfere() -> None:
        while not lock.exists():
            pass
        world.git("update-ref", "refs/heads/main", rival, prepared.old_commit)
        won.set()

    rivalry = threading.Thread(target=interfere)
    before = world.snapshot(refs=False)
    rivalry.start()
    with pytest.raises(DriftError):
        world.promoter().publish(prepared)
    rivalry.join()
    assert won.is_set()
    after = world.snapshot(refs=False)
    assert after["files"] == before["files"]
    assert after["index"] == before["index"]
    assert not after["lock"]
    assert world.git("rev-parse", "HEAD") == rival
    assert world.git("status", "--porcelain", "-uall") == ""


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("MERGE_HEAD", "merge"),
        ("rebase-merge", "rebase"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
        ("REVERT_HEAD", "revert"),
        ("BISECT_LOG", "bisect"),
    ],
)
def test_operation_in_progress(world: World, name: str, word: str) -> None:
    prepared = world.prepare(CHANGE)
    (world.repo / ".git" / name).write_text(prepared.old_commit + "\n")
    for act in (lambda: world.prepare(CHANGE), lambda: world.promoter().publish(prepared)):
        with pytest.raises(DriftError, match=f"a {word} is in progress"):
            act()


def test_real_merge_with_conflicts(world: World) -> None:
    world.git("switch", "-q", "-c", "side")
    world.write({"other": b"side"})
    world.git("commit", "-qam", "side")
    world.git("switch", "-q", "main")
    world.write({"other": b"main"})
    world.git("commit", "-qam", "main")
    with pytest.raises(AssertionError):
        world.git("merge", "side")
    before = world.snapshot()
    with pytest.raises(DriftError, match="merge is in progress"):
        world.prepare(CHANGE)
    (world.repo / ".git/MERGE_HEAD").unlink()
    with pytest.raises(DriftError, match="unmerged"):
        world.prepare(CHANGE)
    assert world.snapshot()["files"] == before["files"]


def test_another_git_holds_the_index(world: World) -> None:
    prepared = world.prepare(CHANGE)
    (world.repo / ".git/index.lock").write_bytes(b"")
    for act in (lambda: world.prepare(CHANGE), lambda: world.promoter().publish(prepared)):
        with pytest.raises(DriftError, match="another git") as drift:
            act()
        assert "index.lock" in drift.value.where[0]
    (world.repo / ".git/index.lock").unlink()
    world.promoter().publish(prepared)


def test_branch_checked_out_twice(world: World) -> None:
    world.git("worktree", "add", "-q", "--force", str(world.root / "second"), "main")
    with pytest.raises(DriftError, match="another working tree") as drift:
        world.prepare(CHANGE)
    assert drift.value.where == (str(world.root / "second"),)


def test_hostile_name_is_shown_as_chips(world: World) -> None:
    name = "evil\u202egnp.exe\n"
    world.write({name: b"mine"})
    with pytest.raises(DriftError) as drift:
        world.prepare({name: b"theirs"})
    assert drift.value.where == (
        "evil<U+202E>gnp.exe<U+000A>: an untracked or ignored file is there already",
    )


def test_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from nightcrew.host.locks import FileLock
    from nightcrew.promote import promoter

    prepared = world.prepare(CHANGE)
    monkeypatch.setattr(promoter, "_LOCK_WAIT_S", 0.1)
    with FileLock(world.repo / ".git/nightcrew/lock"):
        assert world.promoter().recover() == ()
        with pytest.raises(NightcrewError, match="is promoting"):
            world.promoter().publish(prepared)
