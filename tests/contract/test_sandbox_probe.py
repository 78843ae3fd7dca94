"""The self-test: what it says is what this host does, also on hosts that can do less."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.host.procs import run as run_program
from nightcrew.model.isolation import Level
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import World, run, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]
TESTS = Path(__file__).resolve().parents[1]

#: What containers do to /proc, with a file that every kernel has.
COVER = "mount --bind /dev/null /proc/uptime"
REPORT = f"""
import json, sys
from pathlib import Path
sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent / "src")!r}]
from nightcrew.model.canonical import to_plain
from nightcrew.sandbox.launcher import Launcher
with Launcher.start() as launcher:
    print(json.dumps(to_plain(launcher.probe(Path(sys.argv[1])))))
"""


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


def report_in(world: World, setup: str) -> dict[str, object]:
    """Return the report of a process for which the host was changed by ``setup`` (shell, in own mounts)."""
    script = f'{setup}\nexec "$0" -c "$1" "$2"'
    argv = [
        "unshare",
        "-m",
        "--propagation",
        "private",
        "sh",
        "-ec",
        script,
        sys.executable,
        REPORT,
        str(world.state),
    ]
    done = run_program(argv, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, timeout_s=60)
    assert done.code == 0, done.stderr.decode()
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_this_host(world: World) -> None:
    with Launcher.start() as launcher:
        first = launcher.probe(world.state)
        began = time.monotonic()
        second = launcher.probe(world.state)
        took_s = time.monotonic() - began
    assert first == second
    assert first.level is Level.S3
    assert (first.missing, first.fixes, first.overlay) == ((), (), True)
    assert len(first.holds) == 8
    assert took_s < 1.0, "cheap enough for every start; 15 ms on an idle machine"
    assert [path for path in world.state.iterdir() if path.name.startswith("probe")] == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to cover a part of /proc, as a container does")
def test_a_covered_proc_is_s2(world: World) -> None:
    found = report_in(world, COVER)
    assert found["level"] == "S2"
    assert found["missing"] == ["the host's processes are not visible"]
    assert found["overlay"] is True
    assert "Operation not permitted" in str(found["details"]["S3 with overlay"])


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to mount an overlay to put the state directory on")
def test_a_state_directory_that_takes_no_overlay(world: World) -> None:
    setup = f"cd {world.root}; mkdir l u w; mount -t overlay overlay -o lowerdir=l,upperdir=u,workdir=w {world.state}; cd /"
    found = report_in(world, setup)
    assert (found["level"], found["overlay"]) == ("S3", False)
    assert found["missing"] == ["copy-on-write shadow of the repository"]
    assert "XDG_STATE_HOME" in str(found["fixes"])
    (world.root / "w" / "work").chmod(0o700)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to cover a part of /proc, as a container does")
def test_what_s2_leaks_and_what_not(world: World) -> None:
    """The host's process list is readable; the processes themselves are as far away as with S3."""
    host = os.getpid()
    found = world.attack(
        """
host = facts["host"]
tell(status=attempt(read, f"/proc/{host}/status"),
     inner=[attempt(read, f"/proc/{host}/{name}") for name in ("environ", "maps", "mem", "stack")],
     links=[attempt(os.readlink, f"/proc/{host}/{name}") for name in ("root", "cwd", "exe", "fd/0")],
     root=attempt(os.listdir, f"/proc/{host}/root/"), kill=attempt(os.kill, host, 0),
     writes=[attempt(write, f"/proc/{name}") for name in ("sys/kernel/core_pattern", "sysrq-trigger",
                                                           f"{host}/oom_score_adj", "self/oom_score_adj")])
""",
        level=Level.S2,
        prefix=["unshare", "-m", "sh", "-ec", f'{COVER}; exec "$@"', "sh"],
        host=host,
    ).told
    assert found["status"] == "OK", "this is the leak that makes it S2"
    blocked = {*found["inner"], *found["links"], found["root"], found["kill"], *found["writes"]}
    assert "OK" not in blocked, found


def test_asked_for_more_than_there_is(world: World) -> None:
    """S2 where S3 works: it builds the stronger one."""
    with Launcher.start() as launcher:
        ran = run(launcher, world.spec("bash", "-c", "ls /proc | grep -c '^[0-9]'", level=Level.S2))
    assert int(ran.out) <= 5
