"""Sparse checkouts: cones, folded directories, patterns that are no cone."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import Content, World, record_of, walk

FILES: Content = {"a.txt": b"a\n", "dir/b.txt": b"b\n", "run.sh": b"#!/bin/sh\n", "link": "a.txt"}


def test_a_file_that_stood_outside_the_cone_stands_there_again_after_an_undo(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES | {"in/x": b"x", "out/y": b"y", "out/z": b"z"})
    world.git("sparse-checkout", "set", "--cone", "in")
    world.write({"out/y": b"y"})
    assert world.git("ls-files", "-t", "out").splitlines() == ["H out/y", "S out/z"]
    before = world.snapshot()
    record = world.promote({"out/y": None, "out/z": None})
    world.undo(record)
    assert world.snapshot() == before


def test_what_is_promoted_below_a_folded_directory_is_in_it_alone(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES | {"in/x": b"x", "zz/deep/y": b"y"})
    world.git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    assert world.git("ls-files", "--sparse", "zz") == "zz/"
    before = world.snapshot()
    record = world.promote({"zz/deep/y": b"Y", "zz/new": b"n"})
    assert world.git("status", "--porcelain", "-uall") == ""
    assert world.git("write-tree") == record.tree
    assert world.git("ls-files", "zz").splitlines() == ["zz/deep/y", "zz/new"]
    world.undo(record)
    assert world.snapshot() == before


def test_patterns_of_a_sparse_checkout_that_is_no_cone_are_respected(tmp_path: Path) -> None:
    world = World.make(tmp_path / "w", FILES | {"in/x": b"x", "in/y.bin": b"y", "out/z": b"z"})
    world.git("sparse-checkout", "set", "--no-cone", "/in/", "!*.bin", "/out/kept*")
    assert sorted(walk(world.repo)) == ["in", "in/x"]
    before = world.snapshot()
    record = world.promote(
        {"in/new": b"n", "in/new.bin": b"n", "out/new": b"n", "out/kept1": b"n", "out/z": b"Z"}
    )
    assert sorted(walk(world.repo)) == ["in", "in/new", "in/x", "out", "out/kept1"]
    assert world.git("status", "--porcelain", "-uall") == ""
    assert world.git("write-tree") == record.tree
    world.undo(record)
    assert world.snapshot() == before


def test_sparse_checkout_is_respected(tmp_path: Path) -> None:
    world = World.make(
        tmp_path / "w", FILES | {"in/side/x": b"x", "out/side/y": b"y", "out/side/z": b"z", "in/top": b"t"}
    )
    world.git("sparse-checkout", "set", "--cone", "in/side")
    assert not (world.repo / "out").exists()
    before = world.snapshot()
    prepared = world.prepare(
        {
            "a.txt": b"A\n",
            "in/new": b"n",
            "in/side/deep/new": b"n",
            "out/side/y": b"Y",
            "out/side/z": None,
            "out/new": b"n",
            "far/new": b"n",
        }
    )
    assert any(
        "outside your sparse checkout): far/new, out/new, out/side/y" in note for note in prepared.notes
    )
    world.promoter().publish(prepared)
    assert world.git("status", "--porcelain", "-uall") == ""
    assert {path for path in walk(world.repo) if "new" in path} == {"in/new", "in/side/deep/new"}
    assert not (world.repo / "out").exists()
    assert world.git("show", "HEAD:out/side/y") == "Y"
    assert world.git("ls-files", "-t", "out", "far").splitlines() == [
        "S far/new",
        "S out/new",
        "S out/side/y",
    ]
    world.undo(record_of(prepared))
    assert world.snapshot() == before
