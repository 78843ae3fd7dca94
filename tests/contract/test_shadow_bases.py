"""Exports of newer commits: a layer on an older export, looking exactly like a whole one; made whole when they must be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host import apart
from nightcrew.host.locks import FileLock
from nightcrew.shadow.layering import Layering
from nightcrew.shadow.layers import Stack
from shadow_world import World, needs_overlay, snapshot, write_files

FILES = {f"d{n % 10}/f{n}": b"%d\n" % n for n in range(200)}
NOW = 0.0
"""Grace in seconds for a collection that spares nothing."""


@pytest.fixture
def world(tmp_path):
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


def seen(base):
    """Return what an export shows: mode and bytes by path, ``.git`` apart."""
    stack, found, waiting = Stack(base.lowers), {}, [""]
    while waiting:
        directory = waiting.pop()
        for name, (place, status) in stack.list(directory).items():
            path = f"{directory}/{name}" if directory else name
            if os.path.isdir(place) and not os.path.islink(place):
                waiting.append(path)
            else:
                content = os.readlink(place) if os.path.islink(place) else Path(place).read_bytes()
                found[path] = (status.st_mode & 0o170100, content)
    return found


def whole(world, commit, tmp_path):
    """Export the same commit whole, elsewhere."""
    other = World(world.root)
    other.state = tmp_path / "elsewhere"
    return other.shadows("copy").export(commit)


def test_a_newer_base_is_a_layer_with_what_differs(world, tmp_path):
    shadows = world.shadows("copy")
    first = shadows.export(world.repository.head)
    write_files(
        world.repo, {"d1/f1": b"changed\n", "new/deep/file": b"new\n", "run": (0o755, b"#!/bin/sh\n")}
    )
    (world.repo / "link").symlink_to("d1/f1")
    (world.repo / "d2/f2").unlink()
    for number in range(3, 200, 10):
        (world.repo / f"d3/f{number}").unlink()
    (world.repo / "d3").rmdir()
    (world.repo / "d3").write_bytes(b"a file now\n")
    second = shadows.export(world.commit("second"))
    assert second.parent == first.commit
    assert second.lowers[1:] == first.lowers
    assert sorted(os.listdir(second.lowers[0])) == ["d1", "d2", "d3", "link", "new", "run"]
    assert seen(second) == seen(whole(world, second.commit, tmp_path))
    write_files(world.repo, {"d1/f11": b"third\n", "d2/f2": b"back\n"})
    third = shadows.export(world.commit("third"))
    assert len(third.lowers) == 3
    assert seen(third) == seen(whole(world, third.commit, tmp_path))
    assert seen(first) == {name: (0o100000, content) for name, content in FILES.items()}


def test_git_inside_a_layered_base_is_clean_and_complete(world):
    needs_overlay("overlay")
    shadows = world.shadows("overlay")
    shadows.export(world.repository.head)
    (world.repo / "d1/f1").write_bytes(b"changed\n")
    (world.repo / "d2/f2").unlink()
    base = shadows.export(world.commit("second"))
    shadow = shadows.open("one", base)
    said = world.run(
        shadows,
        shadow,
        "git status --porcelain; git fsck --no-dangling; git write-tree; git log --format=%s; git diff --stat HEAD~ --name-status",
    )
    assert said.split("\n")[:-1] == [base.tree, "second", "first", "M\td1/f1", "D\td2/f2"]
    assert base.parent


def test_filters_attributes_and_line_endings_are_those_of_a_whole_export(world, tmp_path):
    world.git("config", "filter.shout.smudge", "tr a-z A-Z")
    world.git("config", "filter.shout.clean", "tr A-Z a-z")
    attributes = {".gitattributes": b"*.txt text eol=crlf\n", "d1/.gitattributes": b"*.up filter=shout\n"}
    write_files(world.repo, {**attributes, "d1/x/a.up": b"loud\n", "b.txt": b"one\ntwo\n"})
    world.commit("attributes")
    shadows = world.shadows("copy")
    shadows.export(world.repository.head)
    write_files(world.repo, {"d1/x/a.up": b"louder\n", "d1/x/new.up": b"loudest\n", "c/d.txt": b"one\ntwo\n"})
    base = shadows.export(world.commit("more"))
    assert base.parent
    found = seen(base)
    assert found["d1/x/new.up"][1] == b"LOUDEST\n"
    assert found["c/d.txt"][1] == b"one\r\ntwo\r\n"
    assert found == seen(whole(world, base.commit, tmp_path))
    shadow = shadows.open("one", base)
    assert world.run(shadows, shadow, "git status --porcelain") == ""


@pytest.mark.parametrize("name", [".gitattributes", "d4/.gitattributes", ".gitmodules"])
def test_a_changed_rule_file_makes_it_whole(world, name):
    shadows = world.shadows("copy")
    shadows.export(world.repository.head)
    write_files(world.repo, {name: b"*.txt eol=crlf\n" if "attr" in name else b""})
    assert shadows.export(world.commit("rules")).parent == ""


def test_other_settings_of_the_user_make_it_whole(world):
    shadows = world.shadows("copy")
    shadows.export(world.repository.head)
    world.git("config", "core.autocrlf", "true")
    assert shadows.export(world.commit("again")).parent == ""


def test_a_large_difference_and_a_high_stack_make_it_whole(world):
    shadows = world.shadows("copy", layering=Layering(max_layers=3))
    heights = [len(shadows.export(world.repository.head).lowers)]
    for number in range(4):
        (world.repo / "d1/f1").write_bytes(b"%d\n" % number)
        heights.append(len(shadows.export(world.commit("next")).lowers))
    assert heights == [1, 2, 3, 3, 3]
    write_files(world.repo, {f"d1/new{n}": b"x" for n in range(100)})
    assert shadows.export(world.commit("much")).parent == ""


def test_the_nearest_of_the_exports_is_taken(world):
    shadows = world.shadows("copy")
    world.git("branch", "other")
    shadows.export(world.repository.head)
    write_files(world.repo, {f"d1/new{n}": b"x" for n in range(20)})
    near = world.commit("twenty")
    shadows.export(near)
    world.git("checkout", "-q", "other")
    far = world.commit("empty")
    shadows.export(far)
    world.git("checkout", "-q", "main")
    (world.repo / "d1/new1").write_bytes(b"y")
    assert shadows.export(world.commit("next")).parent == near


def test_sparse_checkout_is_kept_in_a_layer(world, tmp_path):
    world.git("sparse-checkout", "set", "--no-cone", "/*", "!/d5/")
    shadows = world.shadows("copy")
    shadows.export(world.repository.head)
    world.git("sparse-checkout", "disable")
    write_files(world.repo, {"d5/f5": b"hidden\n", "d5/new": b"hidden\n", "d6/f6": b"shown\n"})
    (world.repo / "d5/f15").unlink()
    commit = world.commit("second")
    world.git("sparse-checkout", "set", "--no-cone", "/*", "!/d5/")
    base = shadows.export(commit)
    assert base.parent
    assert not [path for path in seen(base) if path.startswith("d5")]
    assert seen(base) == seen(whole(world, commit, tmp_path))
    assert world.run(shadows, shadows.open("one", base), "git status --porcelain; ls") == "".join(
        f"d{n}\n" for n in range(10) if n != 5
    )


def test_an_empty_commit_and_odd_names(world):
    shadows = world.shadows("copy")
    first = shadows.export(world.repository.head)
    empty = shadows.export(world.commit("empty"))
    assert (empty.parent, empty.tree, os.listdir(empty.lowers[0])) == (first.commit, first.tree, [])
    write_files(world.repo, {"n\nl/-x": b"1\n", '\udcff/"q': b"2\n"})
    odd = shadows.export(world.commit("odd"))
    assert odd.parent == empty.commit
    assert world.run(shadows, shadows.open("one", odd), "git status --porcelain; cat */-x */*q") == "1\n2\n"


def test_many_at_once_make_one_export_each(world):
    commits = [world.repository.head]
    for number in range(3):
        (world.repo / "d1/f1").write_bytes(b"%d\n" % number)
        commits.append(world.commit("next"))
    made = []
    threads = [
        threading.Thread(target=lambda c=commit: made.append(world.shadows("copy").export(c)))
        for commit in commits * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {base.commit for base in made} == set(commits)
    assert len({(base.commit, base.lowers) for base in made}) == 4
    for base in made:
        number = commits.index(base.commit)
        assert seen(base)["d1/f1"][1] == (b"1\n" if number == 0 else b"%d\n" % (number - 1))


# -- commits that only our own store has ----------------------------------------------------------------------------


def snapshot_commit(world):
    """Store the working tree as a commit in an object directory that is not the user's."""
    own = world.root / "own"
    (own / "pack").mkdir(parents=True)
    more = {
        "GIT_INDEX_FILE": str(own / "index"),
        "GIT_OBJECT_DIRECTORY": str(own),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(world.repo / ".git/objects"),
    }
    world.env.update(more)
    world.git("add", "-A")
    commit = world.git(
        "commit-tree", world.git("write-tree").strip(), "-p", world_head(world), "-m", "dirty"
    ).strip()
    secret = world.git("hash-object", "-w", "--stdin", data=b"of another run\n").strip()
    for name in more:
        del world.env[name]
    return commit, secret, str(own)


