"""Repositories of every sort: linked worktrees, odd places, filters, line ends, SHA-256, read-only, ordinary user."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError, NightcrewError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote.transaction import BESIDE
from promote_world import Content, World, record_of

FILES: Content = {"a.txt": b"a\n", "dir/b.txt": b"b\n", "run.sh": b"#!/bin/sh\n", "link": "a.txt"}
CHANGE: Content = {
    "a.txt": b"A\n",
    "dir/b.txt": None,
    "run.sh": ("100755", b"#!/bin/sh\n"),
    "link": "run.sh",
    "new/file": b"n",
}


def forth_and_back(world: World, change: Content = CHANGE) -> None:
    """Promote, look, undo, look."""
    before = world.snapshot()
    record = world.promote(change)
    assert world.git("status", "--porcelain", "-uall") == ""
    assert world.git("rev-parse", "HEAD^{tree}") == record.tree
    world.undo(record)
    assert world.snapshot() == before


@pytest.mark.parametrize("name", ["with space", "ünïcödé", "new\nline", "\udcff", "a:b,c=d", "-dash"])
def test_repository_at_an_odd_place(tmp_path: Path, name: str) -> None:
    world = World.make(tmp_path / "w", FILES, repo=f"{name}/repo")
    alternates = world.root / "store/objects/info/alternates"
    if name == "new\nline":
        # Git's alternates file cannot name such a path; the store gets the objects themselves.
        alternates.unlink()
        shutil.copytree(world.repo / ".git/objects", world.root / "store/objects", dirs_exist_ok=True)
    forth_and_back(world)


def test_linked_worktree(tmp_path: Path) -> None:
    main = World.make(tmp_path / "w", FILES)
    main.git("worktree", "add", "-q", "-b", "topic", str(tmp_path / "w/linked"))
    before = main.snapshot()
    world = World(tmp_path / "w", "linked")
    forth_and_back(world)
    record = world.promote(CHANGE, "M-3")
    assert record.branch == "refs/heads/topic"
    found = main.snapshot()
    assert found["files"] == before["files"]
    assert found["head"] == before["head"]
    assert (main.repo / ".git/worktrees/linked/nightcrew/M-3/done").exists()


def test_sha256(tmp_path: Path) -> None:
    world = World(tmp_path / "w")
    (tmp_path / "w/home").mkdir(parents=True)
    world.repo.mkdir()
    world.git("init", "-q", "-b", "main", "--object-format=sha256")
    world.git("config", "user.name", "Dev")
    world.git("config", "user.email", "dev@example.org")
    world.write(FILES)
    world.git("add", "-A")
    world.git("commit", "-qm", "first")
    world.make_store("--object-format=sha256")
    forth_and_back(world)


@pytest.mark.parametrize(
    "setting", ["index.version=4", "core.splitIndex=true", "core.untrackedCache=true", "index.sparse=true"]
)
def test_kinds_of_index(tmp_path: Path, setting: str) -> None:
    world = World.make(tmp_path / "w", FILES)
    world.git("config", *setting.split("="))
    world.git("update-index", "--force-write-index")
    world.git("status")
    forth_and_back(world)


def test_shallow_clone(tmp_path: Path) -> None:
    origin = World.make(tmp_path / "origin", FILES)
    origin.write({"a.txt": b"2\n"})
    origin.git("commit", "-qam", "second")
    world = World(tmp_path / "w")
    shutil.copytree(tmp_path / "origin/home", tmp_path / "w/home")
    origin.git("clone", "-q", "--depth=1", f"file://{origin.repo}", str(world.repo))
    world.make_store()
    forth_and_back(world)


def test_line_ends_as_the_user_wants_them(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", {"a.txt": b"a\n", "b.txt": b"b\n", "raw.bin": b"\0\n"})
    world.git("config", "core.autocrlf", "true")
    for name in ("a.txt", "b.txt"):
        (world.repo / name).unlink()
    world.git("checkout", "-q", "--", ".")
    assert (world.repo / "a.txt").read_bytes() == b"a\r\n"
    before = world.snapshot()
    record = world.promote({"a.txt": b"A\nB\n", "raw.bin": b"\0\n\n", "new.txt": b"n\n"})
    assert (world.repo / "a.txt").read_bytes() == b"A\r\nB\r\n"
    assert (world.repo / "new.txt").read_bytes() == b"n\r\n"
    assert (world.repo / "raw.bin").read_bytes() == b"\0\n\n"
    assert world.git("status", "--porcelain") == ""
    world.undo(record)
    assert world.snapshot() == before


@pytest.mark.parametrize("where", ["untracked", "deep", "info", "personal"])
def test_rules_are_found_wherever_git_finds_them(tmp_path: Path, where: str) -> None:
    """Also where the index, which is large, need not be read for them."""
    rules = b"*.txt text eol=crlf\n"
    world = World.make(tmp_path / "w", {"d/a.txt": b"a\n", "x": b"x", ".keep": b""})
    if where == "untracked":
        world.write({".gitattributes": rules})
    elif where == "deep":
        world.write({"d/.gitattributes": rules})
    elif where == "info":
        (world.repo / ".git/info/attributes").write_bytes(rules)
    else:
        (tmp_path / "mine").write_bytes(rules)
        world.git("config", "core.attributesFile", str(tmp_path / "mine"))
    world.promote({"d/a.txt": b"A\nB\n"})
    assert (world.repo / "d/a.txt").read_bytes() == b"A\r\nB\r\n"


def test_filter_of_the_user(tmp_path: Path) -> None:
    """As with LFS: on disk the content, in git something else; clean paths are recognised through the filter."""
    world = World.make(tmp_path / "w", {"x": b"x"})
    world.git("config", "filter.rot.clean", "tr a-z b-za")
    world.git("config", "filter.rot.smudge", "tr b-za a-z")
    world.git("config", "filter.rot.required", "true")
    world.write({".gitattributes": b"*.rot filter=rot\n", "s.rot": b"abc"})
    world.git("add", "-A")
    world.git("commit", "-qm", "filtered")
    assert world.git("show", "HEAD:s.rot") == "bcd"
    before = world.snapshot()
    record = world.promote({"s.rot": b"ijmm", "new.rot": b"c"})
    assert (world.repo / "s.rot").read_bytes() == b"hill"
    assert (world.repo / "new.rot").read_bytes() == b"b"
    assert world.git("status", "--porcelain") == ""
    world.undo(record)
    assert world.snapshot() == before


@pytest.mark.parametrize("kinds", [("clean", "smudge"), ("process",), ("clean", "smudge", "process")])
def test_attributes_of_the_agent_run_nothing(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """A promoted .gitattributes must not choose a program, neither on the way in nor for the index."""
    world = World.make(tmp_path / "w", FILES)
    witness = tmp_path / "ran"
    # Changed in the same instant as the index, as far as git can tell: it compares such files when it writes one.
    for path in ("a.txt", "dir/b.txt", "run.sh"):
        os.utime(world.repo / path, (4_000_000_000, 4_000_000_000))
    world.git("update-index", "--refresh")
    for kind in kinds:
        world.git("config", f"filter.evil.{kind}", f"touch '{witness}'; cat")
    world.git("config", "filter.evil.required", "true")
    prepared = world.prepare(
        {".gitattributes": b"* filter=evil\n", "a.txt": b"A\n", "sub/.gitattributes": b"* text eol=crlf\n"}
    )
    assert any("without line-end conversion or filters" in note for note in prepared.notes)
    world.promoter().publish(prepared)
    assert not witness.exists()
    assert (world.repo / "a.txt").read_bytes() == b"A\n"
    world.write({"a.txt": b"edited since"})
    with pytest.raises(DriftError):
        world.undo(record_of(prepared))
    world.write({"a.txt": b"A\n"})
    world.undo(record_of(prepared))
    assert not witness.exists()
    # Killed with the new index in place, and taken back.
    again = world.prepare({".gitattributes": b"* filter=evil\n", "a.txt": b"A\n"}, "M-3")
    assert world.run_killed("publish", again, "promote.index").wait(60) < 0
    world.promoter().recover()
    assert not witness.exists()


def test_a_failing_required_filter_changes_nothing(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", {".gitattributes": b"*.lfs filter=lfs\n", "a": b"a"})
    world.git("config", "filter.lfs.smudge", "false")
    world.git("config", "filter.lfs.required", "true")
    before = world.snapshot()
    prepared = world.prepare({"big.lfs": b"pointer", "a": b"A"})
    with pytest.raises(NightcrewError, match="git cat-file"):
        world.promoter().publish(prepared)
    assert world.snapshot() == before
    assert list((world.repo / ".git/nightcrew").iterdir()) == [world.repo / ".git/nightcrew/lock"]


def test_file_mode_and_links_that_git_ignores(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES)
    world.git("config", "core.fileMode", "false")
    world.git("config", "core.symlinks", "false")
    (world.repo / "link").unlink()
    (world.repo / "link").write_bytes(b"a.txt")
    (world.repo / "a.txt").chmod(0o755)
    forth_and_back(world)


def test_case_clash(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES)
    world.git("config", "core.ignoreCase", "true")
    with pytest.raises(DriftError) as drift:
        world.prepare({"A.TXT": b"1", "New": b"1", "nEW": b"2"})
    assert drift.value.where == (
        "A.TXT: differs from a.txt only in case, which this file system ignores",
        "nEW: differs from New only in case, which this file system ignores",
    )
    world.promote({"a.txt": None, "A.TXT": b"a\n"})


def test_git_directory_on_another_file_system(tmp_path: Path) -> None:
    """Slots go beside the working tree; nothing of them is left, and undo takes the content from git."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not another file system here")
    place = other / f"nightcrew-test-{os.getpid()}"
    world = World.make(tmp_path / "w", FILES)
    shutil.copytree(world.repo / ".git", place, symlinks=True)
    try:
        shutil.rmtree(world.repo / ".git")
        (world.repo / ".git").write_text(f"gitdir: {place}\n")
        (world.root / "store/objects/info/alternates").write_text(f"{place}/objects\n")
        forth_and_back(world)
        assert not (world.repo / BESIDE).exists()
        prepared = world.prepare(CHANGE, "M-3")
        before = world.snapshot()
        assert world.run_killed("publish", prepared, "promote.path", 3).wait(60) < 0
        assert "taken back" in world.promoter().recover()[0]
        assert world.snapshot() == before
        assert not (world.repo / BESIDE).exists()
        assert world.run_killed("publish", prepared, "promote.staged").wait(60) < 0
        world.promoter().recover()
        assert world.snapshot() == before
        assert not (world.repo / BESIDE).exists()
    finally:
        shutil.rmtree(place)


