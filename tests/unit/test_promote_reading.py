"""What a promotion reads by itself, of the index and of refs, is what git says; where it is not plain, git is asked."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host.indexfile import IndexFile, guess_root
from nightcrew.model.errors import DriftError
from nightcrew.model.records import PromotionRecord
from nightcrew.promote import index as promote_index
from nightcrew.promote.reffiles import find_ref, read_head
from promote_world import Content, World, record_of

FILES: Content = {f"d{n % 4}/e{n % 3}/f{n:02}": f"{n}\n".encode() for n in range(40)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, {**FILES, "top": b"top\n"})


def land(world: World, files: Content, id: str = "M-1") -> PromotionRecord:  # noqa: A002
    """Promote as the command does it: who prepares also publishes."""
    promoter = world.promoter()
    head = world.git("rev-parse", "HEAD")
    prepared = promoter.prepare(id, base_commit=head, tree=world.tree(files), message="work\n")
    promoter.publish(prepared)
    return record_of(prepared)


def take_back(world: World, record: PromotionRecord, id: str) -> PromotionRecord:  # noqa: A002
    promoter = world.promoter()
    prepared = promoter.undo(record, id=id, message="undo")
    promoter.publish(prepared)
    return record_of(prepared)


def index_of(world: World) -> bytes:
    return (world.repo / ".git/index").read_bytes()


def see_that_all_is_well(world: World) -> None:
    """Git finds in index and files what is committed, with what the index remembers and without."""
    assert world.git("status", "--porcelain") == ""
    tree = world.git("rev-parse", "HEAD^{tree}")
    remembered = guess_root(index_of(world), 20)
    assert remembered in ("", tree)
    rows = world.git_raw("ls-files", "-s", "-z")
    apart = {"GIT_INDEX_FILE": str(world.root / "apart.index")}
    world.git_raw("update-index", "-z", "--index-info", data=rows, env=apart)
    assert world.git_raw("write-tree", env=apart).decode().strip() == tree
    (world.root / "apart.index").unlink()
    assert world.git("fsck", "--no-dangling") == ""


CHANGES: dict[str, Content] = {
    "edited": {"d1/e1/f01": b"new\n", "top": b"new\n"},
    "added": {"d1/e1/new": b"new\n"},
    "deleted": {"d1/e1/f01": None, "d1/e1/f13": None},
    "in a new folder": {"new/deep/file": b"new\n", "d1/e1/f01": b"new\n"},
    "folder gone": {f"d1/e1/f{n:02}": None for n in range(40) if n % 12 == 1},
    "file for a folder": {**{f"d1/e1/f{n:02}": None for n in range(40) if n % 12 == 1}, "d1/e1": b"file\n"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_index_keeps_the_trees_of_what_was_promoted(world: World, what: str) -> None:
    world.git("write-tree")
    record = land(world, CHANGES[what])
    see_that_all_is_well(world)
    if what in ("edited", "added", "deleted"):
        assert guess_root(index_of(world), 20) == record.tree
    before = world.git("rev-parse", "HEAD~1^{tree}")
    again = take_back(world, record, "M-2")
    see_that_all_is_well(world)
    if what in ("edited", "added", "deleted"):
        assert guess_root(index_of(world), 20) == before
    take_back(world, again, "M-3")
    see_that_all_is_well(world)
    assert (world.repo / "top").read_bytes() == (b"new\n" if what == "edited" else b"top\n")


def test_git_compares_only_what_the_index_does_not_remember(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    plain = promote_index._differences
    monkeypatch.setattr(
        promote_index, "_differences", lambda git, commit: asked.append(commit) or plain(git, commit)
    )
    world.git("write-tree")
    record = land(world, CHANGES["edited"])
    take_back(world, record, "M-2")
    assert asked == []
    world.git("update-index", "--force-remove", "d2/e2/f02")
    world.git("update-index", "--add", "d2/e2/f02")
    assert guess_root(index_of(world), 20) == ""
    land(world, CHANGES["added"], "M-3")
    assert len(asked) == 1
    see_that_all_is_well(world)


def test_staged_work_is_found_whatever_the_index_remembers(world: World) -> None:
    world.git("write-tree")
    world.write({"d1/e1/f01": b"mine\n", "d1/e1/new": b"mine\n"})
    world.git("add", "d1/e1/f01")
    before = world.snapshot()
    with pytest.raises(DriftError):
        land(world, CHANGES["edited"])
    world.git("reset", "-q")
    world.git("write-tree")
    world.git("add", "-N", "d1/e1/new")
    with pytest.raises(DriftError):
        land(world, CHANGES["added"])
    world.git("rm", "-q", "--cached", "d1/e1/new")
    world.git("add", "d1/e1/f01")
    assert world.snapshot() == before


def test_what_was_staged_and_committed_as_another_tree_is_not_taken_for_this_one(world: World) -> None:
    """The index remembers a tree, but not that of HEAD: somebody staged something and asked for its tree."""
    world.write({"d3/e0/f03": b"staged\n"})
    world.git("add", "d3/e0/f03")
    world.git("write-tree")
    land(world, CHANGES["edited"])
    assert world.git("status", "--porcelain") == "M  d3/e0/f03"
    assert world.git("diff", "--cached", "--name-only") == "d3/e0/f03"
    tree = world.git("write-tree")
    assert world.git("diff", "--name-only", "HEAD", tree) == "d3/e0/f03"


def test_refs_are_read_as_git_reads_them(world: World) -> None:
    git_dir = world.repo / ".git"
    head = world.git("rev-parse", "HEAD")
    assert read_head(git_dir, git_dir) == ("refs/heads/main", head)
    assert find_ref(git_dir, "refs/heads/none") == ""
    world.git("branch", "a/b")
    world.git("pack-refs", "--all")
    assert not (git_dir / "refs/heads/main").exists()
    assert read_head(git_dir, git_dir) == ("refs/heads/main", head)
    assert find_ref(git_dir, "refs/heads/a/b") == head
    assert find_ref(git_dir, "refs/heads/a") == ""
    world.git("commit", "-q", "--allow-empty", "-m", "newer than what is packed")
    newer = world.git("rev-parse", "HEAD")
    assert read_head(git_dir, git_dir) == ("refs/heads/main", newer)
    place = world.root / "linked"
    world.git("worktree", "add", "-q", "-b", "other", str(place))
    assert read_head(git_dir / "worktrees/linked", git_dir) == ("refs/heads/other", newer)


def test_what_is_not_plain_is_left_to_git(world: World) -> None:
    git_dir = world.repo / ".git"
    world.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    assert find_ref(git_dir, "refs/heads/alias") is None
    (git_dir / "refs/heads/old").symlink_to("main")
    (git_dir / "refs/heads/main.lock").write_text(world.git("rev-parse", "HEAD") + "\n")
    for name in (
        "HEAD",
        "main",
        "refs/tags/v1",
        "refs/heads/",
        "refs/heads/../../config",
        "refs/heads/a^{tree}",
        "refs/heads/main.lock",
        "refs/heads/old",
    ):
        assert find_ref(git_dir, name) is None
    (git_dir / "refs/heads/broken").write_text("")
    assert find_ref(git_dir, "refs/heads/broken") is None
    world.git("checkout", "-q", "--detach")
    assert read_head(git_dir, git_dir) == ("", "")
    (git_dir / "HEAD").write_text("ref: refs/heads/.invalid\n")
    assert read_head(git_dir, git_dir) == ("", "")
    assert find_ref(git_dir, "refs/heads/none") is None
    assert read_head(world.root, world.root) == ("", "")


def test_a_comparison_is_not_believed_before_the_entries_were_walked_to_their_end(world: World) -> None:
    world.git("write-tree")
    tree = world.git("rev-parse", "HEAD^{tree}")
    commit = world.git("rev-parse", "HEAD")
    git = world.promoter()._site.git
    compared = promote_index.compare_index(git, commit, tree)
    assert compared.tree == tree
    assert compared.is_certain
    # An extension that git must understand stands before the trees: nothing may be concluded from what follows.
    content, end = compared.reading.content, IndexFile(compared.reading.content, 20)._end
    odd = content[:end] + b"link" + (20).to_bytes(4, "big") + b"\x11" * 20 + content[end:]
    reading = promote_index.Reading(odd, ())
    assert guess_root(odd, 20) == tree
    assert not promote_index.Compared(reading, {}, commit, tree).is_certain


def test_a_long_name_is_not_taken_for_the_entry_of_the_file_that_it_names(tmp_path: Path) -> None:
    """A length of 353 has no NUL: id, length and name of one entry can be the end of another's name."""
    name = "z" * 100 + "/" + "z" * 252
    texts = (b"%d\n" % n for n in range(1000))
    content, blob = next(
        (text, blob)
        for text in texts
        if not set(blob := hashlib.sha1(b"blob %d\0%b" % (len(text), text)).digest()) & set(b"\0/.\n")
    )
    length = len(name).to_bytes(2, "big")
    alike = os.fsdecode(b"a" * 67 + blob + length + os.fsencode(name))
    world = World.make(tmp_path, {name: content, alike: b"alike\n"})
    record = land(world, {name: b"new\n"})
    see_that_all_is_well(world)
    take_back(world, record, "M-2")
    see_that_all_is_well(world)


