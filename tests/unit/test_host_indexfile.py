"""An index made out of an older one is the index git itself would write, tree ids of whole directories included."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.host.cachetree import forget
from nightcrew.host.indexfile import (
    IndexFile,
    find_end,
    find_entries,
    guess_root,
    make_bare_entry,
    make_entry,
)
from shadow_world import World

NAMES = st.sampled_from(["a", "b", "a-", "a.b", "d/a", "d/b", "d/e/f", "d-e", "é", "z" * 250, "d/n\nl"])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = {f"d{n % 40}/e{n % 7}/f{n}": b"%d\n" % n for n in range(900)}
    world = World.make(tmp_path_factory.mktemp("index") / "world", {**files, "z" * 250: b"long\n"})
    yield world
    world.close()


def index_of(world: World) -> IndexFile:
    world.git("read-tree", "HEAD")
    return IndexFile((world.repo / ".git/index").read_bytes(), 20)


def listing(world: World, index: bytes) -> str:
    """Let git read an index and say what is in it."""
    (world.repo / ".git/index").write_bytes(index)
    return world.git("ls-files", "-s", "-z")


def entry(world: World, name: str, text: bytes) -> bytes:
    blob = world.git("hash-object", "-w", "--stdin", data=text).strip()
    place = world.root / "content"
    place.write_bytes(text)
    place.chmod(0o644)
    return make_entry(name.encode(), place.lstat(), blob, 1_000_000_000)


def test_derived_index_is_the_one_git_makes(world):
    old = index_of(world)
    gone = ["d3/e3/f3", "d0/e0/f0", "z" * 250]
    new = {
        "d3/e3/f3a": b"new\n",
        "aaa": b"first\n",
        "zz": b"last\n",
        "d3/e3": b"a file now\n",
        "d5/e5/f5": b"x\n",
    }
    gone += [name for name in listing(world, old.data).split("\0") if "\td3/e3/" in name]
    names = [name.rpartition("\t")[2] for name in gone]
    changes = dict.fromkeys(name.encode() for name in names)
    changes |= {name.encode(): entry(world, name, text) for name, text in new.items() if name != "d3/e3/f3a"}
    made = old.derive(changes)
    ours = listing(world, made.data)
    assert world.git("fsck", "--no-dangling") == ""
    assert made.count == len(ours.split("\0")) - 1

    world.git("read-tree", "HEAD")
    rows = [f"0 {'0' * 40}\t{name}\0" for name in names]
    for name, text in new.items():
        if name != "d3/e3/f3a":
            rows.append(f"100644 {world.git('hash-object', '-w', '--stdin', data=text).strip()}\t{name}\0")
    world.git("update-index", "-z", "--index-info", data="".join(rows).encode())
    theirs, tree = world.git("ls-files", "-s", "-z"), world.git("write-tree")
    assert ours == theirs

    (world.repo / ".git/index").write_bytes(made.data)
    assert world.git("write-tree") == tree
    assert world.git("diff-index", "--cached", "--name-status", "HEAD").splitlines()[0] == "A\taaa"


def test_what_did_not_change_keeps_its_tree_id(world):
    old = index_of(world)
    world.git("write-tree")
    old = IndexFile((world.repo / ".git/index").read_bytes(), 20)
    tree = dict(old._extensions())[b"TREE"]
    kept = forget(tree, 20, [b"d3/e3/f3"])
    assert tree.count(b"-1 ") == 0
    assert kept.count(b"\x00-1 ") == 3
    assert len(tree) - len(kept) > 3 * 20 - 9
    assert forget(tree, 20, []) == forget(tree, 20, [b"top"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.dictionaries(NAMES, st.booleans(), max_size=6), min_size=1, max_size=4))
def test_one_derived_from_another_stays_sorted_and_searchable(world, steps):
    index = index_of(world)
    model = index.entries()
    for step in steps:
        changes = {}
        for name, there in step.items():
            with tempfile.NamedTemporaryFile() as file:
                made = make_entry(name.encode(), os.lstat(file.name), "ab" * 20, 5)
            changes[name.encode()] = made if there else None
        index = index.derive(changes)
        model.update(changes)
        model = {name: found for name, found in model.items() if found is not None}
        assert index.entries() == model
        assert list(index.entries()) == sorted(model)
        # As it comes back from disk, with its marks and without.
        assert IndexFile(index.data, 20).entries() == model
        assert (
            IndexFile(index.data, 20).derive({b"d1/e1/f1": None}).data
            == index.derive({b"d1/e1/f1": None}).data
        )
        for name in model:
            start, end, _ = index._locate(name)
            assert index.data[start:end] == model[name]


def test_known_places_and_a_late_hash_make_the_same_file(world):
    old = index_of(world)
    entries = old.entries()
    ids = {name: each[40:60].hex() for name, each in entries.items()}
    known = find_entries(old.data, ids)
    assert known is not None
    assert all(old.data[at:].startswith(entries[name]) for name, at in known.items())
    some = list(entries)[::9]
    status = os.lstat(world.repo)
    replaced = {name: make_bare_entry(name, 0o100755, "cd" * 20) for name in some}
    mixed = {**replaced, some[1]: None, b"d3/new": make_bare_entry(b"d3/new", 0o100644, "ef" * 20)}
    for changes in (replaced, mixed, dict.fromkeys(some)):
        plain = old.derive(changes)
        quick = old.derive(changes, known, sealed=False)
        found = {name: status for name, entry in changes.items() if entry}
        assert quick.with_status(found) == plain.with_status(found)
        assert quick.with_status({}) == plain.data
        assert quick.marks == plain.marks or IndexFile(quick.with_status({}), 20).entries() == quick.entries()


def test_what_is_not_there_as_it_should_be_is_not_found(world):
    old = index_of(world)
    name, entry = next(iter(old.entries().items()))
    assert find_entries(old.data, {name: "00" * 20}) is None
    assert find_entries(old.data, {name + b"x": entry[40:60].hex()}) is None
    assert find_entries(b"", {name: entry[40:60].hex()}) is None
    assert find_entries(old.data, {}) == {}
    with pytest.raises(ValueError, match="not where"):
        old.derive({name: make_bare_entry(name, 0o100644, "cd" * 20)}, {name: 12 + 8})


def test_other_versions_are_refused():
    with pytest.raises(ValueError, match="version 4"):
        IndexFile(b"DIRC" + (4).to_bytes(4, "big") + bytes(24), 20)


def remembered(index: bytes) -> dict[str, tuple[int, str]]:
    """Number of entries and tree by directory, of all directories that an index remembers."""
    data = dict(IndexFile(index, 20)._extensions())[b"TREE"]
    found: dict[str, tuple[int, str]] = {}

    def read(at: int, above: str) -> int:
        end = data.index(0, at)
        line = data.index(b"\n", end)
        count, below = map(int, data[end + 1 : line].split())
        path = f"{above}{os.fsdecode(data[at:end])}/" if end > at else above
        if count >= 0:
            found[path] = count, data[line + 1 : line + 21].hex()
        at = line + 1 + (20 if count >= 0 else 0)
        for _ in range(below):
            at = read(at, path)
        return at

    assert read(0, "") == len(data)
    return found


def trees_of(world: World, tree: str) -> dict[str, str]:
    rows = world.git("ls-tree", "-r", "-t", "-d", "-z", tree).split("\0")
    found = {row.partition("\t")[2] + "/": row.split()[2] for row in rows if row}
    return {**found, "": tree}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    new=st.dictionaries(
        st.sampled_from(
            ["d1/e1/f1", "d2/e2/f2", "d0/e0/f0", "d0/e0", "top", "new/deep/f", "d1/e1/g", "d39/e4/f39"]
        ),
        st.sampled_from(["", "one\n", "two\n"]),
        max_size=5,
    ),
    staged=st.booleans(),
)
def test_remembered_trees_are_renewed_only_as_git_would_make_them(world, new, staged):
    head = world.git("rev-parse", "HEAD^{tree}").strip()
    world.git("read-tree", "HEAD")
    if staged:
        blob = world.git("hash-object", "-w", "--stdin", data=b"staged\n").strip()
        world.git("update-index", "--add", "--cacheinfo", f"100644,{blob},d1/e1/f8")
    world.git("write-tree")
    old = IndexFile((world.repo / ".git/index").read_bytes(), 20)
    names = old.entries()
    # A file where a directory was, or the other way round, takes out what is in the way, as git does.
    gone = {
        name
        for name in names
        for each in new
        if new[each]
        and name != each.encode()
        and (name.startswith(each.encode() + b"/") or each.encode().startswith(name + b"/"))
    }
    clash = [
        each
        for each in new
        if any(other.startswith(each + "/") and new[other] for other in new) and new[each]
    ]
    changes = {
        each.encode(): entry(world, each, new[each].encode()) if new[each] else None
        for each in new
        if each not in clash
    }
    changes = {**dict.fromkeys(gone), **changes}
    # The tree that the commit has: the same changes on its own tree.
    world.git("read-tree", "HEAD")
    lines = [f"0 {'0' * 40}\t{os.fsdecode(name)}\0" for name, each in changes.items() if each is None]
    lines += [f"100644 {each[40:60].hex()}\t{os.fsdecode(name)}\0" for name, each in changes.items() if each]
    world.git("update-index", "-z", "--index-info", data="".join(lines).encode())
    tree = world.git("write-tree").strip()
    before, after = trees_of(world, head), trees_of(world, tree)
    trees = {
        path.encode(): (bytes.fromhex(before.get(path, "")), bytes.fromhex(after.get(path, "")))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
    made = old.derive(changes, trees=trees)
    found = remembered(made.data)
    rows = listing(world, made.data)
    entries = [os.fsdecode(name) for name in made.entries()]
    # What git makes of the entries alone, remembering nothing.
    world.git("read-tree", "--empty")
    world.git("update-index", "-z", "--index-info", data=rows.encode())
    right = trees_of(world, world.git("write-tree").strip())
    for path, (count, known) in found.items():
        assert right[path] == known
        assert count == sum(name.startswith(path) for name in entries)
    if (
        not staged
        and before.keys() == after.keys()
        and all(name in names or each for name, each in changes.items())
        and changes
    ):
        assert found[""][1] == tree


def test_where_entries_end_is_found_from_behind_or_not_at_all(world):
    world.git("read-tree", "HEAD")
    world.git("write-tree")
    content = (world.repo / ".git/index").read_bytes()
    whole = IndexFile(content, 20)
    starts = [whole._locate(name)[0] for name in whole.entries()]
    tree = world.git("rev-parse", "HEAD^{tree}").strip()
    assert guess_root(content, 20) == tree == whole.root
    assert {find_end(content, 20, at) for at in starts} == {whole._end}
    early = IndexFile(content, 20, end=find_end(content, 20, starts[-1]))
    name = next(iter(whole.entries()))
    for changes in ({name: None}, {b"d1/new": make_bare_entry(b"d1/new", 0o100644, "ab" * 20)}):
        assert early.derive(changes).data == whole.derive(changes).data
    # Anything between the entries and what looks like the trees is not walked over.
    for size in range(0, 200, 4):
        odd = b"link" + size.to_bytes(4, "big") + b"\x5a" * size
        assert find_end(content[: whole._end] + odd + content[whole._end :], 20, starts[-1]) == 0
    assert find_end(content + b"more", 20, starts[0]) == 0
    assert guess_root(content + b"more", 20) == ""
    assert guess_root(b"", 20) == ""
    world.git("update-index", "--skip-worktree", os.fsdecode(list(whole.entries())[-1]))
    assert find_end((world.repo / ".git/index").read_bytes(), 20, starts[0]) == 0
    world.git("update-index", "--no-skip-worktree", os.fsdecode(list(whole.entries())[-1]))
