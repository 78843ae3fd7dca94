"""A small repository, and two short ways to work in a shadow of it."""

from __future__ import annotations

FILES = {
    "README.md": b"# sample\n",
    ".gitignore": b"*.log\nbuild/\nnode_modules/\n.venv\n",
    "src/app.py": b"print('hello')\n",
    "src/deep/one": b"1\n",
    "src/deep/two": b"2\n",
    "run.sh": (0o755, b"#!/bin/sh\n"),
    "link": "src/app.py",
}


def open_one(world, shadows, name="one"):
    return shadows.open(name, shadows.export(world.repository.head))


def changed(world, shadows, shadow):
    captured = world.capture(shadows, shadow)
    return {p.path: p.kind for p in world.store.compare(shadow.base.tree, captured.tree).paths}