def world_head(world):
    return (world.repo / ".git/refs/heads/main").read_text().strip()


@pytest.mark.parametrize("mode", ["overlay", "copy"])
@pytest.mark.parametrize("layered", [False, True])
def test_a_snapshot_that_only_our_store_has(world, mode, layered):
    needs_overlay(mode)
    head = world.repository.head
    write_files(world.repo, {"d1/f1": b"dirty\n", "untracked": b"mine\n"})
    commit, secret, own = snapshot_commit(world)
    before = snapshot(world.repo)
    shadows = world.shadows(mode, own_objects=own)
    if layered:
        shadows.export(head)
    base = shadows.export(commit)
    assert bool(base.parent) == layered
    shadow = shadows.open("one", base)
    said = world.run(
        shadows,
        shadow,
        "cat d1/f1 untracked; git status --porcelain; git fsck --no-dangling; git log --format=%s;"
        f"git show HEAD:d1/f1; git cat-file -e {secret} 2>/dev/null && echo seen; echo x > d1/f11; git commit -qam x",
    )
    assert said == "dirty\nmine\ndirty\nfirst\ndirty\n"
    delta = shadows.open("two", base, [])
    assert delta.delta == ""
    assert snapshot(world.repo) == before


# -- collecting -----------------------------------------------------------------------------------------------------


