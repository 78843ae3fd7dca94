"""Every kind of shadow, and a world for each: each test of this folder is done with all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from shadow_samples import FILES
from shadow_world import World, needs_overlay


@pytest.fixture(params=["overlay", "overlay-layered", "copy", "copy-layered", "reflink-btrfs", "reflink-xfs"])
def kind(request):
    return request.param


@pytest.fixture
def mode(kind, monkeypatch):
    mode = kind.partition("-")[0]
    needs_overlay(mode)
    monkeypatch.setattr(World, "layered", kind.endswith("layered"))
    return mode


@pytest.fixture
def tmp_path(kind, tmp_path, disks):
    if kind.startswith("reflink"):
        return Path(tempfile.mkdtemp(dir=disks.find(kind.partition("-")[2])))
    return tmp_path


@pytest.fixture
def world(mode, tmp_path):
    world = World.make(tmp_path, FILES)
    yield world
    world.close()


@pytest.fixture
def shadows(world, mode):
    return world.shadows(mode, environment=["node_modules", ".venv"])
