"""Directories away from where much was removed: the memory is real, the disk is told by where inodes lie."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from nightcrew.host import apart
from nightcrew.host.apart import Emptied


@pytest.fixture
def unjournaled(disks):
    """A place on an ext4 without a journal."""
    return Path(tempfile.mkdtemp(dir=disks.find("ext4-unjournaled")))


def part_of(place: Path) -> int:
    return place.stat().st_ino // apart._TOGETHER


def test_without_a_removal_it_is_an_ordinary_new_directory(tmp_path):
    Emptied(tmp_path / "emptied").make_apart(tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["new"]
    with pytest.raises(FileExistsError):
        Emptied(tmp_path / "emptied").make_apart(tmp_path / "new")


def test_only_many_removals_are_kept_in_mind(unjournaled):
    emptied = Emptied(unjournaled / "emptied")
    emptied.note(1, 10)
    assert not (unjournaled / "emptied").exists()
    emptied.note(1, 10_000)
    assert os.listdir(unjournaled / "emptied") == ["0"]


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_nothing_is_kept_in_mind_on_another_file_system_or_with_a_journal(disks, kind):
    place = Path(tempfile.mkdtemp(dir=disks.find(kind)))
    Emptied(place / "emptied").note(1, 10_000)
    assert os.listdir(place) == []


def test_a_new_directory_leaves_a_part_that_was_emptied_and_no_traces(unjournaled):
    emptied = Emptied(unjournaled / "emptied")
    (unjournaled / "shadows").mkdir()
    probe = unjournaled / "shadows" / "probe"
    probe.mkdir()
    emptied.note(probe.stat().st_ino, 10_000)
    # Every part but the one where the memory itself will lie: that way out is always there.
    (unjournaled / "emptied" / str(part_of(unjournaled / "emptied"))).unlink(missing_ok=True)
    emptied.make_apart(unjournaled / "shadows" / "new")
    assert sorted(os.listdir(unjournaled / "shadows")) == ["new", "probe"]
    assert all(name.isdigit() for name in os.listdir(unjournaled / "emptied"))
    again = Emptied(unjournaled / "emptied")
    assert part_of(unjournaled / "shadows" / "new") not in again._parts(), (
        "another process sees the same memory"
    )


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
