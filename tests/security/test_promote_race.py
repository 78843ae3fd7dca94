"""Somebody changes the tree while a promotion writes into it: it never writes outside, never loses a byte."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nightcrew.host.renames import exchange
from nightcrew.model.errors import NightcrewError

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import World, record_of

ROUNDS = 25


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[list[int]]:
    """Do something over and over in another thread; gives the count."""
    stop, count = threading.Event(), [0]

    def loop() -> None:
        while not stop.is_set():
            act()
            count[0] += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def test_parent_directory_swapped_with_a_link(tmp_path: Path) -> None:
    """``dir`` is exchanged with a link to a place outside in a tight loop; whatever happens, nothing appears there."""
    world = World.make(tmp_path / "w", {"dir/a": b"a", "dir/sub/b": b"b", "top": b"t"})
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "a").write_bytes(b"a")
    (outside / "sub/b").write_bytes(b"b")
    precious = {path: path.stat() for path in outside.rglob("*")}
    (tmp_path / "link").symlink_to(outside)
    here = os.open(tmp_path, os.O_PATH)

    def swap() -> None:
        exchange(here, "link", here, "w/repo/dir")
        time.sleep(0.0002)
        exchange(here, "link", here, "w/repo/dir")
        time.sleep(0.0002)

    change = {"dir/a": b"A", "dir/sub/b": None, "dir/new": b"n", "dir/sub/c/d": b"d", "top": b"T"}
    published = refused = 0
    record = None
    with meanwhile(swap) as swaps:
        for number in range(1, ROUNDS + 1):
            try:
                if record is None:
                    prepared = world.prepare(change, f"M-{number}")
                else:
                    prepared = world.promoter().undo(record, id=f"M-{number}", message="back")
                world.promoter().publish(prepared)
                published += 1
                record = None if record else record_of(prepared)
            except NightcrewError:
                refused += 1
    os.close(here)
    assert swaps[0] > 100
    assert (published + refused, refused > 0) == (ROUNDS, True)
    assert {path: path.stat() for path in outside.rglob("*")} == precious
    assert not world.snapshot()["lock"]
    world.promoter().recover()
    assert world.git("status", "--porcelain", "-uall") == ""


def test_file_edited_all_the_time(tmp_path: Path) -> None:
    """An editor saves by rename again and again; every version is either what we saw, or still there afterwards."""
    world = World.make(tmp_path / "w", {"hot": b"0", **{f"cold/{n}": b"%d" % n for n in range(20)}})
    change = {"hot": b"agent", **{f"cold/{n}": b"agent %d" % n for n in range(20)}}
    prepared = world.prepare(change)
    target, aside = world.repo / "hot", tmp_path / "aside"
    saved = [b"0"]

    def save() -> None:
        saved.append(b"edit %d" % len(saved))
        aside.write_bytes(saved[-1])
        aside.replace(target)
        time.sleep(0.0005)

    with meanwhile(save), pytest.raises(NightcrewError):
        world.promoter().publish(prepared)
    assert target.read_bytes() == saved[-1]
    assert world.git("rev-parse", "HEAD") == prepared.old_commit
    assert world.git("status", "--porcelain") == " M hot"


@pytest.mark.parametrize("late", [b"written at the last moment", b"x"])
def test_write_between_check_and_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bytes) -> None:
    """The window between looking at a file and exchanging it, made wide: the edit is found in the slot and returned."""
    from nightcrew.promote import moves

    world = World.make(tmp_path / "w", {"a": b"a", "b": b"b", "c": b"c"})
    prepared = world.prepare({"a": b"A", "b": b"B", "c": None})
    real, written = moves.Mover._rename, []

    def rename(self: moves.Mover, move: moves.Move) -> str:
        if move.path == "b" and not written:
            written.append((world.repo / "b").write_bytes(late))
        return real(self, move)

    monkeypatch.setattr(moves.Mover, "_rename", rename)
    inode = (world.repo / "b").stat().st_ino
    with pytest.raises(NightcrewError, match="b was changed at the same moment"):
        world.promoter().publish(prepared)
    assert (world.repo / "b").read_bytes() == late
    assert (world.repo / "b").stat().st_ino == inode
    assert (world.repo / "a").read_bytes() == b"a"
    assert (world.repo / "c").read_bytes() == b"c"
    assert world.git("status", "--porcelain") == " M b"


def test_interrupt_returns_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the moves."""
    from nightcrew.promote import moves

    world = World.make(tmp_path / "w", {"a": b"a", "b": b"b"})
    prepared = world.prepare({"a": b"A", "b": b"B", "new/c": b"C"})
    before = world.snapshot()
    real = moves.Mover.forward

    def forward(self: moves.Mover, move: moves.Move) -> None:
        real(self, move)
        if move.path == "a":
            raise KeyboardInterrupt

    monkeypatch.setattr(moves.Mover, "forward", forward)
    with pytest.raises(KeyboardInterrupt):
        world.promoter().publish(prepared)
    assert world.snapshot() == before