ORDINARY = """
import os, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.path[:0] = {path!r}
from pathlib import Path
from promote_world import World
world = World(Path({root!r}))
{body}
"""


def run_as_ordinary(world: World, body: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python as uid 65534 on a world that belongs to it."""
    if os.getuid() != 0:
        pytest.skip("needs root to become an ordinary user")
    for folder, folders, files in os.walk(world.root):
        for name in [*folders, *files, "."]:
            os.lchown(os.path.join(folder, name), 65534, 65534)
    text = ORDINARY.format(path=sys.path, root=str(world.root), body=body)
    # Loaded before the user changes, for the interpreter's own directory may be closed to others.
    preload = "import nightcrew.promote.promoter, nightcrew.host.git, hashlib, pickle, subprocess, json, unicodedata\n"
    preload += "import codecs; [codecs.lookup(name) for name in ('ascii', 'latin-1', 'idna', 'cp437')]\n"
    preload += f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import promote_world\n"
    return subprocess.run([sys.executable, "-c", preload + text], capture_output=True, check=False)


@pytest.fixture
def open_place(tmp_path: Path) -> Path:
    for parent in [tmp_path, *tmp_path.parents]:
        if parent.stat().st_uid == os.getuid() and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return tmp_path


def test_ordinary_user(open_place: Path) -> None:
    world = World.make(open_place / "w", FILES)
    done = run_as_ordinary(
        world,
        f"""
before = world.snapshot()
record = world.promote({CHANGE!r})
assert world.git("status", "--porcelain") == ""
world.undo(record)
assert world.snapshot() == before
""",
    )
    assert done.returncode == 0, done.stderr.decode()


def test_read_only_checkout(open_place: Path) -> None:
    world = World.make(open_place / "w", FILES)
    for place in (
        world.repo,
        world.repo / ".git",
        world.repo / ".git/objects",
        world.repo / ".git/refs/heads",
    ):
        done = run_as_ordinary(
            world,
            f"""
place = {str(place)!r}
tree = world.tree({CHANGE!r})
os.chmod(place, 0o555)
try:
    world.promoter().prepare("M-1", base_commit=world.git("rev-parse", "HEAD"), tree=tree, message="m")
except Exception as error:
    print(type(error).__name__, error)
print("pinned", world.promoter().pin("R-1", world.git("rev-parse", "HEAD")))
os.chmod(place, 0o755)
""",
        )
        assert done.stdout.decode().splitlines() == [
            f"UsageError {place} cannot be written to; nothing was changed",
            "pinned False",
        ], done.stderr.decode()


def test_packs_of_another_user(open_place: Path) -> None:
    """Root's git has made that directory: said before anything begins, and a run's commit is kept all the same."""
    world = World.make(open_place / "w", FILES)
    place = world.repo / ".git/objects/pack"
    done = run_as_ordinary(
        world,
        f"""
tree = world.tree({CHANGE!r})
os.chmod({str(place)!r}, 0o555)
try:
    world.promoter().prepare("M-1", base_commit=world.git("rev-parse", "HEAD"), tree=tree, message="m")
except Exception as error:
    print(type(error).__name__, error)
print("pinned", world.promoter().pin("R-1", world.git("rev-parse", "HEAD")))
os.chmod({str(place)!r}, 0o755)
""",
    )
    assert done.stdout.decode().splitlines() == [
        f"UsageError {place} cannot be written to; nothing was changed",
        "pinned True",
    ], done.stderr.decode()


def test_read_only_directory_inside(open_place: Path) -> None:
    """Found only when moving: everything that was moved returns."""
    world = World.make(open_place / "w", FILES)
    done = run_as_ordinary(
        world,
        f"""
prepared = world.prepare({CHANGE!r})
before = world.snapshot()
os.chmod(world.repo / "dir", 0o555)
try:
    world.promoter().publish(prepared)
except Exception as error:
    print(error)
os.chmod(world.repo / "dir", 0o755)
assert world.snapshot() == before
""",
    )
    assert b"Permission denied" in done.stdout, done.stderr.decode()
    assert done.returncode == 0, done.stderr.decode()


def test_unreadable_file(open_place: Path) -> None:
    world = World.make(open_place / "w", FILES)
    done = run_as_ordinary(
        world,
        f"""
tree = world.tree({CHANGE!r})
os.chmod(world.repo / "a.txt", 0)
try:
    world.promoter().prepare("M-1", base_commit=world.git("rev-parse", "HEAD"), tree=tree, message="m")
except Exception as error:
    print(error.where)
""",
    )
    assert b"a.txt: " in done.stdout, done.stderr.decode()


def test_not_a_repository_any_more(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES)
    promoter = world.promoter()
    shutil.rmtree(world.repo)
    with pytest.raises(NightcrewError):
        promoter.prepare("M-1", base_commit="0" * 40, tree="0" * 40, message="m")


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 6 MiB of our own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m,mode=755", "none", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", [900_000, 2_000_000, 2_600_000, 3_000_000, 8_000_000])
def test_disk_full(small_disk: Path, tmp_path: Path, size: int) -> None:
    """Wherever it becomes full (objects, slots, index): old, or new if it was enough."""
    world = World(small_disk)
    made = World.make(tmp_path / "w", FILES)
    shutil.copytree(made.repo, world.repo, symlinks=True)
    world.env = made.env
    (small_disk / "store").symlink_to(made.root / "store")
    big = os.urandom(size)
    prepared = made.prepare(CHANGE | {"big": big})
    before = world.snapshot()
    try:
        world.promoter().publish(prepared)
    except NightcrewError:
        assert size > 2_600_000
        assert world.promoter().recover() == ()
        assert world.snapshot() == before
    else:
        assert size < 4_000_000
        assert (world.repo / "big").read_bytes() == big
        assert world.git("status", "--porcelain") == ""


def test_bare_and_missing_commit(tmp_path: Path) -> None:
    from nightcrew.host.repository import discover

    world = World.make(tmp_path / "w", FILES)
    with pytest.raises(UsageError):
        discover(world.root / "store", world.env)
