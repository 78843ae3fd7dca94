"""The store: comparing, leaving out, composing, restoring, and what happens when things are gone."""

from __future__ import annotations

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint import compaction
from nightcrew.checkpoint.compaction import compact
from nightcrew.checkpoint.store import Store
from nightcrew.model.errors import NightcrewError, NotFound, UsageError
from nightcrew.model.trees import Composition, Conflict, Entry
from shadow_world import World, write_files

FILES = {
    ".gitignore": b"*.log\n/build/\n!keep.log\n",
    "sub/.gitignore": b"*.tmp\n",
    "a": b"1\n2\n3\n",
    "b": b"b\n",
    "sub/c": b"c\n",
    "sub/deep/d": b"d\n",
    "tracked.log": b"tracked although ignored\n",
}


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


@pytest.fixture
def base(world):
    return world.store.tree_of(world.repository.head)


def change(world, tree, changes):
    """Capture files (bytes), links (text), files with mode, or (None) deletions."""
    place = world.root / f"sources-{len(os.listdir(world.root))}"
    entries = []
    for number, (path, content) in enumerate(changes.items()):
        source = str(place / str(number))
        if content is None:
            entries.append(Entry(path, "deleted"))
            continue
        write_files(place, {str(number): content})
        mode = 0o100755 if isinstance(content, tuple) and content[0] & 0o100 else 0o100644
        entries.append(
            Entry(path, "symlink", source, 0o120000)
            if isinstance(content, str)
            else Entry(path, "file", source, mode)
        )
    return world.store.capture(tree, entries).tree


def kinds(world, old, new):
    return {p.path: p.kind for p in world.store.compare(old, new).paths}


# -- compare --------------------------------------------------------------------------------------------------------


def test_compare_counts_lines_sizes_and_modes(world, base):
    tree = change(
        world, base, {"a": b"1\ntwo\n3\n4\n", "bin": b"\0" * 10, "sub/c": (0o755, b"c\n"), "b": "a"}
    )
    found = {p.path: p for p in world.store.compare(base, tree).paths}
    assert (found["a"].lines_added, found["a"].lines_deleted, found["a"].size_bytes) == (2, 1, 10)
    assert (found["bin"].binary, found["bin"].size_bytes, found["bin"].lines_added) == (True, 10, 0)
    assert (found["sub/c"].old_mode, found["sub/c"].new_mode) == (0o100644, 0o100755)
    assert (found["b"].kind, found["b"].link_target) == ("typechange", "a")
    assert found["bin"].old_id == ""
    assert found["bin"].old_mode == 0


def test_compare_of_equal_trees_is_empty(world, base):
    assert world.store.compare(base, base).paths == ()
    assert world.store.patch(base, base) == b""


def test_compare_hands_refusals_through(world, base):
    assert world.store.compare(base, base, refused=["pipe: a FIFO"]).refused == ("pipe: a FIFO",)


# -- ignored paths --------------------------------------------------------------------------------------------------


def test_added_paths_are_ignored_by_the_rules_of_the_base_tree(world, base):
    added = [
        "x.log",
        "sub/x.log",
        "keep.log",
        "build/out",
        "sub/build/out",
        "x.tmp",
        "sub/x.tmp",
        "sub/deep/x.tmp",
    ]
    odd = [
        ":(top)x.log",
        "-x.log",
        "new\nline.log",
        "\udcff.log",
        "a[b].log",
        "back\\slash.log",
        "sp ace.log",
    ]
    tree = change(world, base, dict.fromkeys(added + odd, b"1\n"))
    ignored = {p.path for p in world.store.compare(base, tree).paths if p.ignored}
    assert ignored == {"x.log", "sub/x.log", "build/out", "sub/x.tmp", "sub/deep/x.tmp", *odd}
    assert kinds(world, base, world.store.promotable(base, tree)) == dict.fromkeys(
        ["keep.log", "sub/build/out", "x.tmp"], "added"
    )


def test_tracked_files_are_not_ignored_whatever_the_rules_say(world, base):
    tree = change(world, base, {"tracked.log": b"changed\n", "new.log": b"1"})
    (modified,) = [p for p in world.store.compare(base, tree).paths if not p.ignored]
    assert modified.path == "tracked.log"
    assert kinds(world, base, world.store.promotable(base, tree)) == {"tracked.log": "modified"}
    gone = change(world, base, {"tracked.log": None})
    assert world.store.promotable(base, gone) == gone


def test_rules_that_the_agent_wrote_decide_nothing(world, base):
    tree = change(
        world,
        base,
        {".gitignore": b"", "sub/.gitignore": b"*\n", "x.log": b"1", "sub/new": b"1", "evil": b"1"},
    )
    assert {p.path for p in world.store.compare(base, tree).paths if p.ignored} == {"x.log"}
    hidden = change(world, base, {".gitignore": b"evil\n*\n", "evil": b"1"})
    assert [p.path for p in world.store.compare(base, hidden).paths if p.ignored] == []


