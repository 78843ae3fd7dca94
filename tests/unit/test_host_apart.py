"""Directories away from where much was removed: the memory is real, the disk is told by where inodes lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nightcrew.host import apart
from nightcrew.host.apart import Emptied


@pytest.fixture
def reuses_late(tmp_path):
    if not apart._reuses_late(tmp_path):
        pytest.skip("needs an ext4 without a journal")


def part_of(place: Path) -> int:
    return place.stat().st_ino // apart._TOGETHER


def test_without_a_removal_it_is_an_ordinary_new_directory(tmp_path):
    Emptied(tmp_path / "emptied").make_apart(tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["new"]
    with pytest.raises(FileExistsError):
        Emptied(tmp_path / "emptied").make_apart(tmp_path / "new")


def test_few_removals_are_not_kept_in_mind(tmp_path):
    emptied = Emptied(tmp_path / "emptied")
    emptied.note(1, 10)
    assert not (tmp_path / "emptied").exists()


def test_nothing_is_kept_in_mind_on_another_file_system():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        Emptied(Path(place, "emptied")).note(1, 10_000)
        assert os.listdir(place) == []


def test_a_new_directory_leaves_a_part_that_was_emptied_and_no_traces(tmp_path, reuses_late):
    emptied = Emptied(tmp_path / "emptied")
    (tmp_path / "shadows").mkdir()
    probe = tmp_path / "shadows" / "probe"
    probe.mkdir()
    emptied.note(probe.stat().st_ino, 10_000)
    # Every part but the one where the memory itself will lie: that way out is always there.
    (tmp_path / "emptied" / str(part_of(tmp_path / "emptied"))).unlink(missing_ok=True)
    emptied.make_apart(tmp_path / "shadows" / "new")
    assert sorted(os.listdir(tmp_path / "shadows")) == ["new", "probe"]
    assert all(name.isdigit() for name in os.listdir(tmp_path / "emptied"))
    again = Emptied(tmp_path / "emptied")
    assert part_of(tmp_path / "shadows" / "new") not in again._parts(), "another process sees the same memory"


def test_where_all_is_emptied_it_is_made_all_the_same(tmp_path):
    (tmp_path / "emptied").mkdir()
    for number in range(600):
        (tmp_path / "emptied" / str(number)).touch()
    (tmp_path / "shadows").mkdir()
    Emptied(tmp_path / "emptied").make_apart(tmp_path / "shadows" / "new")
    assert os.listdir(tmp_path / "shadows") == ["new"]


def test_what_was_emptied_long_ago_is_forgotten_and_litter_with_it(tmp_path):
    (tmp_path / "emptied" / ".new-x.0").mkdir(parents=True)
    (tmp_path / "emptied" / "7").touch()
    for name in ("7", ".new-x.0"):
        os.utime(tmp_path / "emptied" / name, (1, 1))
    Emptied(tmp_path / "emptied").make_apart(tmp_path / "new")
    assert os.listdir(tmp_path / "emptied") == []
