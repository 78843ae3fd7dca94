"""Modes and sizes of what is written into a layer, whatever the process' umask."""

from __future__ import annotations

import io
import os
import stat

import pytest

from nightcrew.model.trees import DeltaEntry
from nightcrew.shadow.layers import Stack, write_layer

FILES = {
    "plain": (0o100644, b"text\n"),
    "program": (0o100755, b"#!/bin/sh\n"),
    "a/b/plain": (0o100644, b""),
    "a/b/program": (0o100755, b"x"),
    "a/c/ends-in-a-hole": (0o100644, b"x" * 70_000 + bytes(200_000)),
    "a/c/begins-with-one": (0o100644, bytes(200_000) + b"x"),
    "a/d/only-a-hole": (0o100644, bytes(70_000)),
}


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_modes_and_contents_are_those_of_the_difference(umask, tmp_path):
    layer = tmp_path / "layer"
    layer.mkdir()
    layer.chmod(0o755)
    delta = [
        DeltaEntry(path, mode, lambda content=content: io.BytesIO(content))
        for path, (mode, content) in FILES.items()
    ]
    write_layer(layer, delta, Stack([]), 1_000_000_000)
    for path, (mode, content) in FILES.items():
        found = (layer / path).stat()
        assert (stat.S_IMODE(found.st_mode), int(found.st_mtime)) == (mode & 0o777, 1_000_000_000), path
        assert (layer / path).read_bytes() == content
    directories = [place for place in layer.rglob("*") if place.is_dir()]
    assert {stat.S_IMODE(place.stat().st_mode) for place in directories} == {0o755}
