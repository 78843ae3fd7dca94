"""Any repository, any change, any work of the user's elsewhere: promote, undo, redo give back identical states."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from promote_world import World, split_content, walk

NAMES = st.sampled_from(["a", "b", "C", "d e", "-f", "g\nh", "ï", "\udcff", ".hidden", "x.log"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
CONTENT = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.just("100755"), st.binary(max_size=20)),
    st.sampled_from(["a", "../a", "no where", "/etc/passwd"]),
    st.just(b"line\n" * 30),
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, object]:
    """A tree: no path is a directory of another."""
    files: dict[str, object] = {}
    for path, content in draw(st.lists(st.tuples(PATHS, CONTENT), min_size=1, max_size=8)):
        if not any(clash(path, other) for other in files):
            files[path] = content
    return files


def clash(path: str, other: str) -> bool:
    return path == other or path.startswith(other + "/") or other.startswith(path + "/")


def difference(old: dict[str, object], new: dict[str, object]) -> dict[str, object]:
    gone = dict.fromkeys(path for path in old if path not in new)
    return gone | {path: content for path, content in new.items() if old.get(path) != content}


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(old=trees(), new=trees(), mine=trees(), staged=st.sets(st.integers(0, 7)))
def test_there_and_back(
    old: dict[str, object], new: dict[str, object], mine: dict[str, object], staged: set[int]
) -> None:
    change = difference(old, new)
    assume(change)
    root = Path(tempfile.mkdtemp(prefix="nightcrew-roundtrip."))
    try:
        world = World.make(root / "w", old | {"base": b"base", ".gitignore": b"*.log\n"})
        world.git("add", "-A", "-f")
        world.git("commit", "-q", "--amend", "--no-edit")
        # Work of the user's: new files, edits and deletions, some of it staged, nowhere near the change.
        elsewhere = {
            path: content
            for path, content in mine.items()
            if not any(
                clash(path, other)
                for other in [*change, *(p for p in old if p != path), "base", ".gitignore"]
            )
        }
        world.write(elsewhere)
        for number, path in enumerate(elsewhere):
            if number in staged:
                world.git("--literal-pathspecs", "add", "-f", "--", path)
        before = world.snapshot()
        record = world.promote(change)
        after = world.snapshot()
        check_promoted(world, change, before, after)
        undone = world.undo(record)
        assert world.snapshot() == before
        redone = world.undo(undone, "M-3")
        assert world.snapshot() == after
        world.undo(redone, "M-4")
        assert world.snapshot() == before
        world.git("fsck", "--no-dangling")
    finally:
        shutil.rmtree(root)


def check_promoted(
    world: World, change: dict[str, object], before: dict[str, object], after: dict[str, object]
) -> None:
    files = walk(world.repo)
    for path, content in change.items():
        if content is None:
            assert path not in files or files[path][0] == "directory"
            continue
        mode, data = split_content(content)
        found = files[path]
        kind = "link" if mode == "120000" else "file"
        assert found[0] == kind
        assert (found[2].encode("utf-8", "surrogateescape") if kind == "link" else found[2]) == data
        if kind == "file":
            assert bool(found[1] & 0o100) == (mode == "100755")
    others = {
        p: v
        for p, v in before["files"].items()
        if not any(clash(p, c) for c in change) and v[0] != "directory"
    }
    assert others.items() <= files.items()
    assert after["stash"] == before["stash"]
