"""What all tests share: a hermetic place per test, cleaned up to the last process, and capabilities of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from nightcrew.testing.hermetic import Hermetic
from shadow_disks import Disks

# In CI the same examples every time, so that a change is judged by what it changed; elsewhere new ones at every run.
settings.register_profile("steady", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("steady")

# A shell starts background jobs with SIGINT ignored, and children inherit that: what tests start must be interruptible.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FILES = {
    "README.md": "# sample\n",
    ".gitignore": "__pycache__/\n*.log\nbuild/\n",
    "src/app.py": "print('hello')\n",
    "src/data.txt": "one\ntwo\nthree\n",
}
"""The repository that ``crew`` begins with."""


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Hermetic]:
    """One user with one small repository; whatever still runs there at the end is killed."""
    place = Hermetic(tmp_path)
    place.make_repository(FILES)
    yield place
    sweep(place)


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disks]:
    """File systems of other kinds than the one the temporary files happen to lie on."""
    with Disks(tmp_path_factory.mktemp("disks")) as disks:
        yield disks


@pytest.fixture
def token() -> str:
    """Digits that stand in no other command line on this machine."""
    return f"{secrets.randbelow(10**12):012d}"


def sweep(place: Hermetic) -> None:
    """Kill what was started in this place, and wait until it is gone."""
    end = time.monotonic() + 20
    while left := list(place.find_processes()):
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile
        if time.monotonic() > end:
            raise AssertionError(f"processes {left} of {place.root} do not die")
        time.sleep(0.02)


#: Folders of tests, the slow ones first: what is short then fills up what is left of each processor at the end.
ORDER = ("e2e", "crash", "contract", "security", "property", "docs", "unit")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the slow tests where several run at once; by oneself, what is told soon comes as it stands."""
    if hasattr(config, "workerinput"):
        place = {name: number for number, name in enumerate(ORDER)}
        root = Path(__file__).parent
        items.sort(key=lambda item: place.get(item.path.relative_to(root).parts[0], len(ORDER)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot do."""
    if item.get_closest_marker("needs_userns") and not has_user_namespaces():
        pytest.skip("needs user namespaces: `unshare -Ur true` fails here")
    if item.get_closest_marker("needs_overlay") and not has_overlay():
        pytest.skip("needs overlay mounts inside a user namespace")
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")


@cache
def has_user_namespaces() -> bool:
    """Tell whether a process may make a user namespace here."""
    return _works("unshare", "--user", "--map-root-user", "--mount", "true")


@cache
def has_overlay() -> bool:
    """Tell whether an overlay can be mounted inside a user namespace, on the file system of the temporary files."""
    script = (
        "d=$(mktemp -d) && mkdir $d/l $d/u $d/w $d/m && trap 'rm -rf $d' EXIT && "
        "unshare --user --map-root-user --mount "
        "mount -t overlay overlay -o lowerdir=$d/l,upperdir=$d/u,workdir=$d/w,userxattr $d/m"
    )
    return _works("bash", "-c", script)


def _works(*argv: str) -> bool:
    try:
        done = subprocess.run(argv, capture_output=True, timeout=20, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0
