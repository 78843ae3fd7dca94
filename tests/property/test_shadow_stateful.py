"""A life of a shadow in any order of events: work, checkpoints, restores, restarts, newer bases, collection.

The model is a plain directory for the shadow and, for each checkpoint, what that directory held then.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

import shadow_operations
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.shadow.shadows import Shadows
from shadow_world import World, needs_overlay, read_files, write_files

# Few names, so that operations meet; odd ones, because file names are bytes.
NAMES = st.sampled_from(["a", "b", "c.o", "-x", "n\nl", "\udcff", ".gitignore", "é", "build"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TEXTS = st.sampled_from(["", "1\n", "2\n", "*.o\nbuild/\n", "\0binary\udcfe", "long\n" * 50])
MODES = st.sampled_from([0o644, 0o755, 0o600])
OPERATION = st.one_of(
    st.tuples(st.just("write"), PATHS, TEXTS, MODES),
    st.tuples(st.just("write"), PATHS, TEXTS, MODES),
    st.tuples(st.just("link"), PATHS, st.sampled_from(["a", "../b", "/etc/passwd", "nowhere\udcff"])),
    st.tuples(st.just("remove"), PATHS),
    st.tuples(st.just("make"), PATHS),
    st.tuples(st.just("mode"), PATHS, MODES),
    st.tuples(st.just("touch"), PATHS),
    st.tuples(st.just("move"), PATHS, PATHS),
)
OPERATIONS = st.lists(OPERATION, min_size=1, max_size=8)


class Life(RuleBasedStateMachine):
    """One user's repository, one task in it at a time, all checkpoints it ever made."""

    mode = "overlay"

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="nightcrew-life."))
        self.model = self.root / "model"
        self.number = 0
        self.checkpoints: list[tuple[str, dict]] = []
        self.earlier: list[Shadows] = []

    @initialize(first=OPERATIONS)
    def begin(self, first):
        self.world = World.make(
            self.root / "w", {"always": b"here\n", "deep/er/file": b"1\n", "deep/b": b"2\n"}
        )
        shadow_operations.apply(str(self.world.repo), first)
        self.world.commit("random")
        self.shadows = self.world.shadows(self.mode)
        self.shadow = None
        self.open_on_head()

    # -- the task -----------------------------------------------------------------------------------------------

    @rule(work=OPERATIONS)
    def work(self, work):
        self.world.operate(self.shadows, self.shadow, work)
        shadow_operations.apply(str(self.model), work)

    @rule()
    def checkpoint(self):
        entries = list(self.shadows.scan(self.shadow))
        captured = self.world.store.capture(self.start, entries, memory=self.memory)
        assert captured.refused == ()
        assert captured.tree == self.world.tree_of_directory(self.model)
        anew = self.world.store.capture(self.start, entries)
        assert (anew.tree, anew.refused) == (captured.tree, ())
        self.number += 1
        self.world.store.commit(
            captured.tree, message="c", at="2024-01-01T00:00:00+00:00", ref=f"C-{self.number}"
        )
        self.checkpoints.append((captured.tree, read_files(self.model)))

    @rule()
    def restart(self):
        """The process ends and another goes on with the same shadow; what it had learned is forgotten."""
        self.shadows.close(self.shadow)
        self.world.close()
        self.world._store = None
        self.earlier.append(self.shadows)
        self.shadows = self.world.shadows(self.mode)
        self.shadows.sweep()
        self.shadow = self.shadows.reopen(self.shadow.name)
        self.memory = CaptureMemory()

    @precondition(lambda self: self.checkpoints)
    @rule(data=st.data())
    def restore(self, data):
        """The shadow is dropped and one on a checkpoint comes; what it shows is what was captured."""
        tree, files = data.draw(st.sampled_from(self.checkpoints))
        self.shadows.discard(self.shadow)
        self.open_on(self.base, tree)
        self.set_model(files)
        assert self.seen_inside() == tree

    # -- the user -----------------------------------------------------------------------------------------------

    @rule(edits=OPERATIONS)
    def user_edits(self, edits):
        """Nothing that the user does in the working tree reaches the task."""
        shadow_operations.apply(str(self.world.repo), edits)

    @rule(edits=OPERATIONS)
    def newer_base(self, edits):
        """The user commits, the next task starts there: its export is made from that of an older commit."""
        shadow_operations.apply(str(self.world.repo), edits)
        self.world.commit("newer")
        self.shadows.discard(self.shadow)
        self.open_on_head()
        assert self.seen_inside() == self.base.tree

    @rule()
    def collect(self):
        self.shadows.collect({self.base.commit}, grace_s=0)

    # -- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def shadows_are_those_we_know(self):
        if hasattr(self, "shadow"):
            assert self.shadows.names() == (self.shadow.name,)

    @precondition(lambda self: len(self.checkpoints) > 1)
    @rule(data=st.data())
    def difference(self, data):
        """The difference of two checkpoints turns the files of one into those of the other."""
        (old, before), (new, after) = (data.draw(st.sampled_from(self.checkpoints)) for _ in range(2))
        place = self.root / "difference"
        place.mkdir()
        write_files(place, before)
        for entry in self.world.store.delta(old, new):
            shadow_operations.apply(str(place), [("remove", entry.path)])
            if entry.mode:
                content = entry.open().read()
                link = entry.mode == 0o120000
                bits = 0o755 if entry.mode == 0o100755 else 0o644
                write_files(place, {entry.path: decode(content) if link else (bits, content)})
        assert plain(read_files(place)) == plain(after)
        shutil.rmtree(place)

    def teardown(self):
        if hasattr(self, "world"):
            self.shadows.discard(self.shadow)
            assert self.shadows.names() == ()
            self.world.close()
            for shadows in (*self.earlier, self.shadows):
                shadows.finish()
        shutil.rmtree(self.root)

    # -- inside -------------------------------------------------------------------------------------------------

    def open_on_head(self):
        self.base = self.shadows.export(self.world.repository.head)
        self.open_on(self.base, self.base.tree)
        files = self.root / "checked-out"
        self.world.git("worktree", "add", "-q", "-f", "--detach", str(files), "HEAD")
        self.set_model(read_files(files))
        self.world.git("worktree", "remove", "-f", str(files))

    def open_on(self, base, tree):
        self.number += 1
        delta = self.world.store.delta(base.tree, tree)
        self.shadow = self.shadows.open(f"s-{self.number}", base, delta, tree=tree)
        self.start = tree
        self.memory = CaptureMemory()

    def set_model(self, files):
        shutil.rmtree(self.model, ignore_errors=True)
        self.model.mkdir()
        files = {name: content for name, content in files.items() if name != ".git"}
        write_files(self.model, files)

    def seen_inside(self):
        """Return the tree of what a process in the sandbox sees, as the shadow's own git has it."""
        script = (
            'test -z "$(git status --porcelain 2>/dev/null)" && git add -A -f 2>/dev/null && git write-tree'
        )
        return self.world.run(self.shadows, self.shadow, script).strip()


def decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def plain(files: dict) -> dict:
    """Git knows one bit of a mode."""
    return {
        name: (bool(content[0] & 0o100), content[1])
        if isinstance(content, tuple)
        else content
        if isinstance(content, str)
        else (False, content)
        for name, content in files.items()
    }


@pytest.mark.parametrize(("mode", "examples"), [("overlay", 10), ("copy", 5)])
def test_any_life_of_a_shadow(mode, examples):
    needs_overlay(mode)
    machine = type("LifeOf" + mode.title(), (Life,), {"mode": mode})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=14,
            deadline=None,
            # Making a failure smaller takes longer than a test may: every step starts processes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
