"""Contents read out of the pack that is handed over: the right bytes or none, whatever the pack looks like."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.promote.packing import read_blobs

TEXT = "".join(f"line {number} of a text that is much the same\n" for number in range(400)).encode()
CONTENTS = [b"", b"x", b"\0" * 70_000, TEXT, TEXT + b"more\n", TEXT[10:], bytes(range(256)) * 300]


def make(place: Path, form: str, *options: str) -> tuple[bytes, dict[str, bytes]]:
    """Return a pack of the contents as git makes it, and the contents by id."""
    git(place, "init", "-q", f"--object-format={form}")
    ids = {git(place, "hash-object", "-w", "--stdin", data=data).decode().strip(): data for data in CONTENTS}
    for number, name in enumerate(ids):
        git(place, "update-index", "--add", "--cacheinfo", f"100644,{name},f{number}")
    tree = git(place, "write-tree").decode().strip()
    names = "".join(f"{name}\n" for name in (tree, *ids)).encode()
    return git(place, "pack-objects", "--stdout", "-q", *options, data=names), ids


def git(place: Path, *args: str, data: bytes = b"") -> bytes:
    return subprocess.run(["git", *args], cwd=place, input=data, check=True, capture_output=True).stdout


@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_what_stands_there_whole_is_found(tmp_path: Path, form: str) -> None:
    pack, contents = make(tmp_path, form, "--window=0")
    assert read_blobs(pack, set(contents)) == contents
    some = set(list(contents)[:3])
    assert read_blobs(pack, some).keys() == some
    assert read_blobs(pack, {"0" * len(next(iter(some)))}) == {}


@pytest.mark.parametrize("options", [("--delta-base-offset",), ()])
def test_differences_are_left_out_and_the_rest_is_found(tmp_path: Path, options: tuple[str, ...]) -> None:
    pack, contents = make(tmp_path, "sha1", "--window=10", "--depth=5", *options)
    found = read_blobs(pack, set(contents))
    assert {name: contents[name] for name in found} == found
    assert 0 < len(found) < len(contents)


def test_nothing_comes_out_of_what_is_no_pack(tmp_path: Path) -> None:
    pack, contents = make(tmp_path, "sha1", "--window=0")
    for broken in (b"", b"PACK", pack[:40], pack[: len(pack) // 2], pack[:20] + b"\xff" * 40 + pack[60:]):
        found = read_blobs(broken, set(contents))
        assert all(contents[name] == data for name, data in found.items())


@given(st.binary(max_size=300))
def test_no_bytes_are_taken_for_others(tail: bytes) -> None:
    assert read_blobs(b"PACK\0\0\0\2\0\0\0\3" + tail, {"ab" * 20}) == {}
