"""Pins keep the commit a run started from, and change nothing else in the user's repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nightcrew.model.errors import DriftError, NotFound

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path / "w", {"a": b"1\n", "d/b": b"2\n"})


def every_file(world: World) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in (world.repo / ".git").rglob("*") if p.is_file()}


def test_a_pinned_commit_survives_a_rewrite_and_a_collection(world: World) -> None:
    base = world.git("rev-parse", "HEAD")
    promoter = world.promoter()
    assert promoter.pin("R-1", base)
    world.write({"a": b"other\n"})
    world.git("commit", "-qa", "--amend", "-m", "rewritten")
    for last in (False, True):
        world.git("reflog", "expire", "--expire=all", "--all")
        world.git("gc", "-q", "--prune=now")
        if last:
            with pytest.raises(AssertionError):
                world.git("cat-file", "-e", base)
        else:
            assert world.git("show", f"{base}:a") == "1"
            assert promoter.pins() == {"R-1": base}
            promoter.unpin("R-1")
    assert promoter.pins() == {}


def test_nothing_but_the_ref_is_written(world: World) -> None:
    base = world.git("rev-parse", "HEAD")
    before, promoter = every_file(world), world.promoter()
    promoter.pin("R-1", base)
    promoter.pin("R-1", base)
    added = {name for name in every_file(world) if name not in before}
    [pin] = added
    assert pin.startswith(str(world.repo / ".git/refs/nightcrew/base/"))
    assert pin.endswith("/R-1")
    promoter.unpin("R-1")
    promoter.unpin("R-1")
    assert every_file(world) == before
    assert world.git("status", "--porcelain") == ""


def test_a_pin_moves_with_its_run(world: World) -> None:
    first, promoter = world.git("rev-parse", "HEAD"), world.promoter()
    promoter.pin("R-1", first)
    world.git("commit", "-q", "--allow-empty", "-m", "second")
    second = world.git("rev-parse", "HEAD")
    promoter.pin("R-1", second)
    promoter.pin("R-2", first)
    assert promoter.pins() == {"R-1": second, "R-2": first}


def test_what_is_refused(world: World) -> None:
    promoter = world.promoter()
    with pytest.raises(NotFound):
        promoter.pin("R-1", "1" * 40)
    for name in ("", "../x", "a/b", "a b", "-d"):
        with pytest.raises(ValueError, match="not the name"):
            promoter.pin(name, world.git("rev-parse", "HEAD"))
    promoter.pin("R-1", world.git("rev-parse", "HEAD"))
    ref = world.git("for-each-ref", "--format=%(refname)", "refs/nightcrew/base")
    promoter.unpin("R-1")
    held = world.repo / f".git/{ref}.lock"
    held.parent.mkdir(parents=True, exist_ok=True)
    held.touch()
    with pytest.raises(DriftError, match="nothing was changed"):
        promoter.pin("R-1", world.git("rev-parse", "HEAD"))
    assert promoter.pins() == {}


def test_two_owners_do_not_share_a_name(world: World, tmp_path: Path) -> None:
    base, mine, theirs = world.git("rev-parse", "HEAD"), world.promoter(), world.promoter(tmp_path / "theirs")
    mine.pin("R-1", base)
    assert theirs.pins() == {}
    theirs.pin("R-1", base)
    theirs.unpin("R-1")
    assert mine.pins() == {"R-1": base}
