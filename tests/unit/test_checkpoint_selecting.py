"""Keeping what passes: a file loses as little as makes it pass, and what no choice mends is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.checkpoint.selecting import keep_valid
from nightcrew.model.actions import Change, PathChange
from nightcrew.model.trees import Hunk

FILE, EXECUTABLE = 0o100644, 0o100755


def piece(name: str, path: str, **fields) -> Hunk:
    whole = {"kind": "lines", "old_mode": FILE, "new_mode": FILE, "old_id": "o", "new_id": "n"}
    return Hunk(f"H-{name}", path, **{**whole, **fields})


BIG = piece("big", "a", old_start=1, added=b"x\n" * 500)
SMALL = piece("small", "a", old_start=9, added=b"y\n")
MODE = piece("mode", "a", kind="mode", new_mode=EXECUTABLE)
A = PathChange("a", "modified", FILE, EXECUTABLE, "o", "n", size_bytes=1102, lines_added=501)
B = PathChange("b", "added", 0, FILE, "", "n", size_bytes=10, lines_added=1)
ADDED = piece("b", "b", kind="whole", old_mode=0, old_id="")


def judge(*rules):
    """Return a judge of rules: (what to say, when a path may not stay)."""

    def say(change: Change):
        found = {p.path: [word for word, bad in rules if bad(p)] for p in change.paths}
        return {path: why for path, why in found.items() if why}

    return say


@pytest.mark.parametrize(
    ("bad", "gone"),
    [
        (lambda p: p.new_mode == EXECUTABLE, ["H-mode"]),
        (lambda p: p.size_bytes > 200, ["H-big"]),
        (lambda p: p.size_bytes > 200 or p.new_mode == EXECUTABLE, ["H-big", "H-mode"]),
        (lambda p: p.path == "a", ["H-big", "H-small", "H-mode"]),
        (lambda p: p.path == "c", []),
    ],
)
def test_a_file_loses_as_little_as_makes_it_pass(bad, gone):
    change = Change("t1", "t2", (A, B))
    hunks = (BIG, SMALL, MODE, ADDED)
    choice = keep_valid(change, hunks, judge(("no", bad)))
    assert [hunk.id for hunk in hunks if hunk not in choice.kept] == gone
    assert [(back.path, back.whole, [hunk.id for hunk in back.hunks]) for back in choice.put_back] == (
        [("a", len(gone) == 3, gone)] if gone else []
    )
    assert ADDED in choice.kept


def test_what_is_said_of_the_change_as_a_whole_is_handed_on_as_it_is_afterwards():
    def too_many(change: Change):
        against = {p.path: ["no"] for p in change.paths if p.path == "b"}
        return {**against, "": [f"{len(change.paths)} files"]} if change.paths else {}

    change = Change("t1", "t2", (A, B, replace(B, path="c")), refused=("pipe: a FIFO",))
    choice = keep_valid(change, (BIG, ADDED, replace(ADDED, id="H-c", path="c")), too_many)
    assert choice.left == ("2 files",)
    assert [back.path for back in choice.put_back] == ["b"]


def test_thousands_of_hunks_are_not_tried_one_by_one():
    asked = []

    def never(change: Change):
        asked.append(change)
        return {"a": ["no"]}

    hunks = tuple(piece(str(n), "a", old_start=n, added=b"z\n") for n in range(3000))
    choice = keep_valid(Change("t1", "t2", (A,)), hunks, never)
    assert choice.kept == ()
    assert len(asked) < 500
