"""Promotions, undos and redos among everything a user does meanwhile, in any order.

The model is one dictionary of plain files each for commit and working tree. What a promotion may do to a path follows from
what stood there; what was refused must have changed nothing at all.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.errors import NightcrewError
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.commits import Step
from nightcrew.promote.target import Target
from promote_world import World, record_of

Files = dict[str, bytes]

PATHS = ("a", "b c", "d/a", "d/e/ï", "d/e/g\nh", "z.log")
LINES = 9


def text(path: str, versions: tuple[int, ...]) -> bytes:
    """Return lines that no other path has (so that nothing looks like a rename), with some edited."""
    rows = [f"{path!r} {number} {'edit' * bool(version)}{version}" for number, version in enumerate(versions)]
    return "\n".join(rows).encode() + b"\n" * (versions[-1] != 2)


VERSIONS = st.lists(st.tuples(st.integers(0, LINES - 1), st.integers(1, 2)), max_size=3).map(
    lambda edits: tuple(dict(edits).get(number, 0) for number in range(LINES))
)
CONTENT = st.one_of(VERSIONS, VERSIONS, VERSIONS, st.none())
CHANGES = st.dictionaries(st.sampled_from(PATHS), CONTENT, min_size=1, max_size=4)


def to_files(changes: dict[str, tuple[int, ...] | None]) -> dict[str, bytes | None]:
    return {path: None if versions is None else text(path, versions) for path, versions in changes.items()}


@dataclass
class Promoted:
    """A promotion or undo that was published, with what was there around it: committed, on disk, staged, everything."""

    record: PromotionRecord = field(repr=False)
    old: Files = field(repr=False)
    new: Files = field(repr=False)
    working: Files = field(repr=False)
    staged: Files = field(repr=False)
    before: dict[str, object] = field(repr=False)
    after: dict[str, object] = field(repr=False)


class Repository(RuleBasedStateMachine):
    """One user, one repository, a runtime that promotes into it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="nightcrew-promotions."))
        self.number = 0
        self.promoted: list[Promoted] = []

    @initialize(first=st.dictionaries(st.sampled_from(PATHS), VERSIONS, min_size=2))
    def begin(self, first):
        self.world = World.make(self.root / "w", {"kept": b"kept\n"} | to_files(first))
        self.world.git("add", "-A", "-f")
        self.branches: set[str] = set()
        self.bases = [self.world.git("rev-parse", "HEAD")]

    # -- the user -----------------------------------------------------------------------------------------------

    @rule(changes=CHANGES)
    def edit(self, changes):
        self.world.write(to_files(changes))

    @rule(path=st.sampled_from(PATHS))
    def stage(self, path):
        known = self.world.git("--literal-pathspecs", "ls-files", "--", path)
        if known or (self.world.repo / path).exists():
            self.world.git("--literal-pathspecs", "add", "-A", "-f", "--", path)

    @rule(everything=st.booleans())
    def commit(self, everything):
        self.world.git("commit", "-q", "--allow-empty", "-m", "mine", *(["-a"] if everything else []))
        self.bases.append(self.world.git("rev-parse", "HEAD"))

    @rule()
    def put_back(self):
        """Throw away what is not committed."""
        self.world.git("reset", "-q", "--hard")

    # -- the runtime --------------------------------------------------------------------------------------------

    @rule(data=st.data(), changes=CHANGES, meanwhile=st.one_of(st.none(), st.none(), CHANGES))
    def promote(self, data, changes, meanwhile):
        base = data.draw(st.sampled_from(self.bases[-3:]))
        start = self.committed(base)
        end = patched(start, to_files(changes))
        if end == start:
            return
        tree = self.world.tree(
            to_files({p: v for p, v in changes.items() if v is not None or p in start}), base
        )
        expected = merge_files(self.world, start, self.committed(), end)
        self.number += 1
        published = self.publish(
            lambda promoter: promoter.prepare(
                f"M-{self.number}", base_commit=base, tree=tree, message="work"
            ),
            expected,
            meanwhile,
        )
        if published:
            self.bases.append(published.record.new_commit)

    @rule(first=CHANGES, then=CHANGES, join=st.sampled_from(["rebase", "merge"]))
    def promote_steps(self, first, then, join):
        """A commit for each of two tasks, in their order."""
        start = self.committed()
        trees = [start, patched(start, to_files(first)), patched(start, to_files(first | then))]
        if trees[0] == trees[1] or trees[1] == trees[2]:
            return
        steps = [Step(self.tree(start, tree), f"step {n}") for n, tree in enumerate(trees[1:])]
        base = self.world.git("rev-parse", "HEAD")
        self.number += 1
        name = f"M-{self.number}"
        published = self.publish(
            lambda promoter: promoter.prepare(name, base_commit=base, steps=steps, target=Target(join=join)),
            trees[2],
            None,
        )
        if published:
            assert self.committed("HEAD^") == trees[1]
            assert self.committed("HEAD^^") == start

    @rule(changes=CHANGES, data=st.data())
    def promote_elsewhere(self, changes, data):
        """To a new branch or onto one that is not checked out, back, and there again: only that branch moves."""
        base = data.draw(st.sampled_from(self.bases[-3:]))
        start = self.committed(base)
        end = patched(start, to_files(changes))
        target = data.draw(st.sampled_from(sorted(self.branches) or [""]))
        kind = "branch" if target and data.draw(st.booleans()) else "new"
        self.number += 1
        name = f"M-{self.number}"
        target = target if kind == "branch" else f"side-{self.number}"
        there = self.committed(target if kind == "branch" else "HEAD")
        expected = merge_files(self.world, start, there, end)
        before = self.world.snapshot()
        try:
            prepared = self.world.promoter().prepare(
                name,
                base_commit=base,
                tree=self.tree(start, end, base),
                message="work",
                target=Target(kind, target),
            )
        except NightcrewError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert expected is None or expected == there, refused
            assert self.world.snapshot() == before
            return
        self.world.promoter().publish(prepared)
        assert self.committed(target) == expected
        self.branches.add(target)
        after = self.world.snapshot()
        assert {**after, "refs": 0} == {**before, "refs": 0}
        undone = self.world.undo(record_of(prepared), f"{name}u")
        assert self.world.snapshot() == before
        self.world.undo(undone, f"{name}r")
        assert self.world.snapshot() == after

    @precondition(lambda self: self.promoted)
    @rule(data=st.data(), meanwhile=st.one_of(st.none(), st.none(), CHANGES))
    def undo(self, data, meanwhile):
        """Of any promotion, or of an undo: then it is a redo."""
        chosen = data.draw(st.sampled_from(self.promoted[-3:]))
        expected = merge_files(self.world, chosen.new, self.committed(), chosen.old)
        untouched = self.world.snapshot() == chosen.after
        self.number += 1
        name = f"M-{self.number}"
        published = self.publish(
            lambda promoter: promoter.undo(chosen.record, id=name, message="undo"),
            expected,
            meanwhile,
            chosen,
        )
        if untouched and meanwhile is None:
            assert published is not None, "an undo with nothing in between must work"
            assert published.after == chosen.before
        if published:
            self.bases.append(published.record.new_commit)

    def teardown(self):
        if hasattr(self, "world"):
            self.world.git("fsck", "--no-dangling")
        shutil.rmtree(self.root)

    # -- inside -------------------------------------------------------------------------------------------------

    def publish(self, prepare, expected, meanwhile, undone=None):
        """Do it, and compare with the model; None when it was refused."""
        world = self.world
        old, on_disk, before = self.committed(), self.working(), world.snapshot()
        staged = self.staged()
        promoter = world.promoter()
        try:
            prepared = prepare(promoter)
            assert world.snapshot() == before, "preparing changes nothing"
            if meanwhile is not None:
                world.write(to_files(meanwhile))
                on_disk, before = self.working(), world.snapshot()
            promoter.publish(prepared)
        except NightcrewError as error:
            refused = error
        else:
            refused = None
        if refused is not None:
            assert world.snapshot() == before, f"refused ({refused.code}), yet something changed"
            assert not self.must_work(old, expected, on_disk, staged), refused
            return None
        new = self.committed()
        assert expected is not None, "a merge with a conflict was promoted"
        assert new == expected
        self.check_working(old, new, on_disk, undone)
        self.check_staged(old, new, staged, undone)
        done = Promoted(record_of(prepared), old, new, on_disk, staged, before, world.snapshot())
        self.promoted.append(done)
        return done

    def must_work(self, old, expected, on_disk, staged):
        """Tell whether nothing of the user's is in the way: edits elsewhere in a file are not."""
        if expected is None or expected == old:
            return False
        return all(
            staged.get(path) == old.get(path)
            and self.leaves_room(old.get(path), on_disk.get(path), expected.get(path))
            for path in differing(old, expected)
        )

    def leaves_room(self, was, had, shall):
        if had in (was, shall):
            return True
        return None not in (was, had, shall) and merge_file(self.world, was, had, shall)[1]

    def check_working(self, old, new, before, undone):
        after = self.working()
        for path in {*old, *new, *before, *after}:
            had, was, shall = before.get(path), old.get(path), new.get(path)
            if was == shall or had == shall:
                assert after.get(path) == had, path
            elif undone and was_dirty(undone, path):
                # An undo gives back what stood there; what the promotion had found as it wanted it, it never touched.
                assert after.get(path) in (had, undone.working.get(path)), path
            elif had == was:
                assert after.get(path) == shall, path
            else:
                merged, clean = merge_file(self.world, was, had, shall)
                assert clean, f"{path}: work of the user's overlaps"
                assert after.get(path) == merged, path

    def check_staged(self, old, new, before, undone):
        after = self.staged()
        for path in {*old, *new, *before, *after}:
            if old.get(path) == new.get(path):
                assert after.get(path) == before.get(path), path
            elif undone and undone.staged.get(path) != undone.old.get(path):
                assert after.get(path) in (new.get(path), undone.staged.get(path)), path
            else:
                assert after.get(path) == new.get(path), path

    def tree(self, start: Files, end: Files, base: str = "HEAD") -> str:
        """Return a tree in our store that has the files of ``end``; ``start`` are those of ``base``."""
        return self.world.tree({path: end.get(path) for path in sorted(differing(start, end))}, base)

    def committed(self, commit: str = "HEAD") -> Files:
        return self.read(self.world.git_raw("ls-tree", "-r", "-z", commit), 2)

    def staged(self) -> Files:
        return self.read(self.world.git_raw("ls-files", "-s", "-z"), 1)

    def read(self, listed: bytes, field: int) -> Files:
        rows = [row.split(b"\t", 1) for row in listed.split(b"\0") if row]
        return {path.decode(): self.blob(head.split(b" ")[field]) for head, path in rows}

    def blob(self, name: bytes) -> bytes:
        if not hasattr(self, "blobs"):
            self.blobs: dict[bytes, bytes] = {}
        if name not in self.blobs:
            self.blobs[name] = self.world.git_raw("cat-file", "blob", name.decode())
        return self.blobs[name]

    def working(self) -> Files:
        found = self.world.snapshot(refs=False)["files"]
        return {path: seen[2] for path, seen in found.items() if seen[0] == "file"}


