"""Every kind of shadow is opened, opened again and removed, and nothing of the user is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nightcrew.model.errors import NotFound, StaleError
from nightcrew.model.trees import Entry
from shadow_samples import changed, open_one
from shadow_world import snapshot


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
