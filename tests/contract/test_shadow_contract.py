"""What every kind of shadow promises, whether it is an overlay or a plain copy."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.errors import NotFound, StaleError
from nightcrew.model.trees import Entry
from shadow_disks import Disks
from shadow_world import World, needs_overlay, snapshot

FILES = {
    "README.md": b"# sample\n",
    ".gitignore": b"*.log\nbuild/\nnode_modules/\n.venv\n",
    "src/app.py": b"print('hello')\n",
    "src/deep/one": b"1\n",
    "src/deep/two": b"2\n",
    "run.sh": (0o755, b"#!/bin/sh\n"),
    "link": "src/app.py",
}


@pytest.fixture(params=["overlay", "overlay-layered", "copy", "copy-layered", "reflink-btrfs", "reflink-xfs"])
def kind(request):
    return request.param


@pytest.fixture
def mode(kind, monkeypatch):
    mode = kind.partition("-")[0]
    needs_overlay(mode)
    monkeypatch.setattr(World, "layered", kind.endswith("layered"))
    return mode


@pytest.fixture(scope="session")
def disks(tmp_path_factory):
    with Disks(tmp_path_factory.mktemp("disks")) as disks:
        yield disks


@pytest.fixture
def tmp_path(kind, tmp_path, disks):
    if kind.startswith("reflink"):
        return Path(tempfile.mkdtemp(dir=disks.find(kind.partition("-")[2])))
    return tmp_path


@pytest.fixture
def world(mode, tmp_path):
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


@pytest.fixture
def shadows(world, mode):
    return world.shadows(mode, environment=["node_modules", ".venv"])


def open_one(world, shadows, name="one"):
    return shadows.open(name, shadows.export(world.repository.head))


def changed(world, shadows, shadow):
    captured = world.capture(shadows, shadow)
    return {p.path: p.kind for p in world.store.compare(shadow.base.tree, captured.tree).paths}


# -- what an agent sees ---------------------------------------------------------------------------------------------


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


# -- what a capture sees: row 13 of the conformance suite -----------------------------------------------------------


def test_capture_sees_staged_committed_ignored_binary_renamed_odd_links_and_modes(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        r"""set -e
        echo staged > staged; git add staged
        echo committed > committed; git add committed; git commit -qm c
        echo ignored > noise.log
        printf '\0\001\377' > binary
        git mv src/deep/one src/renamed
        printf x > "$(printf 'new\nline')"; printf x > "$(printf '\377')"; printf x > -dash; printf x > 'quo"te'
        ln -sf /etc/passwd link; ln -s nowhere dangling
        chmod +x README.md
        : > empty
        """,
    )
    captured = world.capture(shadows, shadow)
    found = {p.path: p for p in world.store.compare(shadow.base.tree, captured.tree).paths}
    assert {name: p.kind for name, p in found.items()} == {
        "staged": "added",
        "committed": "added",
        "noise.log": "added",
        "binary": "added",
        "src/deep/one": "deleted",
        "src/renamed": "added",
        "new\nline": "added",
        "\udcff": "added",
        "-dash": "added",
        'quo"te': "added",
        "link": "modified",
        "dangling": "added",
        "README.md": "modified",
        "empty": "added",
    }
    assert [name for name, p in found.items() if p.ignored] == ["noise.log"]
    assert [name for name, p in found.items() if p.binary] == ["binary"]
    assert (found["link"].new_mode, found["link"].link_target) == (0o120000, "/etc/passwd")
    assert (found["README.md"].old_mode, found["README.md"].new_mode) == (0o100644, 0o100755)
    assert (found["README.md"].lines_added, found["README.md"].lines_deleted) == (0, 0)
    assert found["src/renamed"].new_id == found["src/deep/one"].old_id


def test_file_and_directory_trade_places(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "rm -r src && echo file > src && rm README.md && mkdir README.md && echo in > README.md/in",
    )
    assert changed(world, shadows, shadow) == {
        "README.md": "deleted",
        "README.md/in": "added",
        "src": "added",
        "src/app.py": "deleted",
        "src/deep/one": "deleted",
        "src/deep/two": "deleted",
    }


def test_directory_made_anew_loses_what_it_had(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows, shadow, "rm -r src && mkdir -p src/deep && echo 1 > src/deep/one && echo 3 > src/deep/three"
    )
    assert changed(world, shadows, shadow) == {
        "src/app.py": "deleted",
        "src/deep/three": "added",
        "src/deep/two": "deleted",
    }


def test_empty_directory_in_place_of_files_deletes_them(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "rm -r src README.md && mkdir src README.md")
    assert set(changed(world, shadows, shadow)) == {"README.md", "src/app.py", "src/deep/one", "src/deep/two"}


def test_touching_and_undoing_is_no_change(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "touch README.md; echo x > new; rm new; cp README.md k; echo y > README.md; cat k > README.md; rm k;"
        "chmod 600 src/app.py; mv src/deep/one t; mv t src/deep/one; ln -sfn src/app.py link",
    )
    captured = world.capture(shadows, shadow)
    assert captured.tree == shadow.base.tree


def test_old_modification_time_does_not_hide_a_change(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows, shadow, "cp -p README.md /tmp/k; printf '# SAMPLE\\n' > README.md; touch -r /tmp/k README.md"
    )
    assert changed(world, shadows, shadow) == {"README.md": "modified"}


def test_what_git_cannot_store_is_refused_in_words(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "mkfifo pipe src/pipe; git init -q nested; echo 1 > nested/file; mkdir -p x/.GIT; echo 1 > x/.GIT/config;"
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' || mkfifo sock",
    )
    captured = world.capture(shadows, shadow)
    assert [r.partition(": ")[0] for r in captured.refused] == [
        "nested/.git",
        "pipe",
        "sock",
        "src/pipe",
        "x/.GIT",
    ]
    assert "nested/.git: a nested git directory" in captured.refused
    assert "pipe: a FIFO" in captured.refused
    assert world.store.read(captured.tree, "nested/file") == b"1\n"
    assert world.store.read(captured.tree, "x/.GIT/config") is None


def test_deleting_the_whole_git_directory_changes_nothing(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "rm -rf .git; ln -s /etc .git; echo 1 > new")
    assert changed(world, shadows, shadow) == {"new": "added"}
    assert world.run(shadows, shadow, "cat new") == "1\n"


def test_large_file_is_stored_in_pieces_and_read_back(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "head -c 20000000 /dev/zero | tr '\\0' x > big; echo end >> big")
    captured = world.capture(shadows, shadow)
    (entry,) = world.store.delta(shadow.base.tree, captured.tree)
    with entry.open() as content:
        data = content.read()
    assert data == b"x" * 20_000_000 + b"end\n"
    assert (
        world.git("--git-dir", str(world.store.path), "cat-file", "-s", f"{captured.tree}:big")
        == "20000004\n"
    )


# -- the delta under a shadow ---------------------------------------------------------------------------------------


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


# -- opening, reopening, removing -----------------------------------------------------------------------------------


def test_a_name_is_used_once(world, shadows):
    shadow = open_one(world, shadows)
    with pytest.raises(StaleError) as error:
        shadows.open("one", shadow.base)
    assert "exists" in str(error.value)
    assert shadows.names() == ("one",)
    assert os.listdir(world.state / "shadows") == ["one"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".hidden", "x" * 300, "a\n"])
def test_a_name_is_one_plain_path_component(world, shadows, name):
    base = shadows.export(world.repository.head)
    with pytest.raises(ValueError, match="not a name"):
        shadows.open(name, base)


def test_reopen_gives_the_work_back(world, shadows, mode):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "echo 1 > new")
    with pytest.raises(StaleError) as error:
        world.shadows(mode).reopen("one")
    assert f"process {os.getpid()}" in str(error.value)
    shadows.close(shadow)
    again = world.shadows(mode).reopen("one")
    assert again == shadow
    assert [e.path for e in shadows.scan(again)] == ["new"]
    assert shadows.reopen("two") is None


def test_a_shadow_from_before_a_restart_of_the_machine_is_not_trusted(world, shadows):
    shadow = open_one(world, shadows)
    shadows.close(shadow)
    meta = Path(shadow.directory) / "meta.json"
    meta.write_text(meta.read_text().replace('"boot": "', '"boot": "0'))
    assert shadows.reopen("one") is None
    assert shadows.names() == ()


def test_discard_removes_everything_and_frees_the_name(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "mkdir locked; echo 1 > locked/x; chmod 000 locked")
    shadows.discard(shadow)
    assert shadows.names() == ()
    shadows.finish()
    assert os.listdir(world.state / "shadows") == []
    shadows.discard(shadow)
    open_one(world, shadows)


def test_two_shadows_do_not_see_each_other(world, shadows):
    one, two = open_one(world, shadows), open_one(world, shadows, "two")
    world.run(shadows, one, "echo 1 > README.md; echo x > mine")
    assert world.run(shadows, two, "cat README.md; ls mine 2>/dev/null || echo none") == "# sample\nnone\n"
    assert changed(world, shadows, two) == {}


def test_the_user_goes_on_editing_and_committing(world, shadows):
    shadow = open_one(world, shadows)
    (world.repo / "README.md").write_bytes(b"edited\n")
    (world.repo / "src" / "app.py").unlink()
    (world.repo / "other").write_bytes(b"new\n")
    world.commit("the user's")
    assert (
        world.run(shadows, shadow, "cat README.md src/app.py; ls other 2>&1 | wc -l")
        == "# sample\nprint('hello')\n1\n"
    )
    assert changed(world, shadows, shadow) == {}


def test_missing_base_commit_is_said(world, shadows):
    with pytest.raises(NotFound) as error:
        shadows.export("1" * 40)
    assert error.value.hint


def test_describe(world, mode):
    words = {"overlay": "overlay", "reflink": "copy that shares blocks", "copy": "plain copy"}
    assert world.shadows(mode).describe() == words[mode]


def test_nothing_of_the_user_is_written(world, shadows):
    (world.repo / "node_modules").mkdir()
    (world.repo / "node_modules" / "x").write_bytes(b"x")
    before = snapshot(world.repo)
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "echo 1 > new; git add -A; git commit -qm x; echo 2 > node_modules/x")
    tree = world.capture(shadows, shadow).tree
    world.store.compare(shadow.base.tree, tree)
    world.store.compose(shadow.base.tree, [("T01", shadow.base.tree, tree), ("T02", shadow.base.tree, tree)])
    shadows.discard(shadow)
    assert snapshot(world.repo) == before


def test_entries_come_in_a_fixed_order(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "for n in 3 1 2; do echo $n > $n; mkdir d$n; echo $n > d$n/f; done")
    entries = list(shadows.scan(shadow))
    assert all(isinstance(e, Entry) for e in entries)
    assert entries == list(shadows.scan(shadow))
