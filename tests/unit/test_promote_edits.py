"""The user's own edits in promoted files: merged, kept uncommitted, and given back to the byte by an undo."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import Content, World, record_of

LINES = b"".join(b"%d\n" % n for n in range(1, 10))
FILES: Content = {"a.txt": LINES, "b.txt": b"b\n", "run.sh": LINES}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "w", FILES)


def test_other_lines_are_merged_and_stay_uncommitted(world: World) -> None:
    mine = LINES.replace(b"9\n", b"nine, mine\n")
    world.write({"a.txt": mine})
    (world.repo / "a.txt").chmod(0o640)
    before, inode = world.snapshot(), (world.repo / "a.txt").stat().st_ino
    prepared = world.prepare({"a.txt": LINES.replace(b"1\n", b"one\n", 1), "b.txt": b"B\n"})
    assert "merged with your own edits, which stay uncommitted: a.txt" in prepared.notes
    world.promoter().publish(prepared)
    assert (world.repo / "a.txt").read_bytes() == mine.replace(b"1\n", b"one\n", 1)
    assert (world.repo / "a.txt").stat().st_mode & 0o777 == 0o640
    assert world.git("show", "HEAD:a.txt").encode() + b"\n" == LINES.replace(b"1\n", b"one\n", 1)
    assert world.git("status", "--porcelain") == " M a.txt"
    assert "nine, mine" in world.git("diff")
    after = world.snapshot()
    undone = world.undo(record_of(prepared))
    assert world.snapshot() == before
    assert (world.repo / "a.txt").stat().st_ino == inode
    redone = world.undo(undone, "M-3")
    assert world.snapshot() == after
    world.undo(redone, "M-4")
    assert world.snapshot() == before


def test_another_mode_stays_uncommitted(world: World) -> None:
    (world.repo / "run.sh").chmod(0o755)
    before = world.snapshot()
    record = world.promote({"run.sh": b"changed\n"})
    assert (world.repo / "run.sh").read_bytes() == b"changed\n"
    assert world.git("diff", "--summary") == " mode change 100644 => 100755 run.sh"
    world.undo(record)
    assert world.snapshot() == before


def test_a_mode_that_comes_reaches_an_edited_file(world: World) -> None:
    world.write({"run.sh": LINES + b"mine\n"})
    before = world.snapshot()
    record = world.promote({"run.sh": ("100755", LINES)})
    assert (world.repo / "run.sh").stat().st_mode & 0o111
    assert (world.repo / "run.sh").read_bytes() == LINES + b"mine\n"
    assert world.git("diff", "--summary") == ""
    world.undo(record)
    assert world.snapshot() == before


def test_what_was_edited_further_is_merged_back(world: World) -> None:
    world.write({"a.txt": LINES.replace(b"9\n", b"mine\n")})
    record = world.promote({"a.txt": LINES.replace(b"1\n", b"one\n", 1)})
    path = world.repo / "a.txt"
    path.write_bytes(path.read_bytes().replace(b"5\n", b"five, mine too\n"))
    world.undo(record)
    assert path.read_bytes() == LINES.replace(b"9\n", b"mine\n").replace(b"5\n", b"five, mine too\n")
    assert world.git("status", "--porcelain") == " M a.txt"


def test_the_same_lines_are_refused_by_name(world: World) -> None:
    world.write({"a.txt": LINES.replace(b"1\n", b"mine\n", 1), "run.sh": LINES.replace(b"9\n", b"mine\n")})
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.prepare(
            {"a.txt": LINES.replace(b"1\n", b"one\n", 1), "run.sh": LINES.replace(b"1\n", b"one\n", 1)}
        )
    assert drift.value.where == ("a.txt: was edited here, not committed",)
    assert world.snapshot() == before


def test_a_path_with_a_staged_edit_counts_once(world: World) -> None:
    world.write({"a.txt": b"mine\n"})
    world.git("add", "a.txt")
    with pytest.raises(DriftError, match="1 path holds work of yours") as refused:
        world.prepare({"a.txt": b"theirs\n"})
    assert len(refused.value.where) == 2


def test_an_edit_that_holds_the_change_already_is_left_alone(world: World) -> None:
    world.write({"a.txt": LINES.replace(b"1\n", b"one\n", 1).replace(b"9\n", b"mine\n")})
    before = world.snapshot()
    record = world.promote({"a.txt": LINES.replace(b"1\n", b"one\n", 1)})
    assert world.snapshot()["files"] == before["files"]
    assert world.git("diff", "--stat").count("|") == 1
    world.undo(record)
    assert world.snapshot() == before


@pytest.mark.parametrize(
    ("mine", "change"),
    [
        ({"a.txt": None}, {"a.txt": b"x\n"}),
        ({"a.txt": b"\0binary"}, {"a.txt": b"\0other"}),
        ({"a.txt": LINES + b"mine\n"}, {"a.txt": None}),
        ({"a.txt": "b.txt"}, {"a.txt": b"x\n"}),
        ({"new": b"mine\n"}, {"new": b"theirs\n"}),
    ],
)
def test_what_cannot_be_merged_is_refused(world: World, mine: Content, change: Content) -> None:
    world.write(mine)
    before = world.snapshot()
    with pytest.raises(DriftError, match="not committed"):
        world.prepare(change)
    assert world.snapshot() == before


def test_a_file_that_goes_through_a_filter_is_not_merged(world: World) -> None:
    world.write({".gitattributes": b"a.txt text eol=crlf\n"})
    world.git("add", "-A")
    world.git("commit", "-qm", "attributes")
    (world.repo / "a.txt").write_bytes(LINES.replace(b"\n", b"\r\n").replace(b"9", b"mine"))
    with pytest.raises(DriftError):
        world.prepare({"a.txt": LINES.replace(b"1\n", b"one\n", 1)})


def test_a_merged_promotion_that_is_killed_gives_the_edit_back(world: World) -> None:
    world.write({"a.txt": LINES.replace(b"9\n", b"mine\n")})
    prepared = world.prepare({"a.txt": LINES.replace(b"1\n", b"one\n", 1), "b.txt": b"B\n"})
    before = world.snapshot()
    assert world.run_killed("publish", prepared, "promote.index").wait(60) < 0
    world.promoter().recover()
    assert world.snapshot() == before


def snapshot_commit(world: World, files: Content) -> str:
    """A commit that only our store has: HEAD with the user's uncommitted edits."""
    store = str(world.root / "store")
    tree = world.tree(files)
    return world.git(
        "--git-dir", store, "commit-tree", tree, "-p", world.git("rev-parse", "HEAD"), "-m", "taken along"
    )


