"""A host process for crash tests: ``engine_host.py ROOT RUN POINT``; dies at POINT (``-`` for none) or ends with the run."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import Rig
from nightcrew.host import crash


def main() -> None:
    root, run, point = sys.argv[1:]
    rig = Rig(Path(root))
    if point != "-":
        name, _, hits = point.partition(":")
        crash.arm(name, int(hits or 1))
    with rig.hosting() as engine:
        engine.wait(run, until="quiet")
    rig.close()


if __name__ == "__main__":
    main()
