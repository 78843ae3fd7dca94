"""What an agent sees in every kind of shadow, whether it is an overlay or a plain copy."""

from __future__ import annotations

import pytest

from shadow_samples import FILES, changed, open_one
from shadow_world import World, snapshot


def test_files_are_those_of_the_commit_at_the_repositorys_own_path(world, shadows):
    (world.repo / "README.md").write_bytes(b"an edit of the user's\n")
    shadow = open_one(world, shadows)
    seen = world.run(shadows, shadow, "pwd; cat README.md run.sh; readlink link; test -x run.sh")
    assert seen == f"{world.repo}\n# sample\n#!/bin/sh\nsrc/app.py\n"


def test_git_is_clean_at_once_and_knows_branch_commit_tags_and_name(world, shadows):
    world.git("tag", "v1.0")
    shadow = open_one(world, shadows)
    seen = world.run(
        shadows,
        shadow,
        "git status --porcelain; git rev-parse HEAD; git symbolic-ref HEAD; git describe --tags; git config user.email; git fsck",
    )
    assert seen.split() == [world.repository.head, "refs/heads/main", "v1.0", "dev@example.org"]


def test_git_work_inside_stays_inside(world, shadows):
    before = snapshot(world.repo)
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "set -e; echo 2 >> README.md; git add -A; git commit -qm work; git branch other; git checkout -q other;"
        "echo 3 >> README.md; git stash; git stash pop; git tag mine; git gc -q; git log --oneline | wc -l",
    )
    assert snapshot(world.repo) == before
    assert changed(world, shadows, shadow) == {"README.md": "modified"}


def test_an_edit_within_the_same_second_is_seen_by_git_inside(world, shadows):
    shadow = open_one(world, shadows)
    assert (
        world.run(shadows, shadow, "printf '# SAMPLE\\n' > README.md; git status --porcelain")
        == " M README.md\n"
    )


def test_nothing_of_the_users_objects_can_be_written(world, shadows):
    shadow = open_one(world, shadows)
    seen = world.run(
        shadows, shadow, "touch /run/nightcrew/objects/0/new 2>&1; cat .git/objects/info/alternates", ok=False
    )
    assert "Read-only file system" in seen
    assert seen.endswith("/run/nightcrew/objects/0\n")


def test_objects_behind_alternates_of_the_user_are_found(world, shadows, tmp_path, mode):
    clone = tmp_path / "clone"
    world.git("clone", "-q", "--shared", str(world.repo), str(clone))
    third = World(tmp_path, "third")
    third.git("clone", "-q", "--shared", str(clone), str(third.repo), cwd=tmp_path)
    third.state = tmp_path / "state-of-third"
    shadows = third.shadows(mode)
    shadow = open_one(third, shadows)
    seen = third.run(shadows, shadow, "git status --porcelain && git cat-file -p HEAD:README.md && git fsck")
    assert seen == "# sample\n"
    third.close()


def test_linked_worktree_and_detached_head(world, tmp_path, mode):
    world.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    linked = World(tmp_path, "linked")
    linked.state = tmp_path / "state-of-linked"
    shadows = linked.shadows(mode)
    shadow = open_one(linked, shadows)
    seen = linked.run(
        shadows, shadow, "git status --porcelain && git rev-parse HEAD --abbrev-ref HEAD && echo x > new"
    )
    assert seen.split() == [world.repository.head, "HEAD"]
    assert changed(linked, shadows, shadow) == {"new": "added"}
    linked.close()


def test_shallow_clone(world, tmp_path, mode):
    world.commit("second")
    clone = World(tmp_path, "shallow")
    clone.git("clone", "-q", "--depth=1", f"file://{world.repo}", str(clone.repo), cwd=tmp_path)
    clone.state = tmp_path / "state-of-shallow"
    shadows = clone.shadows(mode)
    shadow = open_one(clone, shadows)
    assert (
        clone.run(shadows, shadow, "git status --porcelain && git log --oneline | wc -l && echo x > new")
        == "1\n"
    )
    captured = clone.capture(shadows, shadow)
    head = clone.repository.head
    clone.store.commit(captured.tree, parents=[head], message="m", at="2026-01-01T00:00:00Z", ref="C-1")
    assert (
        clone.git("--git-dir", str(clone.store.path), "log", "--format=%s", "refs/nightcrew/checkpoints/C-1")
        == "m\nsecond\n"
    )
    clone.close()


def test_sha256_repository(tmp_path, mode):
    world = World.make(tmp_path, FILES, init=["--object-format=sha256"])
    shadows = world.shadows(mode)
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        'test -z "$(git status --porcelain)" && echo 1 > new && rm -r src && git add -A && git commit -qm x',
    )
    captured = world.capture(shadows, shadow)
    assert len(captured.tree) == 64
    again = shadows.open("two", shadow.base, world.store.delta(shadow.base.tree, captured.tree))
    assert (
        world.run(shadows, again, "git status --porcelain; git rev-parse HEAD^{tree}") == f"{captured.tree}\n"
    )
    world.close()


