"""The whole job without being root: plan, shadow, sandbox, review, promotion and undo as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
LIBRARIES = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
UID = 12346
"""A user that nobody is: no entry in passwd, no home, no group of anybody."""


@pytest.fixture
def place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nightcrew-ordinary-", dir="/var/tmp"))
    os.chown(folder, UID, UID)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def find_interpreter() -> str:
    """Return an interpreter of this version that the ordinary user can start, with our libraries in its reach."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", "/usr/bin/python3"):
        probe = (
            f"import sys; assert '%d.%d' % sys.version_info[:2] == {version!r}; import nightcrew, sqlalchemy"
        )
        done = as_ordinary_user([candidate, "-c", probe], Path("/"), timeout_s=30)
        if done is not None and done.returncode == 0:
            return candidate
    return ""


def as_ordinary_user(
    argv: list[str], home: Path, timeout_s: float
) -> subprocess.CompletedProcess[str] | None:
    env = {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": f"{SOURCE}:{LIBRARIES}",
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
    }
    try:
        return subprocess.run(
            argv,
            env=env,
            cwd=home,
            user=UID,
            group=UID,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except (PermissionError, FileNotFoundError):
        # It is not there, or its folder is closed to others: not an interpreter for this user.
        return None


@pytest.mark.needs_root
@pytest.mark.needs_userns
@pytest.mark.needs_overlay
def test_the_demo_does_what_it_says_as_an_ordinary_user(place: Path) -> None:
    python = find_interpreter()
    if not python:
        pytest.skip("no interpreter of this version that an ordinary user can start")
    done = as_ordinary_user([python, "-m", "nightcrew", "demo"], place, timeout_s=150)
    assert done is not None
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "isolation S3" in done.stdout
    assert "checked: the repository is exactly what it was" in done.stdout
    assert "intact" in done.stdout


@pytest.mark.needs_root
@pytest.mark.needs_userns
@pytest.mark.needs_overlay
@pytest.mark.parametrize("backend", ["nightcrew", "bwrap", "landlock"])
def test_the_self_check_holds_as_an_ordinary_user(place: Path, backend: str) -> None:
    """By each back end: where no control group counts for an ordinary user, other walls have to hold than for root."""
    python = find_interpreter()
    if not python:
        pytest.skip("no interpreter of this version that an ordinary user can start")
    if backend == "bwrap" and shutil.which("bwrap") is None:
        pytest.skip("needs bwrap: apt install bubblewrap")
    words = ["-m", "nightcrew", "doctor", "--attack", "--backend", backend, "--json"]
    done = as_ordinary_user([python, *words], place, timeout_s=150)
    assert done is not None
    if backend == "landlock" and done.returncode == 11:
        pytest.skip("needs Landlock")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    findings = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    broken = [name for name, each in findings.items() if each["promised"] and not each["held"]]
    assert broken == []
    # No control group is to be had, and that is said instead of promised.
    assert "no control group" in findings["burn_cpu"]["why"]
    state = place / ".local/state/nightcrew"
    assert [each.name for each in state.iterdir() if each.name.startswith(("probe-", "attack-"))] == []
