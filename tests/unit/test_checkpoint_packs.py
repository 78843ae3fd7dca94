"""Packs of our own: looking ids up in an index on disk, squeezing in one thread or two."""

from __future__ import annotations

import hashlib
import itertools
import subprocess

import pytest

from nightcrew.checkpoint import packs
from nightcrew.checkpoint.packs import LocalObjects, PackWriter


@pytest.fixture
def objects(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "store")], check=True)
    return tmp_path / "store" / "objects"


def write(objects, contents):
    pack = PackWriter(objects, 40)
    ids = [pack.add("blob", content) for content in contents]
    pack.publish()
    return ids


@pytest.mark.parametrize("number", [1, 255, 20_000])
def test_every_id_of_a_large_index_is_found_and_no_other(objects, monkeypatch, number):
    monkeypatch.setattr(packs, "_SMALL_OBJECTS", 0)
    monkeypatch.setattr(packs, "_AT_ONCE", 4)
    ids = write(objects, [b"%d" % each for each in range(number)])
    local = LocalObjects(objects, 40)
    local.refresh()
    assert local._large, "searched on disk"
    assert all(local.find_pack(each) for each in ids)
    others = [hashlib.sha1(b"other %d" % each).hexdigest() for each in range(2000)]
    near = [f"{int(each, 16) ^ 1:040x}" for each in ids[:2000]]
    assert not any(local.find_pack(each) for each in (*others, *near, "0" * 40, "f" * 40))


def test_an_id_across_two_others_is_not_found(objects, monkeypatch):
    monkeypatch.setattr(packs, "_SMALL_OBJECTS", 0)
    ids = sorted(write(objects, [b"%d" % each for each in range(3000)]))
    local = LocalObjects(objects, 40)
    local.refresh()
    # The end of one id and the beginning of the next: these bytes are in the index, but are no id of it.
    across = [
        one[shift:] + two[:shift]
        for one, two in itertools.pairwise(ids)
        for shift in (2, 20, 38)
        if one[shift : shift + 2] == one[:2]
    ]
    assert across
    assert not any(local.find_pack(each) for each in across)


@pytest.mark.parametrize("size", [10, 200_000])
def test_git_reads_what_one_thread_or_two_have_squeezed(objects, size):
    contents = [b"%d" % each * size for each in range(20)]
    ids = write(objects, contents)
    for object_id, content in zip(ids, contents, strict=True):
        read = subprocess.run(
            ["git", "--git-dir", str(objects.parent), "cat-file", "blob", object_id],
            check=True,
            capture_output=True,
        )
        assert read.stdout == content
