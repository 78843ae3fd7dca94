"""The project that ``nightcrew demo`` works on: its files, shipped inside the package.

``ledger`` is a small real program without dependencies. One of its tests fails, one feature and one page are missing,
and tasks.md says who does what: 1 and 2 side by side, 3 needs both, 4 needs a person's yes (rule ``ledger.release``),
and 5 fails its acceptance because its agent makes a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

TASKS_FILE: Final = "tasks.md"
ASKS: Final = "T04"
FAILS: Final = "T05"


def read_demo_files() -> Mapping[str, bytes]:
    """Return the content of every file of the demo project by its path in the project."""
    folder = files(__name__)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    stored: dict[str, str] = manifest["files"]
    return {path: (folder / "files" / name).read_bytes() for path, name in stored.items()}