def test_sparse_checkout_keeps_what_it_does_not_show(world, mode):
    world.git("sparse-checkout", "set", "--no-cone", "/*", "!/src/deep/")
    shadows = world.shadows(mode)
    shadow = open_one(world, shadows)
    seen = world.run(
        shadows,
        shadow,
        "git status --porcelain; ls src; echo 1 > src/new; rm -r src; mkdir src; echo 2 > src/app.py",
    )
    assert seen == "app.py\n"
    assert changed(world, shadows, shadow) == {"src/app.py": "modified"}
    assert world.run(shadows, shadow, "git status --porcelain") == " M src/app.py\n"


def test_submodule_is_an_empty_directory_that_stays(world, mode):
    world.git("update-index", "--add", "--cacheinfo", f"160000,{world.repository.head},sub")
    world.git("commit", "-q", "-m", "submodule")
    shadows = world.shadows(mode)
    shadow = open_one(world, shadows)
    assert world.run(shadows, shadow, "git status --porcelain; ls -A sub; echo 1 > sub/new") == ""
    captured = world.capture(shadows, shadow)
    assert captured.tree == shadow.base.tree
    assert captured.refused == ("sub/new: inside a submodule",)
    world.run(shadows, shadow, "rm -r sub")
    assert changed(world, shadows, shadow) == {"sub": "deleted"}


def test_populated_submodule_is_there_as_files_and_cannot_be_changed(tmp_path, mode):
    library = World.make(tmp_path / "l", {"lib.py": b"lib\n", "deep/x": b"x\n"}, repo="library")
    inner = World.make(tmp_path / "i", {"inner.py": b"inner\n"}, repo="inner")
    for outer, sub, name in (
        (library, inner, "third"),
        (World.make(tmp_path / "w", FILES), library, "libs/lib"),
    ):
        outer.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(sub.repo), name)
        outer.commit("submodule")
    world = outer
    world.git("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init", "--recursive")
    (world.repo / "libs/lib/lib.py").write_bytes(b"edited by the user\n")
    before = snapshot(world.repo)
    shadows = world.shadows(mode)
    shadow = open_one(world, shadows)
    assert shadow.base.submodules == ("libs/lib", "libs/lib/third")
    assert world.run(
        shadows, shadow, "git status --porcelain; cat libs/lib/lib.py libs/lib/deep/x libs/lib/third/inner.py"
    ) == ("lib\nx\ninner\n")
    world.run(
        shadows,
        shadow,
        "echo 1 > libs/lib/lib.py; rm libs/lib/deep/x; echo 2 > libs/lib/new; echo 3 > libs/own; git add -A",
    )
    captured = world.capture(shadows, shadow)
    assert {p.path: p.kind for p in world.store.compare(shadow.base.tree, captured.tree).paths} == {
        "libs/own": "added"
    }
    words = "changed inside a submodule, which a task can only read"
    assert captured.refused == tuple(f"libs/lib/{name}: {words}" for name in ("deep/x", "lib.py", "new"))
    world.run(shadows, shadow, "rm -r libs/lib")
    assert changed(world, shadows, shadow) == {"libs/own": "added", "libs/lib": "deleted"}
    assert snapshot(world.repo) == before
    assert shadows.export(world.commit("newer")).submodules == shadow.base.submodules
    for each in (world, library, inner):
        each.close()


@pytest.mark.parametrize(
    "settings",
    [
        ["core.autocrlf", "true"],
        ["core.splitIndex", "true"],
        ["index.version", "4"],
        ["feature.manyFiles", "true"],
    ],
)
def test_clean_under_settings_of_the_user(world, mode, settings):
    world.git("config", *settings)
    before = snapshot(world.repo)
    shadows = world.shadows(mode)
    shadow = open_one(world, shadows)
    assert world.run(shadows, shadow, "git status --porcelain; touch README.md; git status --porcelain") == ""
    assert changed(world, shadows, shadow) == {}
    assert snapshot(world.repo) == before


def test_repository_at_a_path_with_odd_characters(tmp_path, mode):
    world = World.make(tmp_path, FILES, repo='a b:c,d"e\\f')
    (world.repo / "node_modules").mkdir()
    (world.repo / "node_modules" / "x").write_bytes(b"x")
    shadows = world.shadows(mode, environment=["node_modules"])
    shadow = open_one(world, shadows)
    assert (
        world.run(
            shadows,
            shadow,
            "git status --porcelain; cat node_modules/x; git log --oneline | wc -l; echo 1 > n",
        )
        == "x1\n"
    )
    assert changed(world, shadows, shadow) == {"n": "added"}
    world.close()
