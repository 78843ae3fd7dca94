"""Reading what a shadow holds: whatever took a file's place meanwhile, whoever owns it, and rules that are asked for once."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint import packrows, reading
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.checkpoint.objects import identify, identify_each, store_plain, store_plain_each
from nightcrew.host import files
from nightcrew.host.descent import Descent
from nightcrew.model.errors import StaleError
from nightcrew.model.trees import Entry
from nightcrew.shadow import scan
from nightcrew.shadow.layers import Stack
from shadow_world import World, write_files


@pytest.fixture
def world(tmp_path):
    world = World.make(
        tmp_path,
        {
            "a": b"a\n",
            "plain/x": b"x\n",
            "ruled/.gitattributes": b"*.txt text eol=lf\n",
            "ruled/y.txt": b"y\n",
        },
    )
    yield world
    world.close()


def entries(place, paths):
    return [Entry(path, "file", f"{place}/{path}", 0o100644) for path in paths]


def capture(world, place, paths, memory=None):
    base = world.store.tree_of(world.repository.head)
    return world.store.capture(base, entries(place, paths), memory=memory).tree


def make_link(place):
    place.symlink_to("/etc/passwd")


def make_socket(place):
    # The name of a socket is short.
    with socket.socket(socket.AF_UNIX) as made:
        before = os.open(".", os.O_RDONLY)
        os.chdir(place.parent)
        try:
            made.bind(place.name)
        finally:
            os.fchdir(before)
            os.close(before)


def make_file_of_parent(place):
    place.parent.rmdir()
    place.parent.write_bytes(b"")


@pytest.mark.parametrize("take", [make_link, make_socket, os.mkfifo, Path.mkdir, make_file_of_parent])
def test_what_took_the_place_of_a_file_is_not_read_and_nothing_is_stored(world, tmp_path, take):
    write_files(tmp_path / "up", {"a": b"other\n", "d/x": b"new\n"})
    place = tmp_path / "up/d/x"
    place.unlink()
    take(place)
    with pytest.raises(StaleError, match="d/x vanished"):
        capture(world, tmp_path / "up", ["a", "d/x"])
    assert list((world.store.path / "objects/pack").iterdir()) == []


def replace_by_link(place, target):
    place.rename(f"{place}-aside")
    place.symlink_to(target)


@pytest.mark.parametrize("moved", ["d", "d/e"])
@pytest.mark.parametrize("kind", ["file", "symlink"])
def test_a_link_in_the_place_of_a_directory_leads_nowhere(world, tmp_path, kind, moved):
    """An agent that goes on while it is read may not have the user's own files put into a checkpoint."""
    write_files(tmp_path / "hidden", {"e/key": b"of the user\n", "key": b"of the user\n"})
    write_files(tmp_path / "up", {"a": b"other\n", "d/a": b"mine\n", "d/e/key": b"mine\n"})
    if kind == "symlink":
        for place in ("hidden/e/key", "hidden/key", "up/d/e/key"):
            (tmp_path / place).unlink()
            (tmp_path / place).symlink_to("anywhere")

    def listed():
        yield from entries(tmp_path / "up", ["a", "d/a"])
        yield Entry("d/e/key", kind, str(tmp_path / "up/d/e/key"), 0o100644)
        replace_by_link(tmp_path / "up" / moved, tmp_path / "hidden")

    base = world.store.tree_of(world.repository.head)
    with pytest.raises(StaleError, match="vanished"):
        world.store.capture(base, listed())
    assert list((world.store.path / "objects/pack").iterdir()) == []


