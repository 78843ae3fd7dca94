"""What lands in the user's repository, and what stays as it was (conformance rows 15 and 16)."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.errors import DeniedByPolicy, DriftError, StaleError, UsageError
from nightcrew.promote.publish import find_unmoved
from nightcrew.promote.standing import identify
from promote_world import Content, World, walk

FILES: Content = {
    "a.txt": b"a\n",
    "dir/b.txt": b"b\n",
    "dir/c.txt": b"c\n",
    "deep/er/est": b"x",
    "run.sh": b"#!/bin/sh\n",
    "link": "a.txt",
    ".gitignore": b"*.log\n",
}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "w", FILES)


def is_clean(world: World) -> bool:
    return world.git("status", "--porcelain", "-uall") == ""


def test_every_kind_of_change(world: World) -> None:
    change: Content = {
        "a.txt": b"A\n",
        "dir/b.txt": None,
        "deep/er/est": None,
        "run.sh": ("100755", b"#!/bin/sh\n"),
        "link": "dir/c.txt",
        "dir/c.txt": "../a.txt",
        "new/nested/one": bytes(range(256)) * 64,
        "new/empty": b"",
        "new/dangling": "no/where",
    }
    prepared = world.prepare(change)
    kinds = {each.path: each.kind for each in prepared.changes}
    assert kinds["dir/c.txt"] == "typechange"
    assert kinds["new/empty"] == "added"
    assert kinds["dir/b.txt"] == "deleted"
    assert kinds["run.sh"] == "modified"
    assert not prepared.merged
    world.promoter().publish(prepared)
    assert is_clean(world)
    files = walk(world.repo)
    assert files["a.txt"] == ("file", 0o644, b"A\n")
    assert files["run.sh"] == ("file", 0o755, b"#!/bin/sh\n")
    assert files["link"] == ("link", 0o777, "dir/c.txt")
    assert files["new/nested/one"][2] == bytes(range(256)) * 64
    assert not {"deep", "deep/er", "dir/b.txt"} & set(files)
    assert world.git("rev-parse", "HEAD^{tree}") == prepared.tree
    assert world.git("rev-parse", "HEAD^") == prepared.old_commit
    assert world.git("write-tree") == prepared.tree
    world.git("fsck", "--strict")


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "-rf",
        "new\nline",
        'quo"te',
        "back\\slash",
        "tab\there",
        "ünï",
        "\udcff\udcfe",
        "a*b[c]?",
        ":(top)x",
        " ",
    ],
)
def test_odd_names(world: World, name: str) -> None:
    record = world.promote({name: b"1", f"d/{name}/x": b"2"})
    assert (world.repo / name).read_bytes() == b"1"
    assert is_clean(world)
    record2 = world.promote({name: b"11", f"d/{name}/x": None}, "M-2")
    assert is_clean(world)
    world.undo(record2, "M-3")
    world.undo(record, "M-4")
    assert is_clean(world)
    assert walk(world.repo).keys() == {*FILES, "dir", "deep", "deep/er"}


def test_file_and_directory_change_places(world: World) -> None:
    world.promote(
        {"dir/b.txt": None, "dir/c.txt": None, "dir": b"now a file", "a.txt": None, "a.txt/in": b"side"}
    )
    assert (world.repo / "dir").read_bytes() == b"now a file"
    assert (world.repo / "a.txt" / "in").read_bytes() == b"side"
    assert is_clean(world)


def test_link_becomes_a_directory_and_back(world: World) -> None:
    world.promote({"link": None, "link/in/side": b"x"})
    assert (world.repo / "link/in/side").read_bytes() == b"x"
    assert is_clean(world)
    world.promote({"link/in/side": None, "link": "a.txt"}, "M-2")
    assert os.readlink(world.repo / "link") == "a.txt"
    assert is_clean(world)


def test_rename_of_a_file_and_of_a_directory(world: World) -> None:
    world.promote(
        {
            "a.txt": None,
            "z/a.txt": b"a\n",
            "dir/b.txt": None,
            "dir/c.txt": None,
            "rid/b.txt": b"b\n",
            "rid/c.txt": b"c\n",
        }
    )
    assert is_clean(world)
    assert not (world.repo / "dir").exists()


def test_work_of_the_user_stays(world: World) -> None:
    """Row 15: edits, staged changes, untracked and ignored files, stash, branches, hooks, configuration."""
    world.write({"dir/c.txt": b"stashed\n"})
    world.git("stash")
    world.git("branch", "other")
    hook = world.repo / ".git/hooks/pre-commit"
    hook.write_text("#!/bin/sh\ntouch ran\nexit 1\n")
    hook.chmod(0o755)
    world.write(
        {"dir/b.txt": b"edited\n", "dir/c.txt": b"staged\n", "wip": b"untracked", "deep/x.log": b"ignored"}
    )
    world.git("add", "dir/c.txt")
    world.write({"dir/c.txt": b"staged, then edited\n"})
    untouched = ("dir/b.txt", "wip", "run.sh", "link")
    times = [(world.repo / path).lstat().st_mtime_ns for path in untouched]
    before = world.snapshot()
    prepared = world.prepare({"a.txt": b"A\n", "deep/er/est": None, "new": b"n"})
    assert world.snapshot() == before
    assert "hooks are not run: pre-commit" in prepared.notes
    world.promoter().publish(prepared)
    after = world.snapshot()
    assert world.git("status", "--porcelain", "-uall").splitlines() == [
        " M dir/b.txt",
        "MM dir/c.txt",
        "?? wip",
    ]
    assert [(world.repo / path).lstat().st_mtime_ns for path in untouched] == times
    assert (after["stash"], after["config"]) == (before["stash"], before["config"])
    assert not (world.repo / "ran").exists()
    assert world.git("rev-parse", "other") == prepared.old_commit
    assert (world.repo / "deep/x.log").read_bytes() == b"ignored"
    names = set(walk(world.repo))
    assert names - set(before["files"]) == {"new"}
    assert set(before["files"]) - names == {"deep/er", "deep/er/est"}


def test_the_commit(world: World) -> None:
    prepared = world.prepare({"a.txt": b"A\n"}, author="Someone <someone@example.org>")
    world.promoter().publish(prepared)
    assert (
        world.git("log", "-1", "--format=%an <%ae>|%cn <%ce>")
        == "Someone <someone@example.org>|Dev <dev@example.org>"
    )
    assert world.git("log", "-1", "--format=%B").splitlines() == [
        "work",
        "",
        "Run: R-1",
        "Nightcrew-Promotion: M-1",
    ]
    assert world.git("reflog", "-1", "--format=%gs") == "nightcrew: promote M-1"
    assert world.git("rev-parse", "refs/nightcrew/undo/M-1") == prepared.new_commit


def test_without_an_identity(world: World) -> None:
    (world.root / "home/.gitconfig").write_text("")
    prepared = world.prepare({"a.txt": b"A\n"})
    assert any("no user.name" in note for note in prepared.notes)
    world.promoter().publish(prepared)
    assert world.git("log", "-1", "--format=%an <%ae>") == "nightcrew <nightcrew@localhost>"


def test_a_signing_user_is_told(world: World) -> None:
    world.git("config", "commit.gpgSign", "true")
    prepared = world.prepare({"a.txt": b"A\n"})
    assert any("not signed" in note for note in prepared.notes)


def test_what_stands_there_already_is_left_alone(world: World) -> None:
    """The user made the same edit, or has the same new file: it becomes part of the commit, its inode stays."""
    world.write({"a.txt": b"A\n", "new": b"n"})
    inode = (world.repo / "a.txt").stat().st_ino
    prepared = world.prepare({"a.txt": b"A\n", "new": b"n", "dir/b.txt": b"B\n"})
    assert any("not touched: a.txt, new" in note for note in prepared.notes)
    world.promoter().publish(prepared)
    assert (world.repo / "a.txt").stat().st_ino == inode
    assert is_clean(world)


def test_permissions_of_a_private_file_stay(world: World) -> None:
    (world.repo / "a.txt").chmod(0o600)
    (world.repo / "run.sh").chmod(0o640)
    world.promote({"a.txt": b"A\n", "run.sh": ("100755", b"#!/bin/sh\nls\n")})
    assert stat.S_IMODE((world.repo / "a.txt").stat().st_mode) == 0o600
    assert stat.S_IMODE((world.repo / "run.sh").stat().st_mode) == 0o750


def test_index_knows_the_new_files(world: World) -> None:
    """Plumbing that trusts recorded times sees a clean tree without a refresh."""
    world.promote({"a.txt": b"A\n", "new/x": b"n", "dir/b.txt": None})
    assert world.git("diff-files", "--name-only") == ""


def test_index_is_that_of_git_and_its_undo_too(world: World) -> None:
    """Entries, order and remembered trees: what git writes for the same commit, with a file in the place of a folder."""
    world.promote(
        {"dir/b.txt": None, "dir/c.txt": None, "a.txt": None, "a.txt/x": b"x", "zz": b"z", "A": b"a"}
    )
    ours = world.git("ls-files", "-s"), world.git("write-tree")
    world.git("read-tree", "HEAD")
    assert ours == (world.git("ls-files", "-s"), world.git("write-tree"))


def test_what_was_written_to_after_it_came_is_not_noted_as_unmodified(tmp_path: Path) -> None:
    born = {}
    for name in ("left", "written", "replaced", "gone"):
        (tmp_path / name).write_bytes(b"same")
        os.utime(tmp_path / name, (1, 1))
        born[name] = identify((tmp_path / name).stat())
    (tmp_path / "written").write_bytes(b"SAME")
    (tmp_path / "other").write_bytes(b"Same")
    os.utime(tmp_path / "other", (1, 1))
    (tmp_path / "other").rename(tmp_path / "replaced")
    (tmp_path / "gone").unlink()
    came = {name: (tmp_path / name).stat() for name in ("left", "written", "replaced")}
    assert list(find_unmoved(came, born)) == ["left"]


def test_merge_with_commits_that_came_after_the_base(world: World) -> None:
    base = world.git("rev-parse", "HEAD")
    world.write({"dir/c.txt": b"by the user\n", "user.txt": b"u"})
    world.git("add", "-A")
    world.git("commit", "-qm", "by the user")
    prepared = world.prepare({"a.txt": b"A\n", "new": b"n"}, base=base)
    assert prepared.merged
    assert prepared.paths == ("a.txt", "new")
    assert any("merged with what came after" in note for note in prepared.notes)
    world.promoter().publish(prepared)
    assert is_clean(world)
    assert (world.repo / "dir/c.txt").read_bytes() == b"by the user\n"


def test_merge_follows_a_rename_by_the_user(world: World) -> None:
    lines = b"".join(b"line %d\n" % n for n in range(40))
    world.write({"long": lines})
    world.git("add", "-A")
    world.git("commit", "-qm", "long")
    base = world.git("rev-parse", "HEAD")
    world.git("mv", "long", "moved")
    world.git("commit", "-qm", "moved")
    prepared = world.prepare({"long": lines + b"more\n"}, base=base)
    assert prepared.paths == ("moved",)
    world.promoter().publish(prepared)
    assert (world.repo / "moved").read_bytes() == lines + b"more\n"


def test_conflicting_commit(world: World) -> None:
    """Row 19: changed on both sides, added on both sides."""
    base = world.git("rev-parse", "HEAD")
    world.write({"a.txt": b"user\n", "both": b"user", "dir/b.txt": b"fine\n"})
    world.git("add", "-A")
    world.git("commit", "-qm", "by the user")
    before = world.snapshot()
    with pytest.raises(DriftError) as drift:
        world.prepare({"a.txt": b"agent\n", "both": b"agent", "run.sh": b"x"}, base=base)
    assert drift.value.where == ("a.txt: changed on both sides", "both: changed on both sides")
    assert world.snapshot() == before


def test_another_branch_is_checked_out(world: World) -> None:
    base = world.git("rev-parse", "HEAD")
    world.git("checkout", "-q", "--orphan", "island")
    world.git("commit", "-qm", "island")
    prepared = world.prepare({"a.txt": b"A\n"}, base=base)
    assert prepared.branch == "refs/heads/island"
    assert any("does not have" in note for note in prepared.notes)


def test_nothing_to_do(world: World) -> None:
    with pytest.raises(StaleError, match="already"):
        world.prepare({})


def test_an_id_that_is_taken_gets_another_transaction(world: World) -> None:
    first = world.promote({"a.txt": b"A\n"}, "M-1")
    second = world.promote({"a.txt": b"AA\n"}, "M-1")
    assert first.transaction == "M-1"
    assert second.transaction.startswith("M-1.")
    world.undo(second, "M-1")
    assert (world.repo / "a.txt").read_bytes() == b"A\n"


def test_published_once(world: World) -> None:
    prepared = world.prepare({"a.txt": b"A\n"})
    world.promoter().publish(prepared)
    with pytest.raises(DriftError):
        world.promoter().publish(prepared)
    assert world.promoter().outcome(prepared.transaction) == "published"
    assert world.promoter().outcome("M-77") == "aborted"


def test_detached_head(world: World) -> None:
    world.git("checkout", "-q", "--detach")
    with pytest.raises(UsageError, match="detached") as refused:
        world.prepare({"a.txt": b"A\n"})
    assert "git switch" in refused.value.hint


def test_submodule_and_git_paths_are_refused(world: World) -> None:
    commit = world.git("rev-parse", "HEAD")
    store = str(world.root / "store")
    index = {"GIT_INDEX_FILE": str(world.root / "odd.index")}
    line = f"160000 {commit}\tsub\0".encode()
    world.git_raw("--git-dir", store, "update-index", "-z", "--index-info", data=line, env=index)
    tree = world.git_raw("--git-dir", store, "write-tree", env=index).decode().strip()
    with pytest.raises(DeniedByPolicy, match="cannot be promoted"):
        world.promoter().prepare("M-1", base_commit=commit, tree=tree, message="m")
    blob = world.git_raw("--git-dir", store, "hash-object", "-w", "--stdin", data=b"[core]").decode().strip()
    for name in (b".git", b".GIT", b"git~1"):
        inner = world.git_raw(
            "--git-dir", store, "mktree", "-z", data=b"100644 blob %s\tconfig\0" % blob.encode()
        )
        outer = world.git_raw(
            "--git-dir", store, "mktree", "-z", data=b"040000 tree %s\t%s\0" % (inner.strip(), name)
        )
        with pytest.raises(DeniedByPolicy):
            world.promoter().prepare("M-1", base_commit=commit, tree=outer.decode().strip(), message="m")


def test_only_reviewed_paths(world: World) -> None:
    with pytest.raises(DeniedByPolicy) as refused:
        world.prepare({"a.txt": b"A\n", "new": b"n"}, allow_paths={"a.txt"})
    assert refused.value.where == ("new: not among the paths that were reviewed",)
