"""What lies under a shadow of every kind: results of other tasks, and environment folders."""

from __future__ import annotations

from pathlib import Path

from shadow_samples import open_one
from shadow_world import snapshot


def test_results_of_other_tasks_are_there_and_are_not_its_own_change(world, shadows):
    first = open_one(world, shadows)
    world.run(
        shadows,
        first,
        "echo A > a; rm -r src/deep; mkdir new; ln -s a new/l; chmod -x run.sh; echo 1 > src/deep",
    )
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", first.base, world.store.delta(first.base.tree, tree))
    seen = world.run(
        shadows,
        second,
        "git status --porcelain; cat a src/deep; readlink new/l; test -x run.sh || echo plain",
    )
    assert seen == "A\n1\na\nplain\n"
    assert world.capture(shadows, second, tree).tree == tree
    world.run(shadows, second, "echo B >> a; rm src/deep")
    own = world.capture(shadows, second, tree).tree
    assert {p.path: p.kind for p in world.store.compare(tree, own).paths} == {
        "a": "modified",
        "src/deep": "deleted",
    }


def test_going_back_to_the_base_is_a_change_against_the_delta(world, shadows):
    first = open_one(world, shadows)
    world.run(shadows, first, "echo other > README.md; rm src/app.py")
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", first.base, world.store.delta(first.base.tree, tree))
    world.run(shadows, second, "git checkout -q HEAD~1 -- README.md src/app.py")
    assert world.capture(shadows, second, tree).tree == first.base.tree


def test_directory_that_lost_everything_is_gone_for_the_next_task(world, shadows):
    first = open_one(world, shadows)
    world.run(shadows, first, "rm -r src")
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", first.base, world.store.delta(first.base.tree, tree))
    assert world.run(shadows, second, "test -e src || echo gone") == "gone\n"


# -- environment folders --------------------------------------------------------------------------------------------


def test_ignored_environment_folders_are_copy_on_write(world, shadows):
    for folder in ("node_modules/m", "packages/x/node_modules", ".venv/bin"):
        (world.repo / folder).mkdir(parents=True)
        (world.repo / folder / "file").write_bytes(b"live\n")
    before = snapshot(world.repo)
    shadow = open_one(world, shadows)
    assert shadow.environment == (".venv", "node_modules", "packages/x/node_modules")
    seen = world.run(
        shadows,
        shadow,
        "cat node_modules/m/file packages/x/node_modules/file .venv/bin/file; echo mine > node_modules/m/file;"
        "rm .venv/bin/file; echo new > packages/x/node_modules/new; git status --porcelain",
    )
    assert seen == "live\n" * 3
    assert world.run(shadows, shadow, "cat node_modules/m/file; ls .venv/bin packages/x/node_modules") == (
        "mine\n.venv/bin:\n\npackages/x/node_modules:\nfile\nnew\n"
    )
    assert snapshot(world.repo) == before
    assert world.capture(shadows, shadow).tree == shadow.base.tree


def test_environment_folders_that_git_tracks_or_that_are_links_stay_out(world, mode):
    (world.repo / "venv").mkdir()
    (world.repo / "venv" / "mine.py").write_bytes(b"not ignored\n")
    (world.repo / ".venv").symlink_to("/usr")
    (world.repo / "node_modules").mkdir()
    (world.repo / "node_modules" / "x").write_bytes(b"x")
    shadows = world.shadows(mode, environment=["node_modules", ".venv", "venv"])
    shadow = open_one(world, shadows)
    assert shadow.environment == ("node_modules",)
    assert (
        world.run(shadows, shadow, "ls -A | tr '\\n' ' '")
        == ".git .gitignore README.md link node_modules run.sh src "
    )


def test_a_folder_that_ignores_itself_is_an_environment_folder(world, mode):
    (world.repo / "venv").mkdir()
    (world.repo / "venv" / ".gitignore").write_bytes(b"*\n")
    (world.repo / "venv" / "pyvenv.cfg").write_bytes(b"home\n")
    shadows = world.shadows(mode, environment=["venv"])
    assert open_one(world, shadows).environment == ("venv",)


def test_environment_folder_replaced_by_the_task_does_not_stop_the_next_mount(world, shadows):
    (world.repo / "packages" / "node_modules").mkdir(parents=True)
    (world.repo / "packages" / "node_modules" / "x").write_bytes(b"x")
    shadow = open_one(world, shadows)
    upper = Path(shadow.path)
    world.run(shadows, shadow, "true")
    for name in ("packages/node_modules/x", "packages/node_modules"):
        place = upper / name
        if place.is_dir():
            place.rmdir()
        elif place.exists():
            place.unlink()
    (upper / "packages").rmdir()
    (upper / "packages").symlink_to("/etc")
    assert "passwd" not in world.run(shadows, shadow, "ls -A")
    assert not Path("/etc/node_modules").exists()
