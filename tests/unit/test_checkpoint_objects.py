"""Objects, packs and trees of our own writing, judged by git."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.checkpoint import objects
from nightcrew.checkpoint.layout import alternate_line
from nightcrew.checkpoint.objects import (
    TreeEntry,
    compress,
    encode_tree,
    identify,
    open_loose_blob,
    parse_tree,
    write_loose,
)
from nightcrew.checkpoint.packs import LocalObjects, PackWriter
from nightcrew.checkpoint.trees import TreeEdit, TreeReader
from shadow_world import World


@pytest.fixture(params=["sha1", "sha256"])
def world(request, tmp_path):
    world = World.make(
        tmp_path, {"a/b/c": b"c", "a/d": b"d", "e": b"e"}, init=[f"--object-format={request.param}"]
    )
    yield world
    world.close()


@pytest.fixture
def length(world):
    return len(world.repository.head)


@pytest.fixture
def place(world):
    world.store.tree_of(world.repository.head)
    return world.store.path / "objects"


def git(world, *args, data=b""):
    return world.git("--git-dir", str(world.store.path), *args, data=data)


def test_pack_is_what_git_reads(world, place, length):
    writer = PackWriter(place, length)
    contents = [b"", b"x", os.urandom(100_000), b"y" * 70_000, *(b"%d" % n for n in range(1000))]
    ids = [writer.add("blob", data) for data in contents]
    tree = writer.add("tree", encode_tree({b"f": TreeEntry(0o100644, ids[1])}))
    writer.publish()
    assert git(world, "cat-file", "-p", tree) == f"100644 blob {ids[1]}\tf\n"
    assert git(world, "cat-file", "--batch-check", data="\n".join(ids).encode()).splitlines() == [
        f"{i} blob {len(data)}" for i, data in zip(ids, contents, strict=True)
    ]
    (index,) = (place / "pack").glob("*.idx")
    git(world, "verify-pack", str(index))
    git(world, "fsck", "--strict")


def test_nothing_is_there_before_publish_nor_after_abandon(world, place, length):
    writer = PackWriter(place, length)
    blob = writer.add("blob", b"content")
    assert blob in writer
    assert blob not in LocalObjects(place, length)
    writer.abandon()
    assert list((place / "pack").iterdir()) == []


def test_an_empty_pack_is_not_written(place, length):
    writer = PackWriter(place, length)
    writer.publish()
    assert list((place / "pack").iterdir()) == []


def test_local_objects_are_those_of_the_store_alone(world, place, length):
    local = LocalObjects(place, length)
    of_user = world.git("rev-parse", "HEAD:e").strip()
    assert of_user not in local
    writers = [PackWriter(place, length) for _ in range(3)]
    ids = [w.add("blob", b"%d" % n) for n, w in enumerate(writers)]
    for writer in writers:
        writer.publish()
    write_loose(place, "blob", io.BytesIO(b"loose"), 5, identify("blob", b"loose", length))
    assert all(i in local for i in [*ids, identify("blob", b"loose", length)])
    assert all(f"{n:02x}" + "0" * (length - 2) not in local for n in (0, 127, 255))


def test_loose_blob_is_what_git_reads_and_comes_back_in_pieces(world, place, length):
    data = os.urandom(3 << 20) + b"z" * (6 << 20)
    blob = identify("blob", data, length)
    write_loose(place, "blob", io.BytesIO(data), len(data), blob)
    assert git(world, "cat-file", "-s", blob) == f"{len(data)}\n"
    with open_loose_blob(objects.loose_path(place, blob)) as stream:
        assert stream.read(10) == data[:10]
        assert stream.read() == data[10:]
        assert stream.read() == b""
    git(world, "fsck", "--strict")


def test_loose_blob_that_changes_while_it_is_read_is_not_stored(place, length):
    with pytest.raises(OSError, match="changed"):
        write_loose(place, "blob", io.BytesIO(b"other"), 5, identify("blob", b"wanted", length))
    assert not any(p.name.startswith("tmp_") for p in place.iterdir())
    with pytest.raises(OSError, match="changed"):
        objects.identify_stream(io.BytesIO(b"short"), 6, length)


def test_tree_sorts_as_git_does(world, length):
    names = ["a", "a.b", "a-b", "a0", "ab", "\udcff", "é"]
    for name in names[1:]:
        (world.repo / f"sort/{name}").parent.mkdir(exist_ok=True)
        (world.repo / f"sort/{name}").write_bytes(b"1")
    (world.repo / "sort/a").mkdir()
    (world.repo / "sort/a/x").write_bytes(b"1")
    world.commit("names")
    tree = world.git("rev-parse", "HEAD:sort").strip()
    data = os.fsencode(world.git("cat-file", "tree", tree))
    rows = parse_tree(data, length)
    assert set(rows) == {os.fsencode(name) for name in names}
    shuffled = dict(sorted(rows.items(), reverse=True))
    assert encode_tree(shuffled) == data
    assert identify("tree", data, length) == tree


def edit(world, length):
    reader = TreeReader(world.store._read_tree)
    tree = world.store.tree_of(world.repository.head)
    written: dict[str, bytes] = {}

    def write(data):
        written[identify("tree", data, length)] = data
        return identify("tree", data, length)

    return TreeEdit(reader, tree), write, written, tree


def test_edit_without_change_gives_the_base_and_writes_nothing(world, length):
    edit_, write, written, tree = edit(world, length)
    edit_.clear(b"not/there")
    edit_.clear(b"e/below/a/file")
    assert edit_.write(write) == tree
    assert written == {}


def test_edit_writes_only_the_way_to_the_change(world, length):
    edit_, write, written, _ = edit(world, length)
    edit_.put(b"a/b/new", TreeEntry(0o100644, "1" * length))
    edit_.write(write)
    assert len(written) == 3


def test_edit_can_empty_the_tree(world, length):
    edit_, write, _, _ = edit(world, length)
    edit_.clear(b"a")
    edit_.clear(b"e")
    assert edit_.write(write) == identify("tree", b"", length)


def test_edit_turns_a_file_into_a_directory_and_back(world, length):
    edit_, write, written, _ = edit(world, length)
    edit_.clear(b"e")
    edit_.put(b"e/in", TreeEntry(0o100644, "1" * length))
    edit_.put(b"a", TreeEntry(0o100644, "2" * length))
    edit_.clear(b"a/d")
    rows = parse_tree(written[edit_.write(write)], length)
    assert {name: entry.mode for name, entry in rows.items()} == {b"a": 0o100644, b"e": 0o040000}


def test_edit_leaves_a_submodule_alone(world, length):
    head = world.repository.head
    world.git("update-index", "--add", "--cacheinfo", f"160000,{head},sub/module")
    world.git("commit", "-q", "-m", "submodule")
    edit_, write, _, tree = edit(world, length)
    edit_.put(b"sub/module/new", TreeEntry(0o100644, "1" * length))
    assert edit_.write(write) == tree
    assert edit_.blocked == ["sub/module/new"]
    edit_.clear(b"sub/module")
    assert edit_.write(write) != tree


def test_find_in_trees(world):
    reader = TreeReader(world.store._read_tree)
    tree = world.store.tree_of(world.repository.head)
    assert reader.find(tree, b"a/b/c").mode == 0o100644
    assert reader.find(tree, b"a/b").is_tree
    assert reader.find(tree, b"e/x") is None
    assert reader.find(tree, b"none") is None


@pytest.mark.parametrize(
    "name", ["plain", "with space", 'qu"ote', '"first', "#hash", "new\nline", "\\back", "\udcff", "a:b"]
)
def test_store_finds_objects_of_a_repository_at_any_path(tmp_path, name):
    world = World.make(tmp_path, {"a": b"1"}, repo=name)
    assert world.store.read(world.store.tree_of(world.repository.head), "a") == b"1"
    world.close()


def test_alternate_line_is_quoted_only_where_it_must_be():
    assert alternate_line("/a b/c") == b"/a b/c\n"
    assert alternate_line("/a\nb") == b'"/a\\012b"\n'


def test_what_is_squeezed_is_a_stream_of_zlib(tmp_path):
    for data in (b"", b"x", os.urandom(70_000), b"line\n" * 50_000):
        assert zlib.decompress(compress(data)) == data
    content = os.urandom(1 << 20) + b"y" * (3 << 20)
    name = identify("blob", content, 40)
    write_loose(tmp_path, "blob", io.BytesIO(content), len(content), name)
    path = objects.loose_path(tmp_path, name)
    assert zlib.decompress(path.read_bytes()) == b"blob %d\0" % len(content) + content
    assert objects.read_loose_size(path) == len(content)


def test_without_the_library_zlib_does_the_same(tmp_path):
    (tmp_path / "isal.py").write_text("raise ImportError\n")
    script = "from nightcrew.checkpoint import objects; import zlib; print(objects.squeezing is zlib, zlib.decompress(objects.compress(b'x')))"
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "True b'x'\n"
