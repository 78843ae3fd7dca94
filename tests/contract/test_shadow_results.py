"""A shadow on a result that our own store holds: its objects are copied, its history is that of git."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from shadow_world import World, needs_overlay, snapshot

FILES = {
    "a/b/c.txt": b"c\n",
    "a/gone": b"gone\n",
    "run.sh": (0o755, b"#!/bin/sh\n"),
    "folder/one": b"1\n",
    "file": b"file\n",
    "crlf.txt": b"one\r\ntwo\r\n",
}
WORK = (
    "echo C > a/b/c.txt; rm a/gone; chmod -x run.sh; rm -r folder; echo now a file > folder; rm file; mkdir file;"
    "echo in > file/in; ln -s nowhere link; mkdir -p new/deep; head -c 3000000 /dev/zero > new/deep/large; echo ü > 'new/ü '"
)


@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_what_our_store_holds_is_there_as_a_commit(tmp_path, mode):
    needs_overlay(mode)
    world = World.make(tmp_path, FILES)
    shadows = world.shadows(mode, own_objects=str(world.state / "objects" / "objects"))
    first = shadows.open("first", shadows.export(world.repository.head))
    world.run(shadows, first, WORK)
    tree = world.capture(shadows, first).tree
    before = snapshot(world.repo)

    delta = list(world.store.delta(first.base.tree, tree))
    assert all(entry.blob for entry in delta if entry.mode)
    second = shadows.open("second", first.base, delta, tree=tree)
    said = world.run(
        shadows,
        second,
        "git status --porcelain; git fsck --no-dangling; git rev-parse 'HEAD^{tree}' HEAD~1; git diff --stat HEAD~1 HEAD | tail -1;"
        "cat a/b/c.txt folder file/in; readlink link; test -x run.sh || echo plain; wc -c < new/deep/large;"
        "ls .git/objects/pack | grep -c 'pack$'; echo more >> a/b/c.txt; git commit -qam more; git log --format=%s -1",
    )
    assert said.splitlines() == [
        *(tree, first.base.commit, " 10 files changed, 5 insertions(+), 4 deletions(-)"),
        *("C", "now a file", "in", "nowhere", "plain", "3000000", "1", "more"),
    ]
    changed = world.store.compare(tree, world.capture(shadows, second, tree).tree)
    assert {each.path: each.kind for each in changed.paths} == {"a/b/c.txt": "modified"}
    assert snapshot(world.repo) == before
    shadows.finish()
    world.close()
