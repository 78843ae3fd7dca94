"""Rows: putting the results of two tasks together."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from changes import AT
from ground import ENV, Ground
from rows import Act, Row, interleave

FILES = 100


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    """Two tasks changed the same hundred files in different places."""
    base = ground.base.tree
    chosen = ground.files.spread(FILES, seed=8)
    sides = [capture(ground, chosen, at_top) for at_top in (True, False)]
    origin = ground.store.commit(base, message="origin", at=AT)
    commits = [ground.store.commit(tree, parents=[origin], message="side", at=AT) for tree in sides]

    def compose() -> None:
        parts = [("T1", base, sides[0]), ("T2", base, sides[1])]
        if ground.store.compose(base, parts).conflicts:
            raise SystemExit("the benchmark's two tasks conflict")

    argv = ["git", "--git-dir", str(ground.store.path), "merge-tree", "--write-tree", *commits]
    ours, theirs = interleave(
        [Act(compose), Act(lambda: subprocess.run(argv, env=ENV, check=True, stdout=subprocess.DEVNULL))],
        rounds,
    )
    yield Row(f"compose two tasks, {FILES} shared files", ground.number, ours, "git merge-tree", theirs)


def capture(ground: Ground, chosen: list[int], at_top: bool) -> str:
    """Return the tree of a task that wrote a line at the top or at the end of each file."""
    shadow = ground.shadows.open(f"merge-{next(ground.fresh)}", ground.base)
    for at in chosen:
        place = Path(shadow.path) / ground.files.paths[at]
        place.parent.mkdir(parents=True, exist_ok=True)
        content = ground.files.content(at)
        place.write_bytes(b"top\n" + content if at_top else content + b"\nend\n")
    tree = ground.store.capture(ground.base.tree, ground.shadows.scan(shadow)).tree
    ground.shadows.discard(shadow)
    return tree
