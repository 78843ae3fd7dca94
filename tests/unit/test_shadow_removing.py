"""Removals beside openings: real directories, and locks that are given up at the end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from nightcrew.host.apart import Emptied
from nightcrew.host.locks import FileLock
from nightcrew.shadow import removing
from nightcrew.shadow.removing import Removals


@pytest.fixture
def removals(tmp_path):
    return Removals(Emptied(tmp_path / "emptied"))


def fill(place: Path) -> Path:
    (place / "below").mkdir(parents=True)
    (place / "below" / "file").write_bytes(b"x")
    return place


def test_what_is_added_is_gone_at_the_end_and_its_lock_is_free(tmp_path, removals):
    gone = [fill(tmp_path / f".gone-{number}") for number in range(3)]
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    for place in gone:
        removals.add(place, lock if place == gone[-1] else None)
    removals.finish()
    assert not any(place.exists() for place in gone)
    assert FileLock(tmp_path / "lock").acquire()


def test_nothing_is_removed_while_a_shadow_is_opened(tmp_path, removals, monkeypatch):
    monkeypatch.setattr(removing, "_PAUSE_S", 0.0)
    monkeypatch.setattr(removing, "_LONGEST_S", 3600.0)
    place = fill(tmp_path / ".gone-1")
    with removals.put_off():
        removals.add(place, None)
        # Another opening that ends does not let it begin.
        with removals.put_off():
            pass
        assert (place / "below" / "file").exists()
    wait_for_all(removals)
    assert not place.exists()


def test_who_waits_for_removals_does_not_wait_for_openings(tmp_path, removals, monkeypatch):
    monkeypatch.setattr(removing, "_PAUSE_S", 3600.0)
    monkeypatch.setattr(removing, "_LONGEST_S", 3600.0)
    place = fill(tmp_path / ".gone-1")
    with removals.put_off():
        removals.add(place, None)
        removals.finish()
        assert not place.exists()


def test_an_opening_without_end_does_not_keep_the_disk_full(tmp_path, removals, monkeypatch):
    monkeypatch.setattr(removing, "_LONGEST_S", 0.1)
    gone = [fill(tmp_path / f".gone-{number}") for number in range(20)]
    with removals.put_off():
        for place in gone:
            removals.add(place, None)
        wait_for_all(removals)
        assert not any(place.exists() for place in gone)


def test_so_many_wait_and_no_more(tmp_path, removals, monkeypatch):
    monkeypatch.setattr(removing, "_PAUSE_S", 3600.0)
    monkeypatch.setattr(removing, "_MOST", 5)
    gone = [fill(tmp_path / f".gone-{number}") for number in range(18)]
    for place in gone:
        lock = FileLock(place / "lock")
        assert lock.acquire()
        removals.add(place, lock)
        assert sum(each.exists() for each in gone[: gone.index(place) + 1]) <= 5
    removals.finish()


def test_what_cannot_be_removed_does_not_stop_the_rest(tmp_path, removals):
    removals.add(tmp_path / ".gone-nowhere", None)
    place = fill(tmp_path / ".gone-1")
    removals.add(place, None)
    removals.finish()
    assert not place.exists()


def wait_for_all(removals: Removals) -> None:
    """Wait without taking anything out of turn, as ``finish`` would."""
    done = threading.Event()
    removals._remover.submit(done.set)
    assert done.wait(60)
