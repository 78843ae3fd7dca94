"""What a person does while a promotion is prepared and published is never lost, and never noted as something else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host import crash
from nightcrew.model.errors import DriftError
from promote_world import Content, World

LINES = [f"line {number}\n".encode() for number in range(20)]
FILES: Content = {"a.txt": b"aaaa\n", "d/b.txt": b"b\n", "long.txt": b"".join(LINES), "gone/x": b"x\n"}
CHANGE: Content = {"a.txt": b"AAAA\n", "d/b.txt": b"B\n", "gone/x": None, "new/f": b"n\n"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path, FILES)


def at(monkeypatch: pytest.MonkeyPatch, point: str, act: Callable[[], object], hit: int = 1) -> None:
    """Do something when a step has been reached for the ``hit``th time."""
    passed = []

    def reached(name: str) -> None:
        if name == point:
            passed.append(name)
            if len(passed) == hit:
                act()

    monkeypatch.setattr(crash, "point", reached)


def write_unseen(place: Path, data: bytes) -> None:
    """Write as a program does that has the file mapped: the time of modification says nothing."""
    before = place.stat()
    with place.open("r+b") as file:
        file.write(data)
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_edit_of_the_last_moment_has_all_of_it_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    old = world.snapshot()
    at(monkeypatch, "promote.committed", lambda: write_unseen(world.repo / "a.txt", b"mine\n"))
    with pytest.raises(DriftError) as refused:
        promoter.publish(prepared)
    assert refused.value.code == "drift.race"
    assert (world.repo / "a.txt").read_bytes() == b"mine\n"
    (world.repo / "a.txt").write_bytes(b"aaaa\n")
    world.git("status")
    assert {**world.snapshot(), "files": 0} == {**old, "files": 0}
    assert sorted(each.name for each in world.repo.iterdir()) == [".git", "a.txt", "d", "gone", "long.txt"]


def test_an_edit_that_has_to_stay_when_all_is_taken_back_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file was changed before it was replaced, another after: the first comes back, the second is left and told."""
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)

    def act() -> None:
        displaced = (world.repo / ".git/nightcrew/M-1/s").iterdir()
        write_unseen(
            next(each for each in displaced if each.is_file() and each.read_bytes() == b"b\n"), b"m\n"
        )
        (world.repo / "a.txt").write_bytes(b"mine\n")

    at(monkeypatch, "promote.path", act, hit=6)
    with pytest.raises(DriftError) as refused:
        promoter.publish(prepared)
    assert refused.value.message.endswith(
        "; nothing was changed by the promotion, but 1 path could not be taken back"
    )
    (left,) = refused.value.where
    assert left.startswith(
        "a.txt was edited after the interruption: left as it is; what was there before is in "
    )
    assert Path(left.rpartition(" is in ")[2]).read_bytes() == b"aaaa\n"
    assert (world.repo / "a.txt").read_bytes() == b"mine\n"
    assert (world.repo / "d/b.txt").read_bytes() == b"m\n"


def test_what_is_written_to_a_new_file_at_once_is_an_edit_for_git(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    # After the last of six moves both are in place, and their status has been taken.
    places = [world.repo / name for name in ("d/b.txt", "a.txt")]
    at(monkeypatch, "promote.path", lambda: [write_unseen(each, b"Z") for each in places], hit=6)
    promoter.publish(prepared)
    assert world.git("status", "--porcelain").splitlines() == [" M a.txt", " M d/b.txt"]


def test_a_file_that_is_only_touched_between_lands(world: World) -> None:
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    os.utime(world.repo / "a.txt", (1, 1))
    promoter.publish(prepared)
    assert world.git("status", "--porcelain") == ""
    assert (world.repo / "a.txt").read_bytes() == b"AAAA\n"


def test_an_edit_between_is_merged_or_named(world: World) -> None:
    promoter = world.promoter()
    new = b"".join([b"first\n", *LINES[1:]])
    prepared = world.prepare_with(promoter, {"long.txt": new, "a.txt": b"AAAA\n"})
    mine = b"".join([*LINES[:-1], b"mine\n"])
    world.write({"long.txt": mine})
    promoter.publish(prepared)
    assert (world.repo / "long.txt").read_bytes() == b"".join([b"first\n", *LINES[1:-1], b"mine\n"])
    assert world.git("status", "--porcelain") == " M long.txt"
    prepared = world.prepare_with(promoter, {"a.txt": b"again\n"}, "M-2")
    world.write({"a.txt": b"by hand\n"})
    old = world.snapshot()
    with pytest.raises(DriftError) as refused:
        promoter.publish(prepared)
    assert refused.value.code == "drift.overlap"
    assert any(line.startswith("a.txt: ") for line in refused.value.where)
    assert world.snapshot() == old


def test_settings_that_change_between_hold(world: World) -> None:
    promoter = world.promoter()
    prepared = world.prepare_with(promoter, CHANGE)
    world.git("config", "core.autocrlf", "true")
    promoter.publish(prepared)
    assert (world.repo / "a.txt").read_bytes() == b"AAAA\r\n"
    assert world.git("status", "--porcelain") == ""


UNREADABLE = """
import os, sys
from pathlib import Path
from nightcrew.host import crash
from nightcrew.model.errors import DriftError
from promote_world import World
world = World(Path(sys.argv[1]))
promoter = world.promoter()
prepared = world.prepare_with(promoter, {"a.txt": b"AAAA\\n", "d/b.txt": b"B\\n", "gone/x": None, "new/f": b"n\\n"})
place = world.repo / "a.txt"
crash.point = lambda name: place.chmod(0) if name == "promote.committed" else None
try:
    promoter.publish(prepared)
except DriftError as refused:
    place.chmod(0o644)
    print(refused.code)
"""


def test_a_file_that_may_not_be_read_any_more_comes_back(world: World) -> None:
    old = world.snapshot()
    argv = [sys.executable, "-c", UNREADABLE, str(world.root)]
    if os.geteuid() == 0:  # root as others are: what may not be read is not read
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *argv]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("drift.race\n", "")
    world.git("status")
    assert {**world.snapshot(), "files": 0} == {**old, "files": 0}
    assert (world.repo / "a.txt").read_bytes() == b"aaaa\n"
    assert world.promoter().recover() == ()
