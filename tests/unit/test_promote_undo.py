"""Undo and redo: exact while nothing came after, else the inverse; only promoted paths (conformance row 17)."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote import pruning
from promote_fork import die_at
from promote_world import Content, World, record_of

FILES: Content = {
    "a.txt": b"a\n",
    "dir/b.txt": b"b\n",
    "dir/c.txt": b"1\n2\n3\n4\n5\n6\n7\n8\n9\n",
    "deep/er/x": b"x",
    "run.sh": b"#!/bin/sh\n",
    "link": "a.txt",
}
CHANGE: Content = {
    "a.txt": b"A\n",
    "dir/b.txt": None,
    "deep/er/x": None,
    "run.sh": ("100755", b"#!/bin/sh\n"),
    "link": "dir/c.txt",
    "dir/c.txt": b"one\n2\n3\n4\n5\n6\n7\n8\n9\n",
    "new/deep/file": b"n",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path / "w", FILES | {"mine": b"m", "mine2": b"m"})
    world.write({"mine": b"edited", "mine2": b"staged", "dir/wip": b"untracked"})
    world.git("add", "mine2")
    return world


def nodes(world: World, *paths: str) -> list[tuple[int, int, int]]:
    found = [(world.repo / path).lstat() for path in paths]
    return [(status.st_ino, status.st_mtime_ns, status.st_mode) for status in found]


def test_exact(world: World) -> None:
    touched = ("a.txt", "dir/b.txt", "deep/er/x", "run.sh", "link", "dir/c.txt")
    for path in touched:
        os.utime(world.repo / path, ns=(10**18, 10**18 + 12345), follow_symlinks=False)
    (world.repo / "a.txt").chmod(0o640)
    (world.repo / "deep/er").chmod(0o750)
    folder = (world.repo / "deep/er").stat().st_ino
    world.git("status")
    before, inodes = world.snapshot(), nodes(world, *touched)
    record = world.promote(CHANGE)
    prepared = world.promoter().undo(record, id="M-2", message="undo")
    assert (prepared.kind, prepared.new_commit, prepared.undo_of) == ("restore", record.old_commit, "M-1")
    assert prepared.notes[0].startswith("exact: main returns to")
    world.promoter().publish(prepared)
    assert world.snapshot() == before
    assert nodes(world, *touched) == inodes
    assert (world.repo / "deep/er").stat().st_ino == folder
    assert world.git("reflog", "-1", "--format=%gs") == "nightcrew: undo M-2"


def test_undo_redo_undo(world: World) -> None:
    before = world.snapshot()
    record = world.promote(CHANGE)
    after = world.snapshot()
    for number in range(2, 8):
        record = world.undo(record, f"M-{number}")
        assert world.snapshot() == (before if number % 2 == 0 else after)


@pytest.mark.parametrize("how", ["slots", "everything"])
def test_undo_from_objects_when_the_originals_are_gone(world: World, how: str) -> None:
    before = world.snapshot()
    record = world.promote(CHANGE)
    place = world.repo / ".git/nightcrew" / record.transaction
    shutil.rmtree(place / "s" if how == "slots" else place)
    world.git("gc", "-q", "--prune=now")
    second = world.undo(record)
    assert world.snapshot() == before
    world.git("reflog", "expire", "--expire=all", "--all")
    world.git("gc", "-q", "--prune=now")
    world.undo(second, "M-3")
    assert (world.repo / "a.txt").read_bytes() == b"A\n"


def test_what_the_user_had_already_stays_as_it_was(world: World) -> None:
    """An edit of the user's own that equals the promoted content survives the undo as the edit it was."""
    world.write({"a.txt": b"A\n", "new/deep/file": b"n"})
    world.write({"dir/c.txt": CHANGE["dir/c.txt"]})
    world.git("add", "dir/c.txt")
    before = world.snapshot()
    record = world.promote(CHANGE)
    world.undo(record)
    assert world.snapshot() == before


def test_paths_edited_since(world: World) -> None:
    record = world.promote(CHANGE)
    world.write({"a.txt": b"edited since\n", "dir/b.txt": b"made again"})
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.promoter().undo(record, id="M-2", message="undo")
    assert drift.value.where == (
        "a.txt: was edited here, not committed",
        "dir/b.txt: an untracked or ignored file is there already",
    )
    assert world.snapshot() == before


