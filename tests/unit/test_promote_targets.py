"""Where a promotion can go, and in how many commits: other and new branches, one or several commits, a merge."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError, NightcrewError, NotFound, StaleError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote.commits import Step
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.target import Target
from promote_world import Content, World, record_of

FILES: Content = {"a.txt": b"1\n2\n3\n4\n5\n", "dir/b.txt": b"b\n", "c": b"c\n"}
FIRST: Content = {"a.txt": b"one\n2\n3\n4\n5\n", "new/x": b"x"}
SECOND: Content = {**FIRST, "dir/b.txt": None, "c": ("100755", b"c\n")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path / "w", FILES | {"mine": b"m"})
    world.git("branch", "other")
    world.write({"mine": b"edited", "wip": b"untracked"})
    return world


def steps(world: World, base: str = "HEAD") -> tuple[Step, ...]:
    trees = [world.tree(change, base) for change in (FIRST, SECOND)]
    return (
        Step(trees[0], "first\n\nNightcrew-Task: R-1/T01\n", "Ann <ann@example.org>"),
        Step(trees[1], "second\n\nNightcrew-Task: R-1/T02\nCo-authored-by: bot <bot@nightcrew.invalid>\n"),
    )


def prepare(
    world: World, target: Target, base: str = "", name: str = "M-1", made: tuple[Step, ...] = ()
) -> Prepared:
    base = base or world.git("rev-parse", "HEAD")
    return world.promoter().prepare(name, base_commit=base, steps=made or steps(world, base), target=target)


def test_a_commit_per_task(world: World) -> None:
    old = world.git("rev-parse", "HEAD")
    before = world.snapshot()
    prepared = prepare(world, Target())
    world.promoter().publish(prepared)
    log = world.git("log", "--format=%an|%cn|%s|%(trailers:separator=%x2C)", f"{old}..HEAD").splitlines()
    assert log == [
        "Dev|Dev|second|Nightcrew-Task: R-1/T02,Co-authored-by: bot <bot@nightcrew.invalid>,Nightcrew-Promotion: M-1",
        "Ann|Dev|first|Nightcrew-Task: R-1/T01,Nightcrew-Promotion: M-1",
    ]
    assert prepared.commits == (world.git("rev-parse", "HEAD~1"), world.git("rev-parse", "HEAD"))
    assert world.git("show", "--name-status", "--format=", "HEAD~1").split() == ["M", "a.txt", "A", "new/x"]
    assert world.git("status", "--porcelain") == " M mine\n?? wip"
    world.git("fsck", "--no-dangling")
    world.undo(record_of(prepared))
    assert world.snapshot() == before


def test_a_step_that_changes_nothing_makes_no_commit(world: World) -> None:
    one = steps(world)[0]
    prepared = prepare(world, Target(), made=(one, Step(one.tree, "nothing")))
    assert len(prepared.commits) == 1
    with pytest.raises(StaleError):
        prepare(world, Target(), made=(Step(world.git("rev-parse", "HEAD^{tree}"), "nothing"),))


@pytest.mark.parametrize("join", ["rebase", "merge"])
def test_a_branch_that_has_moved_on(world: World, join: str) -> None:
    base = world.git("rev-parse", "HEAD")
    world.write({"a.txt": b"1\n2\n3\n4\nfive\n", "later": b"l"})
    world.git("add", "later", "a.txt")
    world.git("commit", "-qm", "later")
    tip, before = world.git("rev-parse", "HEAD"), world.snapshot()
    prepared = prepare(world, Target(join=join), base)
    world.promoter().publish(prepared)
    assert (world.repo / "a.txt").read_bytes() == b"one\n2\n3\n4\nfive\n"
    parents = world.git("show", "-s", "--format=%P", "HEAD").split()
    if join == "merge":
        assert parents == [tip, prepared.commits[-2]]
        assert world.git("rev-parse", "HEAD^2~2") == base
        assert world.git("rev-parse", "HEAD^2^{tree}") == steps(world, base)[1].tree
    else:
        assert world.git("rev-parse", "HEAD~2") == tip
        assert world.git("show", "HEAD~1:dir/b.txt") == "b"
    assert world.git("status", "--porcelain") == " M mine\n?? wip"
    world.git("fsck", "--no-dangling")
    undone = world.undo(record_of(prepared))
    assert world.snapshot() == before
    world.undo(undone, "M-3")
    assert world.git("rev-parse", "HEAD") == prepared.new_commit


def test_another_branch(world: World) -> None:
    before, tip = world.snapshot(refs=False), world.git("rev-parse", "other")
    (world.repo / ".git/index.lock").touch()  # a git of the user's own is at work here: that is no matter
    prepared = prepare(world, Target("branch", "other"))
    assert prepared.notes[0] == "other is not checked out: your files stay as they are"
    world.promoter().publish(prepared)
    assert world.git("rev-parse", "other~2") == tip
    undone = world.undo(record_of(prepared))
    assert world.git("rev-parse", "other") == tip
    redone = world.undo(undone, "M-3")
    assert world.git("rev-parse", "other") == prepared.new_commit == redone.new_commit
    (world.repo / ".git/index.lock").unlink()
    assert world.snapshot(refs=False) == before
    world.git("fsck", "--no-dangling")


def test_the_current_branch_by_its_name(world: World) -> None:
    prepared = prepare(world, Target("branch", "main"))
    assert prepared.place == "here"
    world.promoter().publish(prepared)
    assert (world.repo / "new/x").read_bytes() == b"x"


def test_another_branch_after_later_commits_there(world: World) -> None:
    prepared = prepare(world, Target("branch", "other"))
    world.promoter().publish(prepared)
    world.git("worktree", "add", "-q", "../there", "other")
    there = world.root / "there"
    (there / "later").write_bytes(b"l")
    world.git_raw("add", "later", cwd=there)
    world.git_raw("commit", "-qm", "later", cwd=there)
    with pytest.raises(DriftError, match="other is checked out in another working tree"):
        world.promoter().undo(record_of(prepared), id="M-2", message="undo")
    world.git("worktree", "remove", "--force", str(there))
    undone = world.promoter().undo(record_of(prepared), id="M-2", message="undo")
    assert (undone.kind, undone.place) == ("commit", "branch")
    world.promoter().publish(undone)
    assert world.git("show", "--name-only", "--format=", "other").split() == [
        "a.txt",
        "c",
        "dir/b.txt",
        "new/x",
    ]
    assert world.git("show", "other:later") == "l"


def test_a_new_branch(world: World) -> None:
    before, head = world.snapshot(), world.git("rev-parse", "HEAD")
    prepared = prepare(world, Target("new", "night/one"))
    assert (prepared.old_commit, prepared.start) == ("", head)
    world.promoter().publish(prepared)
    assert world.git("rev-parse", "night/one~2") == head
    after = world.snapshot()
    undone = world.undo(record_of(prepared))
    assert undone.new_commit == ""
    assert world.snapshot() == before
    redone = world.undo(undone, "M-3")
    assert world.snapshot() == after
    assert world.undo(redone, "M-4").new_commit == ""
    assert world.snapshot() == before


def test_a_new_branch_from_a_detached_head(world: World) -> None:
    world.git("switch", "-q", "--detach")
    with pytest.raises(UsageError, match="detached"):
        prepare(world, Target())
    prepared = prepare(world, Target("new", "night"))
    world.promoter().publish(prepared)
    assert world.git("rev-parse", "night") == prepared.new_commit


def test_undo_of_a_new_branch_that_is_in_use_by_now(world: World) -> None:
    world.git("stash", "-q")
    head = world.git("rev-parse", "HEAD")
    record = record_of(prepared := prepare(world, Target("new", "night")))
    world.promoter().publish(prepared)
    world.git("switch", "-q", "night")
    undone = world.undo(record)
    assert (world.git("rev-parse", "night"), undone.place) == (head, "here")
    assert not (world.repo / "new").exists()
    assert world.git("status", "--porcelain") == "?? wip"


def test_what_is_refused(world: World) -> None:
    before = world.snapshot()
    for target, error, words in [
        (Target("branch", "nowhere"), NotFound, "no branch nowhere"),
        (Target("new", "other"), UsageError, "other already"),
        (Target("new", "a..b"), UsageError, "name of a branch"),
        (Target("new", "-x"), UsageError, "name of a branch"),
        (Target("branch", ""), UsageError, "name of a branch"),
    ]:
        with pytest.raises(error, match=words):
            prepare(world, target)
    assert world.snapshot() == before


def test_a_branch_under_rebase_is_refused(world: World) -> None:
    world.git("stash", "-q")
    world.git("switch", "-q", "other")
    world.write({"a.txt": b"other\n"})
    world.git("commit", "-qam", "other")
    world.git("switch", "-q", "main")
    world.write({"a.txt": b"main\n"})
    world.git("commit", "-qam", "main")
    world.git("switch", "-q", "other")
    with pytest.raises(AssertionError):
        world.git("rebase", "main")
    with pytest.raises(DriftError, match="other is being rebased"):
        prepare(world, Target("branch", "other"), base=world.git("rev-parse", "main"))


@pytest.mark.parametrize("kind", ["branch", "new"])
def test_a_branch_that_moves_meanwhile(world: World, kind: str) -> None:
    prepared = prepare(world, Target(kind, "other" if kind == "branch" else "night"))
    head = world.git("rev-parse", "HEAD")
    tip = world.git("commit-tree", "HEAD^{tree}", "-p", head, "-m", "somebody else")
    world.git("update-ref", prepared.branch, tip)
    with pytest.raises(DriftError, match="as when this was prepared"):
        world.promoter().publish(prepared)
    assert world.git("rev-parse", prepared.branch) == tip
    assert world.promoter().recover() == ()
    assert [line for line in world.git("for-each-ref").splitlines() if "nightcrew" in line] == []


def test_a_branch_that_is_checked_out_meanwhile(world: World) -> None:
    prepared = prepare(world, Target("branch", "other"))
    world.git("stash", "-q")
    world.git("switch", "-q", "other")
    with pytest.raises(NightcrewError, match="checked out since"):
        world.promoter().publish(prepared)
    assert world.git("status", "--porcelain") == "?? wip"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of our own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.needs_root
@pytest.mark.parametrize("left", [0, 4096, 40_000, 400_000])
@pytest.mark.parametrize("kind", ["here", "branch", "new"])
def test_disk_full(small_disk: Path, tmp_path: Path, kind: str, left: int) -> None:
    """Whatever fits last: exactly old with a word about the disk, or exactly new."""
    made = World.make(tmp_path / "w", FILES)
    made.git("branch", "other")
    world = World(small_disk)
    shutil.copytree(made.repo, world.repo, symlinks=True)
    world.env = made.env
    (small_disk / "store").symlink_to(made.root / "store")
    name = {"here": "", "branch": "other", "new": "night"}[kind]
    result = Step(made.tree({**SECOND, "big": os.urandom(100_000)}), "work\n")
    prepared = made.promoter().prepare(
        "M-1", base_commit=made.git("rev-parse", "HEAD"), steps=(result,), target=Target(kind, name)
    )
    before = world.snapshot()
    fill = shutil.disk_usage(small_disk).free - left
    (small_disk / "ballast").write_bytes(b"\0" * fill)
    refused = ""
    try:
        world.promoter().publish(prepared)
    except NightcrewError as error:
        refused = error.message
    if refused:
        assert left < 400_000
        assert "the disk is full; nothing was changed" in refused
        (small_disk / "ballast").unlink()
        world.promoter().recover()
        assert world.snapshot() == before
        world.promoter().publish(prepared)
    assert world.git("rev-parse", prepared.branch) == prepared.new_commit
    world.git("fsck", "--no-dangling")