def test_new_directory_that_ignores_itself_is_left_out(world, base):
    cache = {
        ".cache/.gitignore": b"# made by a tool\n*\n",
        ".cache/x": b"1",
        "sub/.cache/deep/.gitignore": b"*\n",
    }
    tree = change(
        world, base, {**cache, "sub/.cache/deep/y": b"1", "sub/.cache/z": b"1", "no/.gitignore": b"*\n!x\n"}
    )
    assert kinds(world, base, world.store.promotable(base, tree)) == {
        "sub/.cache/z": "added",
        "no/.gitignore": "added",
    }


def test_the_top_directory_cannot_ignore_itself(tmp_path):
    world = World.make(tmp_path, {"a": b"1"})
    base = world.store.tree_of(world.repository.head)
    tree = change(world, base, {".gitignore": b"*\n", "b": b"1"})
    assert world.store.promotable(base, tree) == tree
    world.close()


# -- compose --------------------------------------------------------------------------------------------------------


def test_changes_of_one_file_in_different_places_are_merged(world, base):
    one = change(world, base, {"sub/c": b"c\n" + b"x\n" * 20 + b"end\n"})
    top = change(world, one, {"sub/c": b"top\nc\n" + b"x\n" * 20 + b"end\n"})
    bottom = change(world, one, {"sub/c": b"c\n" + b"x\n" * 20 + b"end\nbottom\n"})
    composed = world.store.compose(one, [("T01", one, top), ("T02", one, bottom)])
    assert world.store.read(composed.tree, "sub/c") == b"top\nc\n" + b"x\n" * 20 + b"end\nbottom\n"


def test_conflicts_name_part_paths_and_the_others(world, base):
    one = change(world, base, {"a": b"one\n", "new": b"1\n"})
    two = change(world, base, {"b": b"two\n"})
    three = change(world, base, {"a": b"three\n", "new": b"3\n", "c": b"fine\n"})
    four = change(world, base, {"b": None})
    parts = [("T01", base, one), ("T02", base, two), ("T03", base, three), ("T04", base, four)]
    assert world.store.compose(base, parts) == Composition(
        "", (Conflict("T03", ("a", "new"), ("T01",)), Conflict("T04", ("b",), ("T02",)))
    )


def test_conflict_with_the_base_alone(world, base):
    moved_on = change(world, base, {"a": b"the user's\n"})
    one = change(world, base, {"a": b"one\n"})
    assert world.store.compose(moved_on, [("T01", base, one)]) == Composition("", (Conflict("T01", ("a",)),))


def test_a_dependent_part_brings_its_own_change_only(world, base):
    one = change(world, base, {"b": b"one\n"})
    two = change(world, one, {"a": b"1\ntwo\n3\n"})
    both = world.store.compose(base, [("T01", base, one), ("T02", one, two)])
    assert both.tree == two
    alone = world.store.compose(base, [("T02", one, two)])
    assert kinds(world, base, alone.tree) == {"a": "modified"}


def test_file_against_directory_is_a_conflict(world, base):
    one = change(world, base, {"x": b"file\n"})
    two = change(world, base, {"x/y": b"in\n"})
    (conflict,) = world.store.compose(base, [("T01", base, one), ("T02", base, two)]).conflicts
    assert conflict.part == "T02"


def test_a_renamed_directory_does_not_pull_new_files_along(world, base):
    one = change(
        world,
        base,
        {"sub/c": None, "sub/deep/d": None, "sub/.gitignore": None, "dir/c": b"c\n", "dir/deep/d": b"d\n"},
    )
    two = change(world, base, {"sub/new": b"new\n"})
    composed = world.store.compose(base, [("T01", base, one), ("T02", base, two)])
    assert world.store.read(composed.tree, "sub/new") == b"new\n"


def test_composing_nothing_gives_the_base(world, base):
    assert world.store.compose(base, []) == Composition(base)
    assert world.store.compose(base, [("T01", base, base)]) == Composition(base)


# -- restoring ------------------------------------------------------------------------------------------------------


def test_overlay_paths_takes_matching_paths_and_deletions(world, base):
    tree = change(
        world, base, {"a": b"bad\n", "b": None, "sub/c": b"bad\n", "sub/new": b"1", "sub/deep/d": b"fine\n"}
    )
    overlay = world.store.overlay_paths
    assert kinds(world, base, overlay(tree, base, ["a", "b"])) == {
        "sub/c": "modified", "sub/new": "added", "sub/deep/d": "modified",
    }  # fmt: skip
    assert kinds(world, base, overlay(tree, base, ["sub/"])) == {"a": "modified", "b": "deleted"}
    assert kinds(world, base, overlay(tree, base, ["sub/*", "!sub/deep"])) == {
        "a": "modified", "b": "deleted", "sub/deep/d": "modified",
    }  # fmt: skip
    assert overlay(tree, base, ["**"]) == base
    assert overlay(tree, base, ["none"]) == tree