def test_directories_are_found_one_after_the_other_and_let_go(world, tmp_path):
    deep = "d/" * 300
    wanted = {"a": b"1", "d/a": b"2", "d/e/a": b"3", "d/e/b": b"4", "d/f/a": b"5", "d/z": b"6", "z": b"7"}
    wanted |= {f"{deep}a": b"8", f"{deep}b": b"9", f"{deep}d/a": b"10", f"{deep[:100]}a": b"11"}
    write_files(tmp_path / "up", wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, hard))
    try:
        tree = capture(world, tmp_path / "up", [*sorted(wanted), "a"])
        (tmp_path / "clock").touch()
        memory = scan.ScanMemory(Stack([]), tmp_path / "clock")
        found = {entry.path for entry in scan.scan_layer(str(tmp_path / "up"), memory)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == wanted.keys()
    assert {path: world.store.read(tree, path) for path in wanted} == wanted
    place = reading.Place()
    for entry in entries(
        tmp_path / "up", [f"{deep}a", "d/e/a", f"{deep}d/a", "d/f/a", "d/f/none", "d/none/a"]
    ):
        with contextlib.suppress(FileNotFoundError):
            os.close(place.open(entry))
    place.close()
    world.store.close()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_file_that_grows_while_it_is_read_takes_no_more_than_its_size(tmp_path):
    (tmp_path / "x").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        os.truncate(tmp_path / "x", 1 << 40)
        assert reading.read_all(fd, 10) == b"0123456789"
        os.lseek(fd, 0, os.SEEK_SET)
        os.truncate(tmp_path / "x", 4)
        assert reading.read_all(fd, 10) == b"0123"
    finally:
        os.close(fd)


@pytest.mark.parametrize("top", [True, False])
def test_a_scan_follows_no_link_that_took_the_place_of_a_directory(tmp_path, monkeypatch, top):
    write_files(tmp_path / "hidden", {"key": b"of the user\n", "e/key": b"of the user\n"})
    write_files(tmp_path / "up", {"d/e/key": b"of the agent"})
    (tmp_path / "clock").touch()
    moved, real = tmp_path / ("up/d" if top else "up/d/e"), scan.list_directory

    def late(descent, directory):
        if not moved.is_symlink() and tmp_path / "up" / directory == moved:
            replace_by_link(moved, tmp_path / "hidden")
        return real(descent, directory)

    monkeypatch.setattr(scan, "list_directory", late)
    memory = scan.ScanMemory(Stack([]), tmp_path / "clock")
    with pytest.raises(FileNotFoundError):
        list(scan.scan_layer(str(tmp_path / "up"), memory))


@pytest.mark.parametrize("take", [make_link, os.mkfifo])
def test_what_took_the_place_of_a_touched_file_is_not_compared(tmp_path, take):
    write_files(tmp_path / "up", {"d/x": b"same"})
    write_files(tmp_path / "under", {"x": b"same"})
    (tmp_path / "up/d/x").unlink()
    take(tmp_path / "up/d/x")
    fd = os.open(tmp_path / "up", os.O_PATH)
    try:
        same = scan.same_content(Descent(fd), "d/x", str(tmp_path / "under/x"))
    except FileNotFoundError:
        same = False
    finally:
        os.close(fd)
    assert not same


def test_files_from_several_places_are_found(world, tmp_path):
    write_files(tmp_path / "one", {"a": b"from one\n"})
    write_files(tmp_path / "two", {"0": b"from two\n"})
    base = world.store.tree_of(world.repository.head)
    both = [
        *entries(tmp_path / "one", ["a"]),
        Entry("plain/x", "file", str(tmp_path / "two/0"), 0o100644),
    ]
    for each in (both, both[::-1]):
        tree = world.store.capture(base, each).tree
        assert world.store.read(tree, "a") == b"from one\n"
        assert world.store.read(tree, "plain/x") == b"from two\n"


def test_reading_leaves_no_trace_and_goes_without_where_only_the_owner_may_ask(world, tmp_path, monkeypatch):
    write_files(tmp_path / "up", {"a": b"mine\n", "plain/x": b"theirs\n"})
    os.utime(tmp_path / "up/a", ns=(1, 2))
    capture(world, tmp_path / "up", ["a"])
    assert (tmp_path / "up/a").stat().st_atime_ns == 1

    real, asked = os.open, []

    def strict(path, flags, *more, **named):
        if flags & os.O_NOATIME:
            asked.append(path)
            raise PermissionError(errno.EPERM, "not the owner", path)
        return real(path, flags, *more, **named)

    monkeypatch.setattr(reading.os, "open", strict)
    tree = capture(world, tmp_path / "up", ["a", "plain/x"])
    assert world.store.read(tree, "plain/x") == b"theirs\n"
    assert asked == ["a"], "asked for once"


def test_where_no_rule_says_anything_is_kept_in_mind_for_that_base_only(world, tmp_path):
    memory = CaptureMemory()
    write_files(tmp_path / "up", {"a": b"1\r\n", "plain/x": b"1\r\n", "ruled/y.txt": b"1\r\n"})
    capture(world, tmp_path / "up", ["a", "plain/x"], memory)
    assert memory.ruleless == {b"", b"plain"}
    tree = capture(world, tmp_path / "up", ["a", "plain/x", "ruled/y.txt"], memory)
    assert [world.store.read(tree, path) for path in ("a", "ruled/y.txt")] == [b"1\r\n", b"1\n"]

    (world.repo / ".gitattributes").write_bytes(b"* text eol=lf\n")
    later = world.store.tree_of(world.commit("rules for all"))
    tree = world.store.capture(later, entries(tmp_path / "up", ["a", "plain/x"]), memory=memory).tree
    assert [world.store.read(tree, path) for path in ("a", "plain/x")] == [b"1\n", b"1\n"]


@pytest.mark.parametrize("number", [1, 511, 512, 1100])
def test_batches_of_every_length_are_stored_whole(world, tmp_path, number):
    wanted = {f"new/{each:04}": b"%d\n" % each * 5 for each in range(number)}
    write_files(tmp_path / "up", wanted)
    tree = capture(world, tmp_path / "up", sorted(wanted))
    listed = subprocess.run(
        ["git", "--git-dir", str(world.store.path), "ls-tree", "-r", tree, "new"],
        check=True,
        capture_output=True,
    ).stdout
    rows = dict(line.split(b"\t")[::-1] for line in listed.splitlines())
    assert rows == {
        path.encode(): b"100644 blob %s" % identify("blob", data, 40).encode()
        for path, data in wanted.items()
    }


@pytest.mark.parametrize("length", [40, 64])
def test_ids_of_many_are_the_ids_of_each(length):
    contents = [b"", b"%d %s \0", os.urandom(5000)]
    assert identify_each("tree", contents, length) == [identify("tree", data, length) for data in contents]


@pytest.mark.parametrize("sizes", [[], [0], [1, 0xFFFF], [0xFFFF, 0x10000, 3]])
def test_what_is_stored_plainly_together_is_as_one_by_one(sizes):
    contents = [os.urandom(size) for size in sizes]
    stored = store_plain_each(contents)
    assert stored == [store_plain(data) for data in contents]
    assert [zlib.decompress(each) for each in stored] == contents


def test_rows_are_in_order_with_two_threads_and_with_none_to_be_had(monkeypatch):
    contents = [b"%d" % each * 3000 for each in range(300)]
    together = packrows.encode_rows("blob", contents)
    monkeypatch.setattr(packrows, "_SHARED_BYTES", 1 << 40)
    assert packrows.encode_rows("blob", contents) == together
    monkeypatch.undo()

    def none_left(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert packrows.encode_rows("blob", contents) == together


def test_a_checkpoint_is_stored_though_no_thread_is_to_be_had(world, tmp_path, monkeypatch):
    wanted = {f"new/{each}": os.urandom(3000) for each in range(300)}
    write_files(tmp_path / "up", wanted)

    def none_left(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    tree = capture(world, tmp_path / "up", sorted(wanted))
    monkeypatch.undo()
    assert {path: world.store.read(tree, path) for path in wanted} == wanted
    with open("/dev/full", "wb", buffering=0) as full, (tmp_path / "x").open("wb") as other:
        monkeypatch.setattr(threading.Thread, "start", none_left)
        monkeypatch.setattr(files.os, "fsync", lambda fd: os.write(fd, b"x"))
        with pytest.raises(OSError, match="No space left"):
            files.sync_together(other.fileno(), full.fileno())


def test_a_full_disk_is_told_whoever_writes(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        packrows.write_hashed(full, b"x" * (1 << 20), hashlib.sha1(usedforsecurity=False))
