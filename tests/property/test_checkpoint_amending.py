"""Trees that are added to are those that would have been made anew."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from nightcrew.checkpoint.amending import Amendment
from nightcrew.checkpoint.objects import MODE_FILE, MODE_GITLINK, TreeEntry, identify
from nightcrew.checkpoint.trees import TreeEdit, TreeReader

NAMES = st.sampled_from([b"a", b"b", b"a.b", b"z"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
BLOBS = st.sampled_from([identify("blob", b"%d" % n, 40) for n in range(4)])
LEAVES = st.dictionaries(PATHS, BLOBS.map(lambda blob: TreeEntry(MODE_FILE, blob)), max_size=8)


class Objects(dict):
    """Trees in memory."""

    def add(self, data: bytes) -> str:
        name = identify("tree", data, 40)
        self[name] = data
        return name


def is_in_the_way(path: bytes, others) -> bool:
    return any(
        path != other and (path.startswith(other + b"/") or other.startswith(path + b"/")) for other in others
    )


def settle(leaves):
    """Leave out what has another path below it, as in a directory on disk."""
    return {path: leaf for path, leaf in leaves.items() if not any(o.startswith(path + b"/") for o in leaves)}


@given(
    base=LEAVES,
    links=st.sets(PATHS, max_size=1),
    first=LEAVES,
    cleared=st.sets(PATHS, max_size=3),
    more=st.lists(LEAVES, max_size=3),
)
def test_amended_tree_is_the_one_made_of_all_edits(base, links, first, cleared, more):
    objects = Objects()
    objects.add(b"")
    reader = TreeReader(objects.__getitem__)
    whole = TreeEdit(reader, objects.add(b""))
    for path, leaf in settle(base | {link: TreeEntry(MODE_GITLINK, "1" * 40) for link in links}).items():
        whole.put(path, leaf)
    tree = whole.write(objects.add)

    def edit(leaves) -> TreeEdit:
        made = TreeEdit(reader, tree)
        for path in sorted(cleared):
            made.clear(path)
        for path, leaf in sorted(leaves.items()):
            made.put(path, leaf)
        return made

    leaves = settle(first)
    began = edit(leaves)
    began.write(objects.add)
    assume(not began.blocked)
    made = began.made
    for new in map(settle, more):
        assume(not any(is_in_the_way(path, leaves.keys() | cleared) for path in new))
        amendment = Amendment(reader, tree, made)
        amended = amendment.write(new, objects.add)
        leaves = leaves | new
        anew = edit(leaves)
        expected = anew.write(objects.add)
        if anew.blocked:
            assert amended == ""
            return
        if not amended:
            # A file of the base is where a directory is wanted, and nothing says that it went.
            assert any(is_in_the_way(path, base) for path in new)
            return
        assert amended == expected
        made = amendment.made