def test_overlay_paths_takes_odd_names_as_they_are(world, base):
    tree = change(world, base, {"a[b]": b"1", "!x": b"1", "sp ace/#y": b"1"})
    assert world.store.overlay_paths(tree, base, ["a[b]", "!x", "sp ace"]) == base


def test_overlay_paths_lets_file_and_directory_trade_places(world, base):
    tree = change(
        world, base, {"sub/c": None, "sub/deep/d": None, "sub/.gitignore": None, "a": None, "a/in": b"1"}
    )
    tree = change(world, tree, {"sub": b"file\n"})
    assert world.store.overlay_paths(tree, base, ["**"]) == base
    assert world.store.overlay_paths(base, tree, ["**"]) == tree


# -- delta, patch, read ---------------------------------------------------------------------------------------------


def test_delta_puts_deletions_first(world, base):
    tree = change(world, base, {"a": None, "a/in": b"1", "zz": None, "b": "a"})
    rows = [(e.path, e.mode, e.open().read() if e.mode else b"") for e in world.store.delta(base, tree)]
    assert rows == [("a", 0, b""), ("a/in", 0o100644, b"1"), ("b", 0o120000, b"a")]


def test_patch_and_its_limits(world, base):
    tree = change(world, base, {"a": b"1\n3\n", "b": b"B\n", "sub/c": b"C\n", "bin": b"\0\1"})
    assert b"-2\n" in world.store.patch(base, tree)
    assert b"Binary files" in world.store.patch(base, tree, paths=["bin"])
    only = world.store.patch(base, tree, paths=["sub", "b"])
    assert [line for line in only.splitlines() if line.startswith(b"+++")] == [b"+++ b/b", b"+++ b/sub/c"]
    assert b"3 files changed" not in world.store.patch(base, tree, stat=True, paths=["a"])
    assert b"4 files changed" in world.store.patch(base, tree, stat=True)
    assert world.store.patch(base, tree, paths=["*"]) == b""


def test_read(world, base):
    tree = change(world, base, {"link": "a"})
    assert world.store.read(tree, "link") == b"a"
    assert world.store.read(tree, "sub") is None
    assert world.store.read(tree, "none/x") is None


# -- commits and refs -----------------------------------------------------------------------------------------------


def test_commit_is_kept_by_its_ref_and_the_same_again_is_the_same(world, base):
    head = world.repository.head
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    one = world.store.commit(base, parents=[head], message="päth \udcff\n", at=moment, ref="C-1")
    two = world.store.commit(base, parents=[head], message="päth \udcff\n", at="2026-01-02T03:04:05.000000Z")
    assert one == two
    assert world.store.tree_of("refs/nightcrew/checkpoints/C-1") == base
    assert world.git("--git-dir", str(world.store.path), "log", "-1", "--format=%cI %P", one).split() == [
        "2026-01-02T03:04:05+00:00",
        head,
    ]
    assert "C-1" not in world.git("for-each-ref")


def test_missing_objects_are_said_with_a_way_on(world, base):
    for ask in (
        lambda: world.store.tree_of("1" * 40),
        lambda: world.store.read("1" * 40, "a"),
        lambda: world.store.capture("1" * 40, [Entry("a", "deleted")]),
    ):
        with pytest.raises(NotFound) as error:
            ask()
        assert error.value.hint
        assert str(world.repo) in "".join(error.value.where)


def test_a_store_of_a_newer_version_is_refused(world, base):
    (world.store.path / "version").write_text("2\n")
    world.close()
    with pytest.raises(UsageError, match="format 2"):
        world.store.tree_of(base)


def test_store_follows_a_repository_that_moved(world, base):
    tree = change(world, base, {"a": b"new\n"})
    world.close()
    shutil.move(world.repo, world.root / "elsewhere")
    moved = World(world.root, "elsewhere")
    assert kinds(moved, base, tree) == {"a": "modified"}
    moved.close()


# -- several at once, and a git that dies ---------------------------------------------------------------------------


def test_captures_at_once_from_several_threads(world, base):
    def work(number):
        return [change_in(world, base, number, step) for step in range(5)][-1]

    with ThreadPoolExecutor(6) as pool:
        trees = dict(enumerate(pool.map(work, range(6))))
    for number, tree in trees.items():
        assert world.store.read(tree, f"file-{number}") == b"4"
    world.git("--git-dir", str(world.store.path), "fsck", "--strict")


