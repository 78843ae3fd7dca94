"""The user's hooks: none runs unasked; asked for, they see what git would show them, and a no leaves everything as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nightcrew.model.errors import DeniedByPolicy, UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.promote.commits import Step
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.target import Target
from promote_fork import die_at
from promote_world import Content, World, record_of

CHANGE: Content = {"a.txt": b"A\n", "gone": None, "new/f": b"n\n"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World.make(tmp_path / "w", {"a.txt": b"a\n", "gone": b"g", "mine": b"m"})
    world.write({"mine": b"edited"})
    return world


def add_hook(world: World, name: str, script: str) -> None:
    place = world.repo / ".git/hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def prepare(world: World, target: Target) -> Prepared:
    step = Step(world.tree(CHANGE), "work\n\nRun: R-1\n")
    return world.promoter().prepare(
        "M-1", base_commit=world.git("rev-parse", "HEAD"), steps=(step,), target=target
    )


def test_none_is_run_unasked(world: World) -> None:
    for name in ("pre-commit", "commit-msg", "prepare-commit-msg", "post-commit", "reference-transaction"):
        add_hook(world, name, f"touch {world.root}/ran; exit 1")
    prepared = prepare(world, Target())
    assert prepared.notes[-1].startswith("hooks are not run: pre-commit, ")
    world.promoter().publish(prepared)
    assert not (world.root / "ran").exists()


def test_they_see_what_git_would_show_them(world: World) -> None:
    add_hook(
        world,
        "pre-commit",
        f"git diff --cached --name-status > {world.root}/seen; cat new/f >> {world.root}/seen",
    )
    add_hook(world, "commit-msg", 'echo "Checked-by: hook" >> "$1"')
    add_hook(world, "post-commit", f"git log -1 --format=%s > {world.root}/after; exit 1")
    prepared = prepare(world, Target(hooks=True))
    assert "your hooks are run: pre-commit, commit-msg, post-commit" in prepared.notes
    world.promoter().publish(prepared)
    assert (world.root / "seen").read_text().split() == ["M", "a.txt", "D", "gone", "A", "new/f", "n"]
    assert (world.root / "after").read_text() == "work\n"
    assert "Checked-by: hook" in world.git("log", "-1", "--format=%B")
    assert world.git("status", "--porcelain") == " M mine"
    world.undo(record_of(prepared))


def test_a_no_changes_nothing(world: World) -> None:
    add_hook(world, "pre-commit", "echo too many lines; exit 3")
    before = world.snapshot()
    prepared = prepare(world, Target(hooks=True))
    with pytest.raises(DeniedByPolicy, match="exit code 3") as refused:
        world.promoter().publish(prepared)
    assert refused.value.where == ("too many lines",)
    assert world.snapshot() == before
    add_hook(world, "commit-msg", "exit 1")
    with pytest.raises(DeniedByPolicy, match="commit-msg"):
        prepare(world, Target(hooks=True))
    assert world.snapshot() == before


@pytest.mark.parametrize(
    "script", ["echo formatted > a.txt", "echo formatted > a.txt; exit 1", "rm new/f; echo back > gone"]
)
def test_a_hook_that_changes_promoted_files_changes_nothing(world: World, script: str) -> None:
    add_hook(world, "pre-commit", script)
    before = world.snapshot()
    prepared = prepare(world, Target(hooks=True))
    with pytest.raises(DeniedByPolicy):
        world.promoter().publish(prepared)
    assert world.snapshot() == before
    assert world.promoter().recover() == ()


def test_killed_after_the_hook(world: World) -> None:
    add_hook(world, "pre-commit", "true")
    before = world.snapshot()
    prepared = prepare(world, Target(hooks=True))
    assert die_at("promote.hooks", lambda: world.promoter().publish(prepared))
    world.promoter().recover()
    assert world.snapshot() == before


def test_only_for_the_branch_that_is_checked_out(world: World) -> None:
    with pytest.raises(UsageError, match="hooks"):
        prepare(world, Target("new", "night", hooks=True))


@pytest.mark.parametrize(
    ("hooks_path", "link", "found"),
    [
        ("new", "", ("new/f",)),
        ("./x/../new/", "", ("new/f",)),
        ("", "new/f", ("new/f",)),
        ("gone/deep", "", ("gone",)),
        ("", "", ()),
        ("elsewhere", "", ()),
    ],
)
def test_hooks_that_are_promoted_themselves_are_not_run(
    world: World, hooks_path: str, link: str, found: tuple[str, ...]
) -> None:
    if hooks_path:
        world.git("config", "core.hooksPath", hooks_path)
    if link:
        (world.repo / ".git/hooks").mkdir(exist_ok=True)
        (world.repo / ".git/hooks/pre-commit").symlink_to(world.repo / link)
    assert prepare(world, Target()).hook_paths == found
    if found:
        before = world.snapshot()
        with pytest.raises(DeniedByPolicy, match="your hooks themselves") as refused:
            prepare(world, Target(hooks=True))
        assert (refused.value.where, world.snapshot()) == (found, before)
