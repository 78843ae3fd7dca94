"""The user's working tree as a git tree: what `git add -A` would have stored, without touching the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nightcrew.checkpoint.snapshot import Snapshot, snapshot_uncommitted
from nightcrew.host.repository import discover
from nightcrew.model.errors import DriftError
from nightcrew.testing.hermetic import Hermetic

ORDINARY = 12347
"""A user that nobody is."""
BEFORE = {
    "kept.txt": "kept\n",
    "edited.txt": "one\n",
    "staged.txt": "one\n",
    "both.txt": "one\n",
    "removed.txt": "gone\n",
    "staged_removed.txt": "gone\n",
    "untracked_again.txt": "still here\n",
    "old_name.txt": "renamed\n",
    "tool.sh": "#!/bin/sh\n",
    "becomes_link": "a file\n",
    "becomes_directory": "a file\n",
    "becomes_file/inside.txt": "inside\n",
    "crlf.txt": b"a\r\nb\r\n",
    ".gitattributes": "*.up filter=upper\ntext.txt text=auto\n",
    "text.txt": "text\n",
    ".gitignore": "*.log\n/build/\n",
}


@pytest.fixture
def place(tmp_path: Path) -> Hermetic:
    made = Hermetic(tmp_path)
    made.make_repository(BEFORE)
    return made


def take(place: Hermetic) -> Snapshot:
    repository = discover(place.repo, place.variables)
    return snapshot_uncommitted(repository, place.root / "store", place.variables)


def listed(place: Hermetic, tree: str) -> dict[str, str]:
    rows = place.git("--git-dir", str(place.root / "store"), "ls-tree", "-r", "-z", tree).split("\0")
    return {row.partition("\t")[2]: row.partition("\t")[0] for row in rows if row}


def add_all(place: Hermetic) -> str:
    """Return the tree that `git add -A` makes in a copy of the repository."""
    copy = place.root / "copy"
    shutil.copytree(place.repo, copy, symlinks=True)
    place.git("add", "-A", cwd=copy)
    return place.git("write-tree", cwd=copy).strip()


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_dirty(place: Hermetic) -> None:
    repo = place.repo
    place.write({"edited.txt": "two\n", "staged.txt": "two\n", "both.txt": "two\n"})
    place.git("add", "staged.txt", "both.txt")
    place.write({"both.txt": "three\n", "new/deep/file.txt": "new\n", "noise.log": "x", "build/out": "x"})
    place.git("rm", "-q", "--cached", "untracked_again.txt")
    place.git("rm", "-q", "staged_removed.txt")
    place.git("mv", "old_name.txt", "new_name.txt")
    (repo / "removed.txt").unlink()
    (repo / "tool.sh").chmod(0o755)
    for name in ("becomes_link", "becomes_directory"):
        (repo / name).unlink()
    (repo / "becomes_link").symlink_to("kept.txt")
    (repo / "becomes_directory").mkdir()
    shutil.rmtree(repo / "becomes_file")
    place.write(
        {"becomes_directory/inside.txt": "inside\n", "becomes_file": "now a file\n", "intended.txt": "x\n"}
    )
    place.git("add", "-N", "intended.txt")
    for name in (b"two\nlines", b"-dash", b"not-utf8-\xff", b" sp ace ", b'quo"te'):
        (repo / os.fsdecode(name)).write_bytes(name)


def test_it_is_the_tree_that_add_all_would_make(place: Hermetic) -> None:
    make_dirty(place)
    expected = add_all(place)
    os.mkfifo(place.repo / "pipe")
    before = everything_below(place.repo / ".git")
    taken = take(place)
    assert taken.tree == expected
    assert everything_below(place.repo / ".git") == before
    assert not list((place.root / "store/scratch").iterdir())
    names = listed(place, taken.tree)
    assert "noise.log" not in names
    assert "build/out" not in names
    changed = place.git(
        "diff", "--name-only", "-z", "--no-renames", "HEAD", expected, cwd=place.root / "copy"
    )
    still_there = {"untracked_again.txt"}  # different in the index, the same in the working tree
    assert set(taken.paths) - still_there == {name for name in changed.split("\0") if name}
    assert taken.left_out == ()


def test_nothing_uncommitted_is_the_tree_of_head(place: Hermetic) -> None:
    taken = take(place)
    assert taken.tree == place.git("rev-parse", "HEAD^{tree}").strip()
    assert taken.paths == ()


def test_line_ends_and_filters_of_the_user_are_applied_as_by_add(place: Hermetic) -> None:
    place.git("config", "core.autocrlf", "true")
    place.git("config", "filter.upper.clean", "tr a-z A-Z")
    place.write({"shout.up": "quiet\n", "crlf.txt": b"a\r\nb\r\nc\r\n", "text.txt": b"text\r\nmore\r\n"})
    expected = add_all(place)
    taken = take(place)
    assert taken.tree == expected
    shout = listed(place, taken.tree)["shout.up"].split()[-1]
    assert place.git("--git-dir", str(place.root / "store"), "cat-file", "blob", shout) == "QUIET\n"


def test_an_edit_in_the_same_instant_and_of_the_same_size_is_seen(place: Hermetic) -> None:
    for number in range(5):
        place.write({"edited.txt": f"{number}aa\n"})
        place.git("add", "edited.txt")
        place.write({"edited.txt": f"{number}bb\n"})
        blob = listed(place, take(place).tree)["edited.txt"].split()[-1]
        assert place.git("--git-dir", str(place.root / "store"), "cat-file", "blob", blob) == f"{number}bb\n"


def test_conflicts_that_wait_are_refused_by_name(place: Hermetic) -> None:
    place.git("switch", "-q", "-c", "other")
    place.write({"edited.txt": "theirs\n"})
    place.commit("theirs")
    place.git("switch", "-q", "main")
    place.write({"edited.txt": "ours\n"})
    place.commit("ours")
    with pytest.raises(AssertionError):
        place.git("merge", "other")
    with pytest.raises(DriftError, match="conflicts") as caught:
        take(place)
    assert caught.value.where == ("edited.txt",)


def test_repositories_inside_and_submodules_stay_out_and_are_named(place: Hermetic) -> None:
    inner = place.root / "inner"
    inner.mkdir()
    place.git("init", "-q", "-b", "main", cwd=inner)
    place.git("commit", "-q", "--allow-empty", "-m", "one", cwd=inner)
    place.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "module")
    place.commit("a submodule")
    place.git("commit", "-q", "--allow-empty", "-m", "two", cwd=place.repo / "module")
    (place.repo / "nested").mkdir()
    place.git("init", "-q", cwd=place.repo / "nested")
    place.write({"nested/file": "x", "edited.txt": "two\n"})
    taken = take(place)
    assert taken.paths == ("edited.txt",)
    assert taken.left_out == (
        "module: a submodule stays as HEAD has it",
        "nested/: a git repository of its own",
    )
    assert listed(place, taken.tree)["module"] == place.git("ls-tree", "HEAD", "module").partition("\t")[0]


CLOSED = """
import os, pathlib, subprocess, sys
from nightcrew.checkpoint.snapshot import snapshot_uncommitted
from nightcrew.host.repository import discover
root = pathlib.Path(sys.argv[1])
env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(root / "repo")]
subprocess.run(["git", "init", "-q", str(root / "repo")], env=env, check=True)
subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], env=env, check=True)
(root / "repo/closed.txt").write_text("x")
(root / "repo/closed.txt").chmod(0)
(root / "repo/open.txt").write_text("x")
taken = snapshot_uncommitted(discover(root / "repo", env), root / "store", env)
print(taken.paths, taken.left_out)
"""


@pytest.mark.needs_root
def test_what_an_ordinary_user_cannot_read_is_named() -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    libraries = next(entry for entry in sys.path if entry.endswith("site-packages"))
    place = Path(tempfile.mkdtemp(prefix="nightcrew-snapshot-", dir="/var/tmp"))
    try:
        os.chown(place, ORDINARY, ORDINARY)
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", CLOSED, str(place)],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{source}:{libraries}"},
            user=ORDINARY,
            group=ORDINARY,
            extra_groups=[],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(place)
    if "ModuleNotFoundError" in done.stderr or "SyntaxError" in done.stderr:
        pytest.skip("no interpreter that an ordinary user can start with what nightcrew needs")
    assert done.stdout.strip() == "('open.txt',) ('closed.txt: its mode forbids reading it',)", done.stderr


def test_it_works_in_a_linked_worktree_a_sparse_checkout_and_with_a_split_index(place: Hermetic) -> None:
    place.git("worktree", "add", "-q", str(place.root / "linked"), "-b", "linked")
    linked = place.root / "linked"
    (linked / "edited.txt").write_text("linked\n")
    repository = discover(linked, place.variables)
    taken = snapshot_uncommitted(repository, place.root / "store", place.variables)
    assert taken.paths == ("edited.txt",)
    place.git("sparse-checkout", "set", "--no-cone", "/kept.txt", "/edited.txt")
    place.git("update-index", "--split-index")
    place.write({"edited.txt": "sparse\n"})
    taken = take(place)
    assert taken.paths == ("edited.txt",)
    assert set(listed(place, taken.tree)) == set(BEFORE)
    assert place.git("status", "--porcelain") == " M edited.txt\n"