def change_in(world, base, number, step):
    place = world.root / f"thread-{number}"
    place.mkdir(exist_ok=True)
    (place / "x").write_bytes(b"%d" % step)
    return world.store.capture(base, [Entry(f"file-{number}", "file", str(place / "x"), 0o100644)]).tree


def test_git_that_was_killed_is_started_anew(world, base):
    assert world.store.read(base, "a") == b"1\n2\n3\n"
    world.store._reader._conversation._process.kill()
    world.store._reader._conversation._process.wait()
    assert world.store.read(base, "b") == b"b\n"
    with pytest.raises(NightcrewError):
        world.store.read("0" * 40, "a")


def test_what_was_captured_before_is_not_written_again(world, base):
    blob = os.urandom(100_000)
    tree = change(world, base, {"big": blob})
    before = sum(p.stat().st_size for p in (world.store.path / "objects").rglob("*"))
    assert change(world, base, {"big": blob}) == tree
    assert change(world, base, {"big": blob, "small": b"1"}) != tree
    after = sum(p.stat().st_size for p in (world.store.path / "objects").rglob("*"))
    assert after - before < 10_000


def test_another_git_reads_the_store(world, base):
    store = Store(world.root / "second", world.repository, env=world.env)
    tree = store.capture(base, [Entry("a", "deleted")]).tree
    store.commit(tree, message="m", at="2026-01-01T00:00:00Z", ref="C-7")
    assert "D\ta" in world.git("--git-dir", str(world.root / "second"), "diff", "--name-status", base, tree)
    world.git("--git-dir", str(world.root / "second"), "fsck", "--strict")
    store.close()


def test_packs_are_put_together_when_no_checkpoint_comes_any_more_and_at_the_latest_at_the_end(
    world, base, monkeypatch
):
    monkeypatch.setattr(compaction, "_QUIET_S", 3600.0)
    number = compaction.MAX_SMALL_PACKS + 2
    trees = [change(world, base, {"new": b"%d" % n}) for n in range(number)]
    for n, tree in enumerate(trees):
        world.store.commit(tree, message="m", at="2026-01-01T00:00:00Z", ref=f"C-{n}")
    packs = world.store.path / "objects/pack"
    assert len(list(packs.glob("*.pack"))) == number, "nothing of it between checkpoints"
    world.store.close()
    assert len(list(packs.glob("*.pack"))) == 1
    assert [world.store.read(tree, "new") for tree in trees] == [b"%d" % n for n in range(number)]
    # And again: what was noted before is no obstacle.
    monkeypatch.setattr(compaction, "_QUIET_S", 0.0)
    more = [change(world, base, {"other": b"%d" % n}) for n in range(number)]
    world.store.commit(more[-1], message="m", at="2026-01-01T00:00:00Z", ref="C-x")
    world.store.close()
    assert len(list(packs.glob("*.pack"))) == 1
    world.git("--git-dir", str(world.store.path), "fsck", "--strict")


def test_many_packs_are_put_together_and_nothing_is_lost(world, base):
    trees = [change(world, base, {f"new-{n}": b"%d" % n}) for n in range(6)]
    git = world.store._git()
    assert not compact(git, world.store.path)
    assert compact(git, world.store.path, limit=5)
    assert len(list((world.store.path / "objects/pack").glob("*.pack"))) == 1
    assert len(list((world.store.path / "objects/pack").glob("*.idx"))) == 1
    assert [world.store.read(tree, f"new-{n}") for n, tree in enumerate(trees)] == [
        b"%d" % n for n in range(6)
    ]
    fresh = Store(world.store.path, world.repository, env=world.env)
    assert [fresh.read(tree, f"new-{n}") for n, tree in enumerate(trees)] == [b"%d" % n for n in range(6)]
    fresh.close()
    world.git("--git-dir", str(world.store.path), "fsck", "--strict")


def test_commits_keep_the_number_of_packs_small(world, base):
    for n in range(70):
        tree = change(world, base, {"a": b"%d" % n})
        world.store.commit(tree, message="m", at="2026-01-01T00:00:00Z", ref=f"C-{n}")
    world.store.close()  # they are put together beside all this
    assert len(list((world.store.path / "objects/pack").glob("*.pack"))) < 10
    assert world.store.read(world.store.tree_of("refs/nightcrew/checkpoints/C-3"), "a") == b"3"


@pytest.mark.parametrize("ref", ["refs/../x", "refs/nightcrew/a..b", "../x", "a b", "refs/x.lock", "refs/-x"])
def test_odd_refs_are_refused(world, base, ref):
    with pytest.raises(ValueError, match="ref"):
        world.store.commit(base, message="m", at="2026-01-01T00:00:00Z", ref=ref)
    assert world.git("--git-dir", str(world.store.path), "for-each-ref") == ""