def was_dirty(promoted: Promoted, path: str) -> bool:
    return promoted.working.get(path) != promoted.old.get(path)


def patched(files: Files, changes: dict[str, bytes | None]) -> Files:
    both = {**files, **changes}
    return {path: content for path, content in both.items() if content is not None}


def differing(one: Files, other: Files) -> set[str]:
    return {path for path in {*one, *other} if one.get(path) != other.get(path)}


def merge_files(world: World, base: Files, ours: Files, theirs: Files) -> Files | None:
    """Return the three-way merge path by path, None when there is a conflict."""
    merged: Files = {}
    for path in {*base, *ours, *theirs}:
        content, clean = merge_file(world, base.get(path), ours.get(path), theirs.get(path))
        if not clean:
            return None
        if content is not None:
            merged[path] = content
    return merged


def merge_file(
    world: World, base: bytes | None, ours: bytes | None, theirs: bytes | None
) -> tuple[bytes | None, bool]:
    if ours in (base, theirs):
        return theirs, True
    if theirs == base:
        return ours, True
    if ours is None or theirs is None:
        return None, False
    places = []
    for name, content in (("ours", ours), ("base", base or b""), ("theirs", theirs)):
        place = world.root / name
        place.write_bytes(content)
        places.append(str(place))
    try:
        return world.git_raw("merge-file", "-p", "--diff3", *places), True
    except AssertionError:
        return None, False


def test_any_order_of_promotions_and_work_of_the_users():
    run_state_machine_as_test(
        Repository,
        settings=settings(
            max_examples=8,
            stateful_step_count=12,
            deadline=None,
            # Making a failure smaller takes longer than a test may: every step starts processes.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
