"""Power loss: what was written and not flushed before the lights went out is gone; exactly old or exactly new all the same."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host import crash
from nightcrew.promote import standing
from nightcrew.promote.promoter import Promoter
from promote_fork import die_at
from promote_world import Content, World

FILES: Content = {
    "a.txt": b"a\n",
    "d/b.txt": b"b\n",
    "link": "a.txt",
    "gone/x": b"x",
    "run.sh": b"#!/bin/sh\n",
}
CHANGE: Content = {
    "a.txt": b"A\n",
    "d/b.txt": None,
    "link": "d",
    "gone/x": None,
    "new/f": b"n",
    "run.sh": ("100755", b""),
}
POINTS = [
    "promote.staged",
    "promote.planned",
    "promote.committed",
    "promote.path",
    "promote.checked",
    "promote.index",
    "promote.ref",
    "promote.done",
]


def regular_files(world: World) -> dict[tuple[int, int], Path]:
    """Every file that we, not git, have written: (inode, time of change) → place."""
    found = {}
    git = world.repo / ".git"
    for folder, _, names in os.walk(world.repo):
        place = Path(folder)
        ours = place.is_relative_to(git / "nightcrew") or place in (git, git / "objects/pack")
        if place.is_relative_to(git) and not ours:
            continue  # refs: git flushes them, we ask it to
        for name in names:
            status = (place / name).lstat()
            if stat.S_ISREG(status.st_mode):
                found[status.st_ino, status.st_mtime_ns] = place / name
    return found


def publish_noting_flushes(promoter: Promoter, world: World, prepared: object, notes: int) -> None:
    """Publish, and note every file whose content was flushed until then."""
    fsync, sync_all = os.fsync, standing.sync_file_system

    def note(files: list[tuple[int, int]]) -> None:
        os.write(notes, b"".join(b"%d %d\n" % file for file in files))

    def noting_fsync(fd: int) -> None:
        fsync(fd)
        status = os.fstat(fd)
        note([(status.st_ino, status.st_mtime_ns)])

    def noting_sync_all(fd: int) -> None:
        sync_all(fd)
        note(list(regular_files(world)))

    os.fsync = noting_fsync
    standing.sync_file_system = noting_sync_all
    promoter.publish(prepared)


@pytest.mark.parametrize("many", [0, 60])
def test_what_was_not_flushed_is_gone(tmp_path: Path, many: int) -> None:
    """``many`` more files: then the file system is flushed as a whole."""
    world = World.make(tmp_path / "w", FILES | {"mine": b"m"})
    world.write({"mine": b"edited"})
    prepared = world.prepare(CHANGE | {f"many/{n}": b"%d" % n for n in range(many)})
    old = world.snapshot()
    pristine = tmp_path / "pristine"
    shutil.copytree(world.root, pristine, symlinks=True)
    world.promoter().publish(prepared)
    new = world.snapshot()
    lost_somewhere = 0
    for point in POINTS:
        shutil.rmtree(world.root)
        shutil.copytree(pristine, world.root, symlinks=True)
        there = regular_files(world)
        notes = os.open(tmp_path / f"notes.{point}", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        promoter = world.promoter()
        assert die_at(point, lambda: publish_noting_flushes(promoter, world, prepared, notes))  # noqa: B023
        lines = os.pread(notes, 1 << 20, 0).splitlines()
        os.close(notes)
        flushed = {tuple(map(int, line.split())) for line in lines}
        for file, place in regular_files(world).items():
            if file not in there and file not in flushed:
                os.truncate(place, 0)
                lost_somewhere += 1
        world.promoter().recover()
        assert world.snapshot() == (new if point in ("promote.ref", "promote.done") else old), point
    assert many or lost_somewhere, "nothing was unflushed at any time: this test looks at the wrong files"


def test_directories_that_lead_to_the_slots_are_flushed_before_anything_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.make(tmp_path / "w", FILES)
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    home = world.repo / ".git/nightcrew"
    fsync, flushed, missing = os.fsync, set(), []

    def noting_fsync(fd: int) -> None:
        fsync(fd)
        flushed.add(os.fstat(fd).st_ino)

    def reached(name: str) -> None:
        if name == "promote.committed":
            places = (home, home / "M-1", home / "M-1/s")
            missing.append([place for place in places if place.stat().st_ino not in flushed])

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(crash, "point", reached)
    promoter.publish(prepared)
    assert missing == [[]]