def exports(world):
    return sorted(name for name in os.listdir(world.state / "bases") if not name.endswith(".lock"))


def test_collect_keeps_what_is_below_a_shadow_what_is_named_and_what_is_new(world):
    shadows = world.shadows("copy")
    first = shadows.export(world.repository.head)
    (world.repo / "d1/f1").write_bytes(b"second\n")
    second = shadows.export(world.commit("second"))
    assert shadows.collect() == 0
    assert exports(world) == sorted([first.commit, second.commit])

    shadow = shadows.open("one", second)
    assert shadows.collect(grace_s=NOW) == 0
    shadows.discard(shadow)
    assert shadows.collect({first.commit}, grace_s=NOW) > 0
    assert exports(world) == [first.commit]
    assert shadows.collect(grace_s=NOW) > 200 * 4096
    assert exports(world) == []
    assert seen(shadows.export(second.commit))["d1/f1"][1] == b"second\n"


def test_from_where_an_export_was_collected_or_swept_is_kept_in_mind(world, monkeypatch):
    # The file system under the tests may be any; that only one kind of them is kept in mind has tests of its own.
    monkeypatch.setattr(apart, "_reuses_late", lambda place: True)
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    place = world.state / "bases" / base.commit
    part = place.stat().st_ino // apart._TOGETHER
    assert shadows.collect(grace_s=NOW) > 0
    assert os.listdir(world.state / "emptied") == [str(part)]

    (world.state / "emptied" / str(part)).unlink()
    left = world.state / "bases" / f".new-{'1' * 40}-x"
    left.mkdir()
    write_files(left, {f"f{number}": b"" for number in range(300)})
    part = left.stat().st_ino // apart._TOGETHER
    shadows.sweep()
    assert os.listdir(world.state / "emptied") == [str(part)]


