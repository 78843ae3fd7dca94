"""What is handed over: checked by git before the user's repository sees anything of it, and there whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.errors import LimitReached, NightcrewError
from nightcrew.promote import parcel as parcels
from promote_world import Content, World

FILES: Content = {"a.txt": b"aaaa\n", "d/b.txt": b"b\n"}
CHANGE: Content = {"a.txt": b"AAAA\n", "d/b.txt": b"B\n", "new/f": b"n\n"}
EVIL = b'[submodule "x"]\n\tpath = x\n\turl = -u./payload\n'


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, FILES)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of packs that git itself has taken in."""
    taken: list[str] = []
    take_in = parcels.take_in

    def note(site: object, pack: object) -> None:
        taken.append("one")
        take_in(site, pack)  # type: ignore[arg-type]

    monkeypatch.setattr(parcels, "take_in", note)
    return taken


def packs(world: World) -> list[Path]:
    return sorted((world.repo / ".git/objects/pack").iterdir())


def test_what_was_checked_is_put_there_as_git_does(world: World, late: list[str]) -> None:
    before = set(packs(world))
    world.promote(CHANGE)
    new = sorted(set(packs(world)) - before)
    assert [each.suffix for each in new] == [".idx", ".pack"]
    assert not late
    assert {stat.S_IMODE(each.stat().st_mode) & 0o333 for each in new} == {0}
    world.git("verify-pack", str(new[0]))
    assert not world.git("fsck", "--strict", "--full")
    assert list(world.promoter().state_dir.glob("promote.*")) == []


@pytest.mark.parametrize("name", [".gitmodules", "sub/.gitmodules", ".GITMODULES", "gitmod~1"])
def test_what_git_would_not_take_in_does_not_get_in(world: World, name: str) -> None:
    old = world.snapshot()
    before = packs(world)
    promoter = world.promoter()
    with pytest.raises(NightcrewError) as refused:
        promoter.publish(world.prepare_with(promoter, CHANGE | {name: EVIL}))
    if name == ".gitmodules":
        assert "gitmodules" in str(refused.value)
    assert packs(world) == before
    assert world.snapshot() == old


@pytest.mark.parametrize("value", ["group", "true", "0660", "all"])
def test_where_others_may_read_too_git_takes_it_in(world: World, late: list[str], value: str) -> None:
    world.git("config", "core.sharedRepository", value)
    world.promote(CHANGE)
    assert late
    assert not world.git("fsck", "--strict", "--full")


def test_what_a_kill_left_half_there_is_made_whole(world: World, late: list[str]) -> None:
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    known = promoter._known
    assert known is not None
    assert known.parcel is not None
    name = known.parcel._packed.result().checksum(20).hex()
    place = world.repo / ".git/objects/pack"
    place.mkdir(exist_ok=True)
    (place / f"pack-{name}.pack").write_bytes(b"half")
    promoter.publish(prepared)
    assert not late
    assert not world.git("fsck", "--strict", "--full")


def test_what_a_killed_check_left_goes_with_the_next_one(world: World) -> None:
    state = world.promoter().state_dir
    for name in ("promote.old", "promote.young"):
        (state / name).mkdir(parents=True)
        (state / name / "it.idx").write_bytes(b"half")
        (state / name / "it.pack").symlink_to("/proc/self/fd/0")
    (state / "promote.old.index").write_bytes(b"half")
    for name in ("promote.old", "promote.old.index"):
        os.utime(state / name, (0, 0))
    world.promote(CHANGE)
    assert [each.name for each in state.glob("promote.*")] == ["promote.young"]


def test_on_a_full_disk_nothing_is_left_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    old, before = world.snapshot(), packs(world)
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parcels, "sync_together", full)
    with pytest.raises(LimitReached):
        promoter.publish(prepared)
    assert packs(world) == before
    assert world.snapshot() == old


def test_what_is_not_checked_beforehand_is_checked_on_the_way_in(
    world: World, late: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check that could not be made (no room, no /proc) is none."""
    monkeypatch.setattr(parcels, "_OWN_INPUT", "/nonexistent")
    world.promote(CHANGE)
    assert late
    with pytest.raises(NightcrewError, match="gitmodules"):
        world.promote({".gitmodules": EVIL}, id="M-2")
