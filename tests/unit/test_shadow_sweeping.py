"""Sweeps of what was left behind, while others make and remove: real directories, real locks."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable
from nightcrew.model.trees import DeltaEntry
from nightcrew.shadow.collecting import make_aside, sweep_aside
from shadow_world import World, needs_overlay


def fill(place: Path) -> Path:
    (place / "below").mkdir(parents=True)
    (place / "below" / "file").write_bytes(b"x")
    return place


def test_what_was_left_behind_goes(tmp_path):
    (fill(tmp_path / ".gone-1") / "lock").touch()
    os.utime(fill(tmp_path / ".new-1.2"), (1, 1))
    (tmp_path / ".gone-1" / "large").write_bytes(b"x" * 100_000)
    fill(tmp_path / "shown")
    told = sweep_aside(tmp_path, dry_run=True)
    assert told >= 100_000
    assert sorted(os.listdir(tmp_path)) == [".gone-1", ".new-1.2", "shown"]
    assert sweep_aside(tmp_path) >= 100_000
    assert os.listdir(tmp_path) == ["shown"]


def test_what_is_being_made_or_removed_stays(tmp_path):
    fill(tmp_path / ".new-1")
    lock = FileLock(fill(tmp_path / ".gone-1") / "lock")
    assert lock.acquire()
    sweep_aside(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".gone-1", ".new-1"]


def test_nothing_to_sweep(tmp_path):
    sweep_aside(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_another_is_made_when_a_sweep_has_taken_the_first(tmp_path):
    taken: list[FileLock] = []

    def make(place: Path) -> None:
        place.mkdir()
        if not taken:
            taken.append(FileLock(place / "lock"))
            assert taken[0].acquire()

    aside, lock = make_aside(tmp_path, make)
    assert aside != taken[0].path.parent
    assert lock.held
    assert lock.path == aside / "lock"


def test_who_never_gets_one_is_told(tmp_path):
    taken: list[FileLock] = []

    def make(place: Path) -> None:
        place.mkdir()
        taken.append(FileLock(place / "lock"))
        assert taken[-1].acquire()

    with pytest.raises(EngineUnavailable, match="another process removes"):
        make_aside(tmp_path, make)


def test_sweeps_and_openings_at_once_do_not_hurt_each_other(tmp_path):
    needs_overlay("overlay")
    world = World.make(tmp_path, {"a": b"a"})
    ours, theirs = world.shadows(), world.shadows()
    base = ours.export(world.git("rev-parse", "HEAD").strip())
    over, wrong = threading.Event(), []

    def sweep() -> None:
        while not over.is_set():
            try:
                theirs.sweep()
            except Exception as error:  # noqa: BLE001  (of whatever kind)
                wrong.append(error)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for number in range(60):
            content = b"%d" % number
            delta = [DeltaEntry("b", 0o100644, lambda content=content: io.BytesIO(content), "", -1)]
            shadow = ours.open(f"s{number}", base, delta if number % 2 else [])
            for name in "cdef":
                fill(Path(shadow.path) / name)
            ours.discard(shadow)
        ours.finish()
    finally:
        over.set()
        sweeping.join()
        world.close()
    assert wrong == []
    theirs.sweep()
    assert os.listdir(world.state / "shadows") == []
