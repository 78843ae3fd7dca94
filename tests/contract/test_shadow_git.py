"""How git is set up inside a shadow: as quick as it can be, right all the same, and nothing of it outside."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.shadow.layering import Layering
from nightcrew.shadow.skeleton import IDENTITY, IDENTITY_BESIDE
from shadow_world import World, needs_overlay, snapshot

FILES = {
    ".gitignore": b"*.log\n",
    "README.md": b"hello\n",
    "src/app.py": b"1\n",
    "src/deep/er.py": b"2\n",
    "docs/a": b"3\n",
    "link": "README.md",
}
# Git has written its index anew, with what it knows of directories, or without.
CACHED = "git status --porcelain; git status --porcelain; grep -c UNTR .git/index"


@pytest.fixture
def world(tmp_path):
    needs_overlay("overlay")
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


def open_one(world, shadows, name="one"):
    return shadows.open(name, shadows.export(world.repository.head))


def result(world, shadows, work):
    """Return a shadow that starts where another one ended."""
    first = open_one(world, shadows, "first")
    world.run(shadows, first, work)
    tree = world.capture(shadows, first).tree
    delta = list(world.store.delta(first.base.tree, tree))
    return shadows.open("second", first.base, delta, tree=tree)


def test_the_index_knows_the_files_as_a_sandbox_shows_them(world):
    """Plumbing does not look twice: what differs in any part of its status is changed to it."""
    shadows = world.shadows()
    whole = open_one(world, shadows)
    said = world.run(
        shadows, whole, f"git diff-files --name-only; git config core.checkstat; {CACHED}", ok=False
    )
    assert said == "1\n"

    (world.repo / "src/app.py").write_bytes(b"newer\n")
    (world.repo / "docs/a").unlink()
    world.commit("newer")
    layered = world.shadows(layering=Layering(max_share=1.0))
    later = open_one(world, layered, "later")
    assert later.base.parent
    assert world.run(layered, later, f"git diff-files --name-only; {CACHED}") == "1\n"


@pytest.mark.parametrize(("said", "lines"), [("false", "0\n"), ("keep", "0\n"), ("true", "1\n")])
def test_what_the_user_says_of_the_cache_holds_inside(world, said, lines):
    world.git("config", "core.untrackedCache", said)
    shadows = world.shadows()
    assert world.run(shadows, open_one(world, shadows), CACHED, ok=False) == lines


def test_nothing_of_it_is_seen_outside(world):
    before = snapshot(world.repo)
    shadows = world.shadows()
    shadow = open_one(world, shadows)
    world.run(
        shadows, shadow, f"{CACHED}; echo new > src/new; git status --porcelain; git add -A; git commit -qm x"
    )
    assert world.capture(shadows, shadow).refused == ()
    assert snapshot(world.repo) == before
    assert b"UNTR" not in (world.repo / ".git/index").read_bytes()


def test_a_directory_whose_time_is_set_back_is_listed_again(world):
    """As ``cp -a`` and ``rsync -a`` do it."""
    shadows = world.shadows()
    script = (
        "cp -a src /tmp/kept; git status --porcelain; git status --porcelain; sleep 1.1; echo 1 > src/new; cp -a /tmp/kept/. src/;"
        "git status --porcelain"
    )
    assert world.run(shadows, open_one(world, shadows), script) == "?? src/new\n"


def test_it_is_right_in_one_process_tree_after_the_other(world):
    """Each mounts the shadow anew."""
    shadows = world.shadows()
    shadow = open_one(world, shadows)
    assert world.run(shadows, shadow, CACHED) == "1\n"
    world.run(shadows, shadow, "echo 1 > src/deep/new; rm -r docs; echo x > x.log; mkdir empty")
    status = "git status --porcelain; git status --porcelain"
    once = " D docs/a\n?? src/deep/new\n"
    assert world.run(shadows, shadow, status) == once * 2
    shadows.close(shadow)
    again = world.shadows().reopen("one")
    world.run(shadows, again, "rm src/deep/new .gitignore; mkdir docs; echo 3 > docs/a; echo 4 > empty/file")
    assert world.run(shadows, again, status) == " D .gitignore\n?? empty/\n?? x.log\n" * 2


@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_a_result_is_clean_to_plumbing_too(world, mode):
    """Its index is written beside its files, without having seen them; a copy has other inodes."""
    shadows = world.shadows(mode, own_objects=str(world.state / "objects" / "objects"))
    second = result(world, shadows, "echo 2 > src/app.py; echo n > src/new; rm -r docs; chmod +x README.md")
    script = f"git diff-files --name-only; git config core.checkstat; {CACHED}; touch -d @1 src; echo 1 > src/more; touch -d @1 src"
    assert world.run(shadows, second, script, ok=False) == "minimal\n0\n"
    assert world.run(shadows, second, "git status --porcelain") == "?? src/more\n"


def test_files_of_a_group_that_a_sandbox_does_not_know_are_not_all_changed(world):
    """A directory with the bit that gives its group to all that is made in it."""
    if os.geteuid():
        pytest.skip("only root can give a directory to a group it is not in")
    world.state.mkdir()
    os.chown(world.state, -1, 54321)
    world.state.chmod(0o2700)
    shadows = world.shadows()
    script = "git diff-files --name-only; git config core.checkstat; git status --porcelain"
    assert world.run(shadows, open_one(world, shadows), script) == "minimal\n"


def test_an_export_that_came_from_a_backup_is_made_anew_after_a_restart(world):
    """Its files have other inodes: all of them would be changed to git inside."""
    shadows = world.shadows()
    base = shadows.export(world.repository.head)
    meta = Path(base.skeleton).with_name("meta.json")
    kept = Path(base.lowers[0], "README.md").stat().st_ino
    now = meta.read_bytes()
    from nightcrew.shadow.bases import boot_id

    before = now.replace(boot_id().encode(), b"00000000-0000-0000-0000-000000000000")
    meta.write_bytes(before)
    assert Path(shadows.export(base.commit).lowers[0], "README.md").stat().st_ino == kept
    meta.write_bytes(before)
    readme = Path(base.lowers[0], "README.md")
    found = readme.stat()
    copy = readme.with_name("copy")
    copy.write_bytes(readme.read_bytes())
    os.utime(copy, ns=(found.st_mtime_ns, found.st_mtime_ns))
    copy.rename(readme)
    assert (
        world.run(shadows, open_one(world, shadows), "git diff-files --name-only; git status --porcelain")
        == ""
    )
    assert Path(base.lowers[0], "README.md").stat().st_ctime_ns > found.st_ctime_ns


def test_an_index_that_lies_hides_nothing_from_us(world):
    """An agent keeps the cache of an empty directory, and tells git that files are unchanged: git inside believes it."""
    shadows = world.shadows()
    shadow = open_one(world, shadows)
    script = (
        "git config core.checkstat minimal; touch -d @1 src; git status; git update-index --assume-unchanged README.md;"
        "git update-index --skip-worktree link; git status; sleep 1.1; touch -r src /tmp/t; echo bad > src/hidden;"
        "touch -r /tmp/t src; echo other > README.md; ln -sf /etc/passwd link; git status --porcelain > /tmp/said;"
        "cat /tmp/said >&2; test ! -s /tmp/said"
    )
    world.run(shadows, shadow, script)
    captured = world.capture(shadows, shadow)
    changed = world.store.compare(shadow.base.tree, captured.tree).paths
    assert {each.path: each.kind for each in changed} == {
        "src/hidden": "added",
        "README.md": "modified",
        "link": "modified",
    }


def test_there_is_a_name_to_commit_as_alone_and_beside_what_an_image_sets(world):
    """A container's own `/etc/gitconfig` goes before it, so that a name which stands there is not the user's."""
    shadows = world.shadows()
    place = Path(open_one(world, shadows).base.skeleton) / ".git"
    alone, beside = (place / IDENTITY).read_text(), (place / IDENTITY_BESIDE).read_text()
    assert "name = " in alone
    assert "include" not in alone
    assert beside == '[include]\n\tpath = "/etc/gitconfig"\n' + alone
