"""Print the newest CPython of this machine that we support, as ``3.13 /path/to/python``; nothing when there is none.

Looks on the PATH, where Debian puts them, and below pyenv, whose shims do not start what is not selected.
"""

import os
import re
import subprocess
from pathlib import Path

OLDEST = (3, 11)
ASK = "import sys; print(sys.implementation.name, *sys.version_info[:2], sys.version_info.releaselevel)"


def main() -> None:
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(":") if folder]
    folders += [Path("/usr/bin"), Path("/usr/local/bin")]
    folders += sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin"))
    found = {}
    for folder in folders:
        names = [path for path in folder.glob("python3*") if re.fullmatch(r"python3(\.\d+)?", path.name)]
        for path in names:
            done = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
            said = done.stdout.split()
            if done.returncode == 0 and said[0] == "cpython" and said[3] == "final":
                found.setdefault((int(said[1]), int(said[2])), path)
    if found and max(found) >= OLDEST:
        newest = max(found)
        print(f"{newest[0]}.{newest[1]}", found[newest])


if __name__ == "__main__":
    main()
