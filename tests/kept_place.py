"""A place that several tests begin with: prepared once by the installed command, and put back as it was before each of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from nightcrew.testing.hermetic import Hermetic


class KeptPlace:
    """Prepares a place and keeps a copy; every test gets the same paths with the content of the copy, none sees another one.

    Args:
        root: an empty folder for both.
        files: of the repository at its beginning.
        prepare: what all tests begin with; nothing that it started stays for long.
    """

    def __init__(
        self, root: Path, files: Mapping[str, str | bytes], prepare: Callable[[Hermetic], object]
    ) -> None:
        self._place, self._copy = Hermetic(root / "place"), root / "kept"
        self._place.make_repository(files)
        prepare(self._place)
        self._place.wait_until(
            lambda: not list(self._place.find_processes()), what="the end of what ran there"
        )
        _copy(self._place.root, self._copy)

    def put_back(self) -> Hermetic:
        """Return the place as it was prepared."""
        shutil.rmtree(self._place.root)
        _copy(self._copy, self._place.root)
        return self._place


def _copy(source: Path, target: Path) -> None:
    """Copy everything: modes, times, links of both kinds, extended attributes."""
    subprocess.run(["cp", "--archive", str(source), str(target)], check=True)