def test_collect_takes_nothing_away_while_an_export_is_made(world):
    shadows = world.shadows("copy")
    first = shadows.export(world.repository.head)
    making = world.state / "bases" / f".new-{'1' * 40}-x"
    making.mkdir()
    lock = FileLock(world.state / "bases" / f"{'1' * 40}.lock")
    assert lock.acquire()
    assert shadows.collect(grace_s=NOW) == 0
    lock.release()
    assert shadows.collect(grace_s=NOW) > 0
    shadows.sweep()
    assert exports(world) == []
    assert shadows.export(first.commit).lowers == first.lowers


def test_an_export_asked_for_while_it_is_collected_keeps_what_it_lies_on(world):
    shadows = world.shadows("copy")
    first = shadows.export(world.repository.head)
    (world.repo / "d1/f1").write_bytes(b"second\n")
    second = shadows.export(world.commit("second"))
    (world.repo / "d1/f1").write_bytes(b"third\n")
    third = shadows.export(world.commit("third"))
    places = [world.state / "bases" / each.commit / "meta.json" for each in (first, second, third)]
    # The last one is looked at first, and removed first.
    for days, place in enumerate(reversed(places), 1):
        os.utime(place, (time.time() - days * 86400,) * 2)
    removing = subprocess.Popen(
        [sys.executable, "-c", COLLECTOR, str(Path(__file__).parents[1]), str(world.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert removing.stdout is not None
    assert removing.stdout.readline() == b"looked\n"
    again = shadows.export(second.commit)
    removing.communicate(b"go on\n")
    assert exports(world) == sorted([first.commit, second.commit])
    assert seen(again)["d1/f1"][1] == b"second\n"


COLLECTOR = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from nightcrew.host import crash
from shadow_world import World

def wait(name):
    if name == "shadow.collect_base":
        crash.point = lambda name: None
        print("looked", flush=True)
        sys.stdin.readline()

crash.point = wait
World(Path(sys.argv[2])).shadows("copy").collect()
"""


def test_collect_removes_deltas_that_no_shadow_lies_on(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    Path(first.path, "new").write_bytes(b"new\n")
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", base, world.store.delta(base.tree, tree), tree=tree)
    assert shadows.collect(grace_s=NOW) == 0
    assert os.listdir(world.state / "deltas") == [second.delta]
    shadows.discard(second)
    assert shadows.collect(grace_s=NOW) > 0
    assert os.listdir(world.state / "deltas") == []
    third = shadows.open("three", base, world.store.delta(base.tree, tree), tree=tree)
    assert Path(third.path, "new").read_bytes() == b"new\n"


# -- deltas ---------------------------------------------------------------------------------------------------------


def never():
    raise AssertionError("a delta that was laid before is looked at")
    yield


@pytest.mark.parametrize("mode", ["overlay", "copy"])
def test_a_delta_is_laid_once_and_shared(world, mode):
    needs_overlay(mode)
    shadows = world.shadows(mode)
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    world.run(
        shadows, first, "echo new > new; rm d1/f1; echo x > d2/f2; chmod +x d3/f3; rm -r d4; ln -s d2 link"
    )
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", base, world.store.delta(base.tree, tree), tree=tree)
    third = shadows.open("three", base, never(), tree=tree)
    unnamed = shadows.open("four", base, world.store.delta(base.tree, tree))
    assert second.delta == third.delta == unnamed.delta == f"{base.commit}-{tree}"
    world.run(shadows, second, "echo mine > new; echo z > d2/f2; git commit -qam mine")
    said = world.run(
        shadows,
        third,
        "git status --porcelain; git rev-parse HEAD^{tree}; git write-tree; git fsck --no-dangling; cat new",
    )
    assert said.split() == [tree, tree, "new"]
    assert list(shadows.scan(third)) == []
    assert shadows.open("five", base, never(), tree=base.tree).delta == ""


def test_a_large_file_in_a_delta_is_written_in_pieces_and_keeps_its_holes(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    with Path(first.path, "big").open("wb") as file:
        file.truncate(40 << 20)
        file.seek(30 << 20)
        file.write(b"here")
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", base, world.store.delta(base.tree, tree), tree=tree)
    found = Path(second.path, "big").stat()
    assert found.st_size == 40 << 20
    assert found.st_blocks * 512 < 1 << 20
    assert world.run(shadows, second, "git status --porcelain; git rev-parse HEAD^{tree}") == f"{tree}\n"


def test_a_delta_of_names_that_need_quoting(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    names = ['"quoted"', "new\nline", "back\\slash", "\udcff", "-dash", " space ", "tab\t", 'a"b\nc\\d']
    write_files(Path(first.path), {name: name.encode("utf-8", "surrogateescape") for name in names})
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", base, world.store.delta(base.tree, tree), tree=tree)
    assert world.run(shadows, second, "git status --porcelain; git rev-parse HEAD^{tree}") == f"{tree}\n"


def test_two_that_lay_the_same_delta_at_once_share_it(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    write_files(Path(first.path), {f"new{n}": b"%d" % n for n in range(50)})
    tree = world.capture(shadows, first).tree
    deltas = [list(world.store.delta(base.tree, tree)) for _ in range(4)]
    opened = []
    threads = [
        threading.Thread(target=lambda n=n, d=delta: opened.append(shadows.open(f"t{n}", base, d, tree=tree)))
        for n, delta in enumerate(deltas)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {shadow.delta for shadow in opened} == {f"{base.commit}-{tree}"}
    assert os.listdir(world.state / "deltas") == [f"{base.commit}-{tree}"]


def test_a_delta_from_before_a_restart_of_the_machine_is_laid_anew(world):
    shadows = world.shadows("copy")
    base = shadows.export(world.repository.head)
    first = shadows.open("one", base)
    Path(first.path, "new").write_bytes(b"new\n")
    tree = world.capture(shadows, first).tree
    second = shadows.open("two", base, world.store.delta(base.tree, tree), tree=tree)
    shadows.close(second)
    place = world.state / "deltas" / second.delta
    (place / "layer/new").write_bytes(b"")
    meta = place / "meta.json"
    meta.write_text(meta.read_text().replace('"boot": "', '"boot": "0'))
    assert shadows.reopen("two") is None
    again = shadows.open("three", base, world.store.delta(base.tree, tree), tree=tree)
    assert Path(again.path, "new").read_bytes() == b"new\n"


def test_a_scan_compares_once_and_forgets_nothing(world):
    """The same answers again and again, whatever happens to a file between two scans, however quickly."""
    needs_overlay("overlay")
    shadows = world.shadows("overlay")
    shadow = shadows.open("one", shadows.export(world.repository.head))

    def found():
        entries = list(shadows.scan(shadow))
        fresh = list(world.shadows("overlay").scan(shadow))
        assert entries == fresh
        return {entry.path: entry.kind for entry in entries}

    world.run(shadows, shadow, "echo x > d1/f1; touch d2/f2; cp -p d3/f3 k; echo y > d3/f3")
    time.sleep(0.05)
    assert found() == found() == {"d1/f1": "file", "d3/f3": "file", "k": "file"}
    # Back to what it was, with the old time; a touched one changed within the same length.
    world.run(shadows, shadow, "cat k > d3/f3; touch -r k d3/f3; printf '9\\n' > d2/f2")
    assert found() == {"d1/f1": "file", "d2/f2": "file", "k": "file"}
    for turn in range(20):
        upper = Path(shadow.path, "d2/f2")
        upper.write_bytes(b"2\n" if turn % 2 else b"%d\n" % (turn + 3))
        assert ("d2/f2" in found()) == (turn % 2 == 0)
