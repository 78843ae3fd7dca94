"""Giving checkpoints up: which ones, what becomes free, and that nothing that is needed ever goes."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint.inventory import list_leftovers
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.checkpoint.store import Store
from nightcrew.checkpoint.thinning import Snapshot, squeeze, thin
from nightcrew.model.trees import Entry
from shadow_world import World

AT = "2026-01-01T00:00:00Z"
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, {"a": b"1\n", "sub/b": b"2\n"})
    yield world
    world.close()


@pytest.fixture
def base(world):
    return world.store.tree_of(world.repository.head)


def take(world, base, number, content, *, parents=()):
    """Capture one file and keep it as a checkpoint; return (tree, commit)."""
    source = world.root / f"source-{number}"
    source.write_bytes(content)
    tree = world.store.capture(base, [Entry(f"sub/f{number}", "file", str(source), 0o100644)]).tree
    return tree, world.store.commit(tree, parents=parents, message="m", at=AT, ref=f"C-{number}")


def age(world):
    """Make everything in the store look two days old."""
    then = datetime.now(UTC).timestamp() - 2 * DAY
    for path in (world.store.path / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def collect(world, roots, **options):
    since = datetime.now(UTC) - timedelta(hours=1)
    return world.store.collect(lambda: list(roots), unused_since=since, **options)


def fsck(world):
    return world.git("--git-dir", str(world.store.path), "fsck", "--strict", "--no-dangling")


# -- which ones -----------------------------------------------------------------------------------------------------


def test_all_of_the_last_hour_every_fifth_of_the_day_first_and_last_of_older():
    ages = [3 * DAY] * 3 + [5 * HOUR] * 13 + [10.0] * 4
    shots = [Snapshot(f"C-{n}", "T", age_s) for n, age_s in enumerate(ages)]
    kept = [n for n in range(20) if f"C-{n}" not in thin(shots)]
    assert kept == [0, 5, 10, 15, 16, 17, 18, 19]
    gone = [Snapshot(s.id, s.task, s.age_s, gone=s.id in thin(shots)) for s in shots]
    assert thin(gone) == (), "thinning twice is thinning once"
    old = [Snapshot(f"C-{n}", "T", 9 * DAY - n) for n in range(7)]
    assert [s.id for s in old if s.id not in thin(old)] == ["C-0", "C-6"]


def test_what_is_held_stays_and_tasks_do_not_mix():
    shots = [Snapshot(f"C-{n}", f"T{n % 2}", 9 * DAY - n, held=n == 4) for n in range(8)]
    assert set(thin(shots)) == {"C-2", "C-3", "C-5"}
    assert set(squeeze(shots)) == {"C-0", "C-1", "C-2", "C-3", "C-5"}
    assert squeeze([]) == thin([]) == ()


# -- what becomes free ----------------------------------------------------------------------------------------------


def test_only_what_no_root_reaches_goes(world, base):
    noise = random.Random(3)
    taken = [take(world, base, n, noise.randbytes(300_000)) for n in range(6)]
    large = take(world, base, 6, noise.randbytes(9 << 20))
    world.store.tidy()
    age(world)
    kept = [taken[1][1], taken[4][1]]
    before = world.store.usage().bytes
    told = collect(world, kept, dry_run=True)
    assert world.store.usage().bytes == before
    pruned = ["C-0", "C-2", "C-3", "C-5", "C-6"]
    done = collect(world, kept, pruned=pruned)
    freed = before - world.store.usage().bytes
    assert told.bytes == done.bytes
    assert abs(freed - done.bytes) < 100_000
    assert freed > 10_000_000
    for number in (1, 4):
        assert len(world.store.read(taken[number][0], f"sub/f{number}")) == 300_000
    fresh = Store(world.store.path, world.repository, env=world.env)
    with pytest.raises(Exception, match="neither in the checkpoint store"):
        fresh.read(large[0], "sub/f6")
    assert sorted(fresh.refs()) == ["refs/nightcrew/checkpoints/C-1", "refs/nightcrew/checkpoints/C-4"]
    fresh.close()
    fsck(world)


def test_what_is_young_stays_whatever_the_roots_say(world, base):
    tree, _ = take(world, base, 1, b"young")
    assert collect(world, []).bytes == 0
    assert world.store.read(tree, "sub/f1") == b"young"


def test_what_a_capture_relied_on_stays(world, base):
    tree, _ = take(world, base, 1, b"again" * 1000)
    age(world)
    assert take(world, base, 1, b"again" * 1000)[0] == tree
    collect(world, [])
    assert world.store.read(tree, "sub/f1") == b"again" * 1000


def test_a_root_that_appears_meanwhile_is_needed(world, base):
    tree, commit = take(world, base, 1, b"late" * 1000)
    age(world)
    answers = [[], [commit]]
    since = datetime.now(UTC) - timedelta(hours=1)
    done = world.store.collect(lambda: answers.pop(0), unused_since=since)
    assert done.packs == 0
    assert world.store.read(tree, "sub/f1") == b"late" * 1000
    fsck(world)


def test_nothing_is_removed_while_somebody_uses_the_store(world, base):
    tree, _ = take(world, base, 1, b"used" * 1000)
    age(world)
    entered, leave, done = threading.Event(), threading.Event(), threading.Event()

    def use():
        with world.store.using():
            entered.set()
            leave.wait(30)
            assert world.store.read(tree, "sub/f1") == b"used" * 1000

    def run():
        collect(world, [])
        done.set()

    threads = [threading.Thread(target=use), threading.Thread(target=run)]
    threads[0].start()
    assert entered.wait(30)
    threads[1].start()
    assert not done.wait(0.5)
    leave.set()
    for thread in threads:
        thread.join()
    assert done.is_set()


def test_history_is_cut_where_a_checkpoint_is_missing(world, base):
    commits = [world.repository.head]
    for number in range(5):
        commits.append(take(world, base, number, b"%d" % number * 999, parents=[commits[-1]])[1])
    age(world)
    kept = [commits[1], commits[5]]
    collect(world, kept, pruned=["C-1", "C-2", "C-3"], cut=[commits[5]])
    git = ["--git-dir", str(world.store.path)]
    assert world.git(*git, "rev-list", "refs/nightcrew/checkpoints/C-4").split() == [commits[5]]
    assert len(world.git(*git, "rev-list", "refs/nightcrew/checkpoints/C-0").split()) == 2
    again = Store(world.store.path, world.repository, env=world.env)
    again.tree_of("refs/nightcrew/checkpoints/C-4")
    again.close()
    assert world.git(*git, "rev-list", "--count", "refs/nightcrew/checkpoints/C-4").strip() == "1"
    fsck(world)


def test_a_name_that_a_power_loss_took_comes_back(world, base):
    _, commit = take(world, base, 1, b"1")
    place = world.store.path / "refs/nightcrew/checkpoints/C-1"
    for left in (b"", None):
        place.unlink()
        if left is not None:
            place.write_bytes(left)
        world.store.name_checkpoints({"C-1": commit})
        assert world.store.refs() == {"refs/nightcrew/checkpoints/C-1": commit}


def test_what_interrupted_writers_left_goes_when_it_is_old(world, base):
    take(world, base, 1, b"1")
    objects = world.store.path / "objects"
    (objects / "pack/tmp_pack_x").write_bytes(b"x" * 5000)
    (objects / "pack/pack-0.pack").write_bytes(b"x" * 5000)
    (objects / "tmp_obj_x").write_bytes(b"x" * 5000)
    commit = world.store.refs()["refs/nightcrew/checkpoints/C-1"]
    assert collect(world, [commit]).leftovers == 0
    age(world)
    assert collect(world, [commit]).leftovers == 3
    assert not list(objects.glob("**/*tmp*"))


def test_a_pack_that_gets_its_index_meanwhile_is_none_of_them(world, base):
    tree, commit = take(world, base, 1, b"1")
    (index,) = (world.store.path / "objects/pack").glob("*.idx")
    index.rename(aside := index.with_name("tmp_idx_x"))
    age(world)

    def find_roots():
        if aside.exists():
            aside.rename(index)
        return [commit]

    since = datetime.now(UTC) - timedelta(hours=1)
    world.store.collect(find_roots, unused_since=since)
    assert index.with_suffix(".pack").exists()
    assert world.store.read(tree, "sub/f1") == b"1"


def test_writers_come_and_go_while_leftovers_are_looked_for(world, base):
    objects, ends = world.store.path / "objects", threading.Event()
    take(world, base, 1, b"1")

    def write():
        while not ends.is_set():
            for name in ("tmp_obj_x", "pack/tmp_pack_x", "pack/pack-1.pack"):
                (objects / name).write_bytes(b"x")
                (objects / name).unlink()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            list(list_leftovers(objects))
    finally:
        ends.set()
        writer.join()


# -- a memory between captures --------------------------------------------------------------------------------------


class Place:
    """Files that change between captures, with one memory."""

    def __init__(self, world, base):
        self.world, self.base, self.memory = world, base, CaptureMemory()
        self.directory = world.root / "place"
        self.directory.mkdir()

    def write(self, name, content):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def settle(self):
        """Wait until a change is bound to show in the times of a file."""
        threading.Event().wait(0.05)

    def entries(self):
        for path in sorted(self.directory.rglob("*")):
            name = str(path.relative_to(self.directory))
            if path.is_symlink():
                yield Entry(name, "symlink", str(path), 0o120000)
            elif path.is_file():
                yield Entry(name, "file", str(path), 0o100755 if os.access(path, os.X_OK) else 0o100644)

    def capture(self, **options):
        found = self.world.store.capture(self.base, self.entries(), memory=self.memory, **options)
        exact = self.world.store.capture(self.base, self.entries(), **options)
        assert (found.tree, found.refused) == (exact.tree, exact.refused)
        return found


def test_only_what_changed_is_read_again(world, base):
    place = Place(world, base)
    for number in range(20):
        place.write(f"d{number % 3}/f{number}", b"%d" % number)
    (place.directory / "link").symlink_to("d0")
    place.settle()
    assert place.capture().read_files == 20
    assert place.capture().read_files == 0
    place.write("d0/f0", b"other")
    place.write("d9/new", b"new")
    (place.directory / "d1/f1").unlink()
    (place.directory / "d2/f2").chmod(0o755)
    place.settle()
    assert place.capture().read_files == 3
    assert place.capture().read_files == 0


def test_a_change_within_the_same_tick_is_seen(world, base):
    place = Place(world, base)
    path = place.write("f", b"aaaa")
    for letter in b"bcdefgh":
        path.write_bytes(bytes([letter]) * 4)
        os.utime(path, ns=(0, 0))
        place.capture()


def test_a_file_that_is_mapped_for_writing_is_read_again_every_time(world, base):
    import mmap

    place = Place(world, base)
    path = place.write("f", b"a" * 4096)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 4096) as memory:
        memory[0:1] = b"b"
        place.settle()
        assert place.capture().read_files == 1
        before = path.stat().st_ctime_ns
        memory[1:2] = b"c"
        assert path.stat().st_ctime_ns == before, "the kernel does not tell: this is what the lease is for"
        assert place.capture().read_files == 1
    place.settle()
    place.capture()
    assert place.capture().read_files == 0


def test_a_memory_of_a_capture_that_failed_is_not_kept(world, base):
    place = Place(world, base)
    place.write("d/f", b"1")
    place.settle()
    gone = Entry("d/gone", "file", str(place.directory / "d/gone"), 0o100644)
    with pytest.raises(Exception, match="vanished"):
        world.store.capture(base, [*place.entries(), gone], memory=place.memory)
    place.capture()
    fsck(world)


def test_a_large_file_that_grows_is_kept_as_long_as_it_was(world, base):
    log, ends = world.root / "log", threading.Event()
    log.write_bytes(start := random.Random(5).randbytes(9 << 20))

    def append():
        with log.open("ab", buffering=0) as out:
            while not ends.is_set():
                out.write(b"one more line\n")
                time.sleep(0.0005)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        taken = world.store.capture(base, [Entry("log", "file", str(log), 0o100644)])
    finally:
        ends.set()
        writer.join()
    assert taken.changing == ("log",)
    kept = world.store.read(taken.tree, "log")
    assert len(kept) >= len(start)
    assert log.read_bytes().startswith(kept)


def test_a_memory_of_another_tree_is_forgotten(world, base):
    place = Place(world, base)
    place.write("a", b"2\n")
    place.settle()
    first = place.capture().tree
    place.base = first
    assert place.capture().read_files == 1
    assert place.capture(max_file_bytes=10).read_files == 1


def test_what_rules_say_of_a_path_is_asked_once_and_holds(world, base):
    world.git("config", "filter.secret.clean", "cat")
    place = Place(world, base)
    place.write(".gitattributes", b"*.txt text\n*.key filter=secret\nraw/* -text\n")
    place.settle()
    place.base = place.capture().tree
    for text in (b"one\r\n", b"two\r\n"):
        for name in ("a.txt", "d/b.txt", "raw/c.txt", "d/x.key"):
            place.write(name, text)
        place.settle()
        found = place.capture()
        assert found.refused[0].startswith("d/x.key: handled by the git filter")
        plain = text.replace(b"\r", b"")
        stored = [world.store.read(found.tree, name) for name in ("a.txt", "d/b.txt", "raw/c.txt")]
        assert stored == [plain, plain, text]
    assert len(place.memory.attributes) == 5
    assert not list((world.store.path / "scratch").iterdir())


BEFORE = {"a": b"1\n", "sub/b": b"2\n", "d/x": b"x", "d/s/y": b"y", "e": b"e"}
NAMES = [f"{a}/{b}" for a in ("d", "e", "d/s") for b in "xyz"] + ["d", "e", "f", "sub", "sub/b", "a"]


class Changing(Place):
    """Files over those of BEFORE, told as a shadow would tell it."""

    def entries(self):
        here = {str(path.relative_to(self.directory)): path for path in sorted(self.directory.rglob("*"))}
        yield from (Entry(name, "deleted") for name in BEFORE if name not in here)
        for name, path in here.items():
            if path.is_dir() and name in BEFORE:
                yield Entry(name, "opaque")
            elif not path.is_dir() and BEFORE.get(name) != path.read_bytes():
                yield Entry(name, "file", str(path), 0o100644)

    def remove(self, name):
        path = self.directory / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.parent.is_dir():
            path.unlink(missing_ok=True)

    def put(self, name, content):
        for above in ("d", "e", "d/s", "sub"):
            if name.startswith(above + "/") and (self.directory / above).is_file():
                self.remove(above)
        self.remove(name)
        self.write(name, content)


@pytest.mark.parametrize("seed", range(6))
def test_a_memory_never_changes_what_a_capture_gives(world, base, seed):
    """Random changes, files and directories in each other's place, deletions of what the base has and their return."""
    dice = random.Random(seed)
    place = Changing(world, base)
    for name, content in BEFORE.items():
        place.write(name, content)
    place.base = world.store.capture(base, Place.entries(place)).tree
    for _ in range(20):
        for name in dice.sample(NAMES, 3):
            if dice.random() < 0.5:
                place.remove(name)
            else:
                place.put(name, BEFORE.get(name, b"") if dice.random() < 0.3 else dice.randbytes(3))
        if dice.random() < 0.5:
            place.settle()
        place.capture()


def test_a_file_above_the_limit_is_refused_and_not_read(world, base):
    place = Place(world, base)
    place.write("big", b"x" * 2049)
    place.write("fits", b"x" * 2048)
    place.settle()
    for expected in (1, 0):
        found = place.capture(max_file_bytes=2048)
        assert found.refused == ("big: larger than 2KiB, the limit for one file (checkpoints.max_file)",)
        assert found.read_files == expected
    assert world.store.read(found.tree, "big") is None
    assert world.store.read(found.tree, "fits") == b"x" * 2048