def test_what_the_user_has_taken_back_already(world: World) -> None:
    record = world.promote(CHANGE)
    world.write({"new/deep/file": None, "a.txt": b"a\n"})
    world.undo(record)
    assert world.git("status", "--porcelain", "-uall").splitlines() == [" M mine", "M  mine2", "?? dir/wip"]


def test_new_files_of_the_user_in_a_promoted_directory_stay(world: World) -> None:
    record = world.promote(CHANGE)
    world.write({"new/deep/mine": b"u", "deep/er/mine": b"u", "a2.txt": b"u"})
    world.undo(record)
    for path in ("new/deep/mine", "deep/er/mine", "a2.txt", "dir/wip"):
        assert (world.repo / path).exists()
    assert not (world.repo / "new/deep/file").exists()
    assert (world.repo / "deep/er/x").read_bytes() == b"x"


def test_after_later_commits(world: World) -> None:
    record = world.promote(CHANGE)
    world.write({"later": b"l", "dir/c.txt": b"one\n2\n3\n4\n5\n6\n7\n8\nnine\n"})
    world.git("add", "later", "dir/c.txt")
    world.git("commit", "-qm", "later")
    tip = world.git("rev-parse", "HEAD")
    prepared = world.promoter().undo(record, id="M-2", message="Undo M-1")
    assert prepared.kind == "commit"
    assert set(prepared.paths) == set(record.paths)
    world.promoter().publish(prepared)
    assert world.git("rev-parse", "HEAD^") == tip
    assert (world.repo / "dir/c.txt").read_bytes() == b"1\n2\n3\n4\n5\n6\n7\n8\nnine\n"
    assert (world.repo / "a.txt").read_bytes() == b"a\n"
    assert (world.repo / "later").read_bytes() == b"l"
    assert world.git("status", "--porcelain", "-uall") == " M mine\n?? dir/wip"
    world.undo(record_of(prepared), "M-3")
    assert world.git("rev-parse", "HEAD") == tip


def test_later_commit_that_conflicts(world: World) -> None:
    record = world.promote(CHANGE)
    world.write({"a.txt": b"built on A\n"})
    world.git("commit", "-qm", "later", "a.txt")
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.promoter().undo(record, id="M-2", message="undo")
    assert drift.value.where == ("a.txt: changed on both sides",)
    assert world.snapshot() == before


def test_later_rename_of_a_promoted_path_conflicts(world: World) -> None:
    """The inverse never follows a rename to a path that was not promoted."""
    record = world.promote(CHANGE)
    world.git("mv", "dir/c.txt", "renamed.txt")
    world.git("commit", "-qm", "renamed")
    with pytest.raises(DriftError) as drift:
        world.promoter().undo(record, id="M-2", message="undo")
    assert drift.value.where == ("dir/c.txt: changed on both sides",)


def test_a_branch_that_is_not_checked_out_any_more(world: World) -> None:
    """The ref alone goes back; what is checked out now is not looked at."""
    record = world.promote(CHANGE)
    world.git("stash", "-q")
    world.git("switch", "-q", "-c", "elsewhere")
    world.write({"a.txt": b"edited elsewhere"})
    before = world.snapshot(refs=False)
    undone = world.undo(record)
    assert world.git("rev-parse", "main") == record.old_commit
    assert world.snapshot(refs=False) == before
    world.undo(undone, "M-3")
    assert world.git("rev-parse", "main") == record.new_commit
    world.git("worktree", "add", "-q", "../there", "main")
    with pytest.raises(DriftError, match="checked out in another working tree"):
        world.promoter().undo(record, id="M-4", message="undo")


def test_rewritten_branch(world: World) -> None:
    record = world.promote(CHANGE)
    world.git("reset", "-q", "--hard", record.old_commit)
    with pytest.raises(DriftError, match="any more"):
        world.promoter().undo(record, id="M-2", message="undo")
    world.git("switch", "-q", "-c", "elsewhere")
    world.git("branch", "-D", "main")
    with pytest.raises(DriftError, match="is gone"):
        world.promoter().undo(record, id="M-2", message="undo")