def test_work_that_started_from_uncommitted_edits(world: World) -> None:
    """Only what the work changed is committed; what the user had changed before stays uncommitted around it."""
    mine = LINES.replace(b"9\n", b"mine\n")
    dirty: Content = {"a.txt": mine, "notes": b"my notes\n", "other": b"untracked\n"}
    world.write(dirty)
    before = world.snapshot()
    base = snapshot_commit(world, dirty)
    store = str(world.root / "store")
    result = {
        **dirty,
        "a.txt": mine.replace(b"1\n", b"one\n", 1),
        "notes": b"my notes\nand the agent's\n",
        "new": b"n",
    }
    tree = world.tree(result)
    prepared = world.promoter().prepare("M-1", base_commit=base, tree=tree, message="work")
    assert any("started from your uncommitted edits" in note for note in prepared.notes)
    assert set(prepared.paths) == {"a.txt", "notes", "new"}
    world.promoter().publish(prepared)
    assert world.git("show", "HEAD:a.txt").encode() + b"\n" == LINES.replace(b"1\n", b"one\n", 1)
    assert (world.repo / "a.txt").read_bytes() == mine.replace(b"1\n", b"one\n", 1)
    assert (world.repo / "notes").read_bytes() == b"my notes\nand the agent's\n"
    assert world.git("status", "--porcelain") == " M a.txt\n?? other"
    assert world.git("--git-dir", store, "cat-file", "-t", base) == "commit"
    world.git("fsck", "--no-dangling")
    after = world.snapshot()
    undone = world.undo(record_of(prepared))
    assert world.snapshot() == before
    world.undo(undone, "M-3")
    assert world.snapshot() == after
