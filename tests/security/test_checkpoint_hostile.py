"""What an agent leaves in its shadow is data: nothing of it runs on the host, nothing of it decides."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.model.trees import DeltaEntry, Entry
from nightcrew.shadow.names import is_git_name
from shadow_world import World, needs_overlay


@pytest.fixture
def world(tmp_path):
    world = World.make(
        tmp_path, {"a": b"1\n", "d/b": b"2\n", ".gitattributes": b"*.bat text eol=crlf\n*.id ident\n"}
    )
    yield world
    world.close()


@pytest.fixture(params=["overlay", "copy"])
def shadows(request, world):
    needs_overlay(request.param)
    return world.shadows(request.param)


TRAP = """
set -e
mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch TARGET/ran\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/*
git config core.fsmonitor 'touch TARGET/ran'
git config core.hooksPath .git/hooks
git config filter.evil.clean 'touch TARGET/ran; cat'
git config filter.evil.smudge 'touch TARGET/ran; cat'
git config diff.external 'touch TARGET/ran'
git config diff.evil.textconv 'touch TARGET/ran; cat'
git config merge.evil.driver 'touch TARGET/ran'
git config core.pager 'touch TARGET/ran'
printf '* filter=evil diff=evil merge=evil\\n' > .gitattributes
printf '* filter=evil diff=evil merge=evil\\n' > .git/info/attributes
printf '[include]\\n\\tpath = evil\\n' > .gitconfig
echo changed > a
"""


def test_nothing_runs_on_the_host(world, shadows, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one", base)
    world.run(shadows, shadow, TRAP.replace("TARGET", str(target)))
    tree = world.capture(shadows, shadow).tree
    store = world.store
    store.compare(base.tree, tree)
    store.patch(base.tree, tree)
    store.compose(
        base.tree, [("T01", base.tree, tree), ("T02", base.tree, store.promotable(base.tree, tree))]
    )
    store.overlay_paths(tree, base.tree, ["a"])
    second = shadows.open("two", base, store.delta(base.tree, tree))
    list(shadows.scan(second))
    shadows.discard(second)
    shadows.discard(shadow)
    assert list(target.iterdir()) == []


def test_filters_of_the_user_do_not_run_on_what_an_agent_wrote(world, tmp_path, shadows):
    ran = tmp_path / "ran"
    world.git("config", "filter.mine.clean", f"touch {ran}; tr a-z A-Z")
    world.git("config", "filter.mine.smudge", "tr A-Z a-z")
    (world.repo / ".gitattributes").write_bytes(b"*.secret filter=mine\n")
    (world.repo / "x.secret").write_bytes(b"plain\n")
    world.commit("filtered")
    ran.unlink()
    base = shadows.export(world.repository.head)
    assert (Path(base.lowers[0]) / "x.secret").read_bytes() == b"plain\n"
    assert world.git("show", "HEAD:x.secret") == "PLAIN\n"
    shadow = shadows.open("one", base)
    world.run(
        shadows, shadow, "chmod 600 x.secret; touch x.secret; mv x.secret y; mv y x.secret; echo more >> a"
    )
    captured = world.capture(shadows, shadow)
    assert captured.refused == ()
    assert [p.path for p in world.store.compare(base.tree, captured.tree).paths] == ["a"]
    world.run(shadows, shadow, "echo leak > x.secret; echo new > new.secret; echo '' > .gitattributes")
    captured = world.capture(shadows, shadow)
    assert [r.partition(":")[0] for r in captured.refused] == ["new.secret", "x.secret"]
    assert world.store.read(captured.tree, "x.secret") == b"PLAIN\n"
    shadows.open("two", base, world.store.delta(base.tree, captured.tree))
    assert not ran.exists()


def test_line_endings_and_idents_are_stored_as_git_add_would(world, shadows):
    world.git("config", "core.autocrlf", "input")
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one", base)
    world.run(
        shadows,
        shadow,
        r"""printf 'x\r\ny\r\n' > run.bat; printf '$Id: 12 $\n' > v.id; printf '1\r\n' > a; printf '\0\r\n' > binary
        printf 'x\ny\n' > plain.bat; echo '*.bat -text' >> .gitattributes""",
    )
    captured = world.capture(shadows, shadow)
    read = {
        name: world.store.read(captured.tree, name)
        for name in ("run.bat", "v.id", "a", "binary", "plain.bat")
    }
    assert read == {
        "run.bat": b"x\ny\n",
        "v.id": b"$Id$\n",
        "a": b"1\n",
        "binary": b"\0\r\n",
        "plain.bat": b"x\ny\n",
    }


def test_a_file_stored_with_crlf_keeps_it_under_automatic_conversion(tmp_path):
    world = World.make(tmp_path, {"dos.txt": b"1\r\n", "unix.txt": b"1\n"})
    (world.repo / ".gitattributes").write_bytes(b"* text=auto\n")
    world.git("add", ".gitattributes")
    world.git("commit", "-qm", "attributes")
    base = world.store.tree_of(world.repository.head)
    source = tmp_path / "source"
    source.write_bytes(b"2\r\n")
    entries = [Entry(name, "file", str(source), 0o100644) for name in ("dos.txt", "unix.txt", "new.txt")]
    tree = world.store.capture(base, entries).tree
    assert [world.store.read(tree, n) for n in ("dos.txt", "unix.txt", "new.txt")] == [
        b"2\r\n",
        b"2\n",
        b"2\n",
    ]
    world.close()


def test_marks_of_the_overlay_cannot_be_forged(world):
    needs_overlay("overlay")
    shadows = world.shadows("overlay")
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one", base)
    world.run(
        shadows,
        shadow,
        "touch d/new; mknod d/b2 c 0 0; python3 - <<'E'\nimport os\n"
        "os.setxattr('d', 'user.overlay.opaque', b'y')\nE\n"
        "setfattr -n user.overlay.opaque -v y d; true",
        ok=False,
    )
    captured = world.capture(shadows, shadow)
    assert [p.path for p in world.store.compare(base.tree, captured.tree).paths] == ["d/new"]


def test_paths_too_deep_or_too_long_are_refused(world, shadows):
    base = shadows.export(world.repository.head)
    shadow = shadows.open("one", base)
    world.run(
        shadows,
        shadow,
        "i=0; while [ $i -lt 600 ]; do mkdir dddddddddd && cd dddddddddd || break; i=$((i+1)); done; echo x > f; pwd >/dev/null",
        ok=False,
    )
    captured = world.capture(shadows, shadow)
    assert captured.tree == base.tree
    assert captured.refused
    shadows.discard(shadow)
    assert shadows.names() == ()


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", ".git/hooks/x", "d/.GIT/x", "", "d//x", "."])
def test_a_delta_cannot_leave_the_tree(world, path):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    with pytest.raises(ValueError, match="working tree"):
        shadows.open("one", base, [DeltaEntry(path, 0o100644, io.BytesIO)])
    assert shadows.names() == ()
    assert os.listdir(world.state / "deltas") == []


@pytest.mark.parametrize(
    "name", [".git", ".GIT", ".Git", "git~1", "GIT~1", ".git ", ".git.", ".git::$DATA", ".g\u200cit"]
)
def test_names_that_some_git_takes_for_its_own(name):
    assert is_git_name(name)


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", "x.git", "git~2", ".gi", "..git"])
def test_names_that_are_not(name):
    assert not is_git_name(name)