def test_only_what_is_published(world: World) -> None:
    record = record_of(world.prepare(CHANGE), "prepared")
    with pytest.raises(UsageError):
        world.promoter().undo(record, id="M-2", message="undo")


def test_pruning_keeps_the_last_ones(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "KEEP", 3)
    records = [world.promote({"a.txt": b"%d\n" % n, f"f{n}": b"x"}, f"M-{n}") for n in range(1, 7)]
    home = world.repo / ".git/nightcrew"
    assert all((home / f"M-{n}" / "s").is_dir() for n in range(1, 7)), "publishing removes nothing"
    told = world.promoter().prune(dry_run=True)
    assert all((home / f"M-{n}" / "s").is_dir() for n in range(1, 7))
    assert world.promoter().prune() == told
    assert told.files == 3  # one of each: the other came where nothing was
    assert told.size_bytes >= 3
    assert [n for n in range(1, 7) if (home / f"M-{n}" / "s").is_dir()] == [4, 5, 6]
    assert all((home / f"M-{n}" / "plan.json").exists() for n in range(1, 7))
    for number, record in enumerate(reversed(records), start=7):
        world.undo(record, f"M-{number}")
    assert (world.repo / "a.txt").read_bytes() == b"a\n"
    assert not (world.repo / "f1").exists()


def test_pruning_keeps_bytes_that_are_nowhere_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program had the file open and wrote to it after it was displaced."""
    monkeypatch.setattr(pruning, "KEEP", 1)
    with (world.repo / "a.txt").open("ab") as still_open:
        world.promote(CHANGE)
        still_open.write(b"late\n")
    world.promote({"x": b"x"}, "M-2")
    world.promote({"y": b"y"}, "M-3")
    world.promoter().prune()
    left = list((world.repo / ".git/nightcrew/M-1/s").iterdir())
    assert [slot.read_bytes() for slot in left] == [b"a\nlate\n"]


def test_pruning_keeps_what_a_person_had_not_committed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit that a promotion was merged into is in no commit as it was: the undo finds it where it was displaced."""
    monkeypatch.setattr(pruning, "KEEP", 1)
    mine = b"1\n2\n3\n4\n5\n6\n7\n8\nmine\n"
    world.write({"dir/c.txt": mine})
    before = world.snapshot()
    edited = world.promote(CHANGE)
    for number in (2, 4):
        world.undo(world.promote({"x": b"x"}, f"M-{number}"), f"M-{number + 1}")
    told = world.promoter().prune(dry_run=True)
    assert world.promoter().prune() == told
    left = list((world.repo / ".git/nightcrew/M-1/s").iterdir())
    assert [slot.read_bytes() for slot in left] == [mine]
    shutil.rmtree(
        world.root / "store" / "objects"
    )  # what our store had of it may have been collected by then
    world.make_store()
    world.undo(edited, "M-6")
    assert (world.repo / "dir/c.txt").read_bytes() == mine
    assert world.snapshot() == before


def test_nothing_is_pruned_that_an_interrupted_undo_still_needs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "KEEP", 1)
    record = world.promote(CHANGE)
    new = world.snapshot()
    for number in (2, 4):
        world.undo(world.promote({"x": b"x"}, f"M-{number}"), f"M-{number + 1}")
    prepared = world.promoter().undo(record, id="M-6", message="undo")
    assert die_at("promote.path", lambda: world.promoter().publish(prepared), 3)
    assert world.promoter().prune() == pruning.Pruned()
    said = world.promoter().recover()
    assert said == ("M-6: an interrupted undo was taken back: everything is as it was before",)
    assert world.snapshot() == new
    assert world.promoter().prune().files


def test_a_directory_stands_where_the_inverse_needs_a_file(world: World) -> None:
    record = world.promote({"a.txt": None, "link": "run.sh"})
    world.write({"a.txt/in": b"x"})
    world.git("add", "a.txt")
    world.git("commit", "-qm", "later")
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.promoter().undo(record, id="M-2", message="undo")
    assert drift.value.where == ("a.txt/in: was committed since and is in the way",)
    assert world.snapshot() == before
