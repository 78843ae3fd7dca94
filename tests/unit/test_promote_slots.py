"""Where slots are made: not where the file system takes long over every new file, whoever removed something there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host.apart import Emptied
from nightcrew.promote import transaction
from nightcrew.promote.transaction import Transaction, is_dear
from promote_world import World


@pytest.mark.parametrize("dear", [0, 1, 2, 100])
def test_a_dear_place_is_left_and_kept_in_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dear: int
) -> None:
    noted: list[int] = []
    asked: list[Path] = []

    def ask(place: Path) -> bool:
        asked.append(place)
        return len(asked) <= dear

    monkeypatch.setattr(transaction, "is_dear", ask)
    monkeypatch.setattr(Emptied, "note", lambda _, inode, removed: noted.append(removed))
    found = Transaction(tmp_path / "home", "M-1")
    found.create(found.home, Emptied(tmp_path / "emptied"))
    assert len(noted) == min(dear, 3)
    assert all(removed >= 200 for removed in noted)
    assert [each.name for each in found.path.iterdir()] == ["s"]
    assert {found.path.stat().st_mode & 0o777, (found.path / "s").stat().st_mode & 0o777} == {0o700}
    with pytest.raises(FileExistsError):
        found.create(found.home, Emptied(tmp_path / "emptied"))


def test_asking_leaves_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_dear(tmp_path)
    assert not list(tmp_path.iterdir())
    spent = iter([0, 500_000, 0, 500_000, 0, 500_000, 0, 5_000])
    monkeypatch.setattr(transaction.time, "thread_time_ns", lambda: next(spent))
    assert is_dear(tmp_path)
    assert not is_dear(tmp_path), (
        "one slow file says nothing: the kernel may have read a part of the disk for it"
    )


def test_a_promotion_lands_and_comes_back_from_wherever_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World.make(tmp_path, {"a": b"a\n"})
    monkeypatch.setattr(transaction, "is_dear", lambda _: True)
    record = world.promote({"a": b"A\n"})
    assert (world.repo / "a").read_bytes() == b"A\n"
    world.undo(record)
    assert (world.repo / "a").read_bytes() == b"a\n"
