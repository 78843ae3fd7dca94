"""Small file systems of other kinds for a test session: images in a file, mounted for as long as the tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest

# 300 MiB is the least that mkfs.xfs takes, and 2 GiB is one of the parts in which ext4 lays files down; the images are sparse.
_IMAGE_BYTES = {"btrfs": 400 << 20, "xfs": 400 << 20}
_LARGE_BYTES = 8 << 30
_MAKE = {
    "btrfs": ("mkfs.btrfs", "-q"),
    "xfs": ("mkfs.xfs", "-q", "-m", "reflink=1"),
    "ext4": ("mkfs.ext4", "-q", "-E", "nodiscard"),
    "ext4-unjournaled": ("mkfs.ext4", "-q", "-E", "nodiscard", "-O", "^has_journal"),
}


class Disks:
    """Mounts below one directory, made when asked for and taken away at the end."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mounted: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._mounted.values():
            subprocess.run(["umount", "--lazy", str(place)], check=True)

    def find(self, kind: str) -> Path:
        """Return where a file system of a kind is mounted; skip, with the reason, where that cannot be."""
        if kind not in self._mounted:
            self._mounted[kind] = self._mount(kind)
        return self._mounted[kind]

    def _mount(self, kind: str) -> Path:
        make, *options = _MAKE[kind]
        program = shutil.which(make, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if os.geteuid() != 0:
            pytest.skip(f"only root can mount a {kind} image")
        if program is None:
            pytest.skip(f"{make} is not installed")
        image, place = self._root / f"{kind}.img", self._root / kind
        with image.open("wb") as file:
            file.truncate(_IMAGE_BYTES.get(kind, _LARGE_BYTES))
        place.mkdir()
        for argv in ([program, *options, str(image)], ["mount", "-o", "loop", str(image), str(place)]):
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no {kind} image can be mounted here: {done.stderr.strip()}")
        return place