def write_with_old_trees(world: World, content: bytes, trees: bytes) -> None:
    """Have an index remember what an older one did, as a program leaves it that does not know what that means."""
    entries = content[: IndexFile(content, 20)._end]
    data = entries + b"TREE" + len(trees).to_bytes(4, "big") + trees
    (world.repo / ".git/index").write_bytes(data + hashlib.sha1(data).digest())


@pytest.mark.parametrize("path", ["d1/e1/f01", "top", "d1/e1/new", "new"])
def test_what_another_program_staged_is_seen_though_the_old_trees_are_still_remembered(
    world: World, path: str
) -> None:
    world.git("write-tree")
    old = dict(IndexFile(index_of(world), 20)._extensions())[b"TREE"]
    world.write({path: b"staged\n"})
    world.git("add", path)
    # Only the index has it now.
    world.write({path: FILES.get(path, b"top\n" if path == "top" else None)})
    write_with_old_trees(world, index_of(world), old)
    before = index_of(world)
    with pytest.raises(DriftError):
        land(world, {path: b"promoted\n"})
    assert index_of(world) == before


def test_trees_of_more_or_fewer_entries_are_not_kept(world: World) -> None:
    world.git("write-tree")
    old = dict(IndexFile(index_of(world), 20)._extensions())[b"TREE"]
    world.write({"d2/mine": b"staged\n"})
    world.git("add", "d2/mine")
    write_with_old_trees(world, index_of(world), old)
    assert guess_root(index_of(world), 20) == ""
    land(world, CHANGES["edited"])
    assert world.git("diff", "--cached", "--name-only") == "d2/mine"
    assert world.git("diff", "--name-only", "HEAD", world.git("write-tree")) == "d2/mine"
