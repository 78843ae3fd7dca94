"""``git status`` in a shadow is what it would be had git looked at everything anew, whatever was done before.

Inside, git keeps what it knows of files and directories and believes their status. The comparison is made with an index
that knows of no file's status and of no directory. Every second is waited for: git itself does not see what happens twice in the
same one, and times set back in it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.shadow.layering import Layering
from shadow_world import World, needs_overlay

# Few names, so that operations meet; those of the base among them.
NAMES = st.sampled_from(["a", "b", "c.o", ".gitignore", "build", "é"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TEXTS = st.sampled_from(["", "1\n", "2\n", "*.o\nbuild/\n", "a\n"])
MODES = st.sampled_from([0o644, 0o755])
WORK = st.one_of(
    st.tuples(st.just("write"), PATHS, TEXTS, MODES),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("make"), PATHS),
    st.tuples(st.just("mode"), PATHS, MODES),
    # Of directories, too: always the same time, so that one is set back.
    st.tuples(st.just("touch"), PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "nowhere"])),
)
GIT = st.sampled_from(
    [
        "git add -A",
        "git add a; git commit -qm x",
        "git commit -qam x",
        "git reset -q",
        "git reset -q --hard",
        "git stash -qu; git stash pop -q",
        "git clean -qfd",
        "git rm -rq --cached a",
        "git update-index --force-write-index",
        "git status --porcelain -uall; git status --ignored",
    ]
)
DIRECTORIES = ["a", "a/b", "b", "b/a", "é"]


def sneak(directory, name, text):
    """What comes into a directory, or changes there, without being seen by its time."""
    path = f"{directory}/{name}"
    return [("write", path, text, 0o644), ("touch", path), ("touch", directory)]


STEPS = st.lists(
    st.one_of(
        st.lists(WORK, min_size=2, max_size=10),
        st.builds(sneak, st.sampled_from(DIRECTORIES), NAMES, TEXTS),
        GIT,
    ),
    min_size=2,
    max_size=5,
)
# Twice: the first may have written what the second believes.
COMPARE = """
git status --porcelain -z > /tmp/first; git status --porcelain -z > /tmp/second
git ls-files -s -z | GIT_INDEX_FILE=/tmp/anew git update-index -z --index-info
GIT_INDEX_FILE=/tmp/anew git -c core.untrackedCache=false status --porcelain -z > /tmp/truth
cmp /tmp/first /tmp/truth && cmp /tmp/second /tmp/truth && exit 0
tr '\\0' '\\n' < /tmp/second; echo instead of; tr '\\0' '\\n' < /tmp/truth; exit 1
"""


@pytest.mark.parametrize("layered", [False, True])
def test_git_status_is_never_out_of_date(layered):
    needs_overlay("overlay")

    @settings(
        max_examples=6,
        deadline=None,
        # Making a failure smaller takes longer than a test may: every step starts processes.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def holds(steps):
        with tempfile.TemporaryDirectory(prefix="nightcrew-status.") as place:
            follow(Path(place), steps, layered=layered)

    holds()


def follow(place, steps, *, layered):
    files = {
        "a/a": b"1\n",
        "a/b/a": b"2\n",
        "a/b/b": b"1\n",
        "b/a/a": b"1\n",
        "é/b": b"1\n",
        ".gitignore": b"*.o\n",
    }
    world = World.make(place / "w", files)
    if layered:
        world.shadows().export(world.repository.head)
        (world.repo / "a/b/c").write_bytes(b"newer\n")
        (world.repo / "b/a/a").unlink()
        world.commit("newer")
    shadows = world.shadows(layering=Layering(max_share=2.0))
    shadow = shadows.open("one", shadows.export(world.repository.head))
    assert bool(shadow.base.parent) == layered
    try:
        world.operate(shadows, shadow, [("touch", directory) for directory in DIRECTORIES])
        world.run(shadows, shadow, COMPARE)
        for step in steps:
            world.run(shadows, shadow, "sleep 1.01")
            if isinstance(step, str):
                world.run(shadows, shadow, step, ok=False)
            else:
                world.operate(shadows, shadow, step)
            world.run(shadows, shadow, COMPARE)
    finally:
        shadows.discard(shadow)
        shadows.finish()
        world.close()
