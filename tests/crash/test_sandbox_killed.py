"""``kill -9`` of the process that holds the launcher: everything confined is gone within two seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sandbox_world import World, processes_with, python_for, users, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

HOLDER = """
import os, sys, threading
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from nightcrew.model.isolation import Level, Overlay, SandboxSpec
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import Recorder
level, seconds, repo, lower, upper, work = sys.argv[3:]
script = (
    f"(setsid bash -c 'trap \\"\\" TERM HUP; (exec -a daemon-{seconds} sleep {seconds}) </dev/null >/dev/null 2>&1 &' &)"
    f"; echo ready; exec sleep {seconds}"
)
overlays = () if level == "S0" else (Overlay(repo, (lower,), upper, work),)
spec = SandboxSpec(("bash", "-c", script), repo, {"PATH": "/usr/bin:/bin"}, overlays, level=Level(level))
session = Recorder(on_data=lambda *_: print("ready", flush=True))
launcher = Launcher.start()
threading.Thread(target=lambda: launcher.run(spec, session, cancel=threading.Event())).start()
"""


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "user")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(request.param)


@pytest.mark.parametrize("level", ["S3", "S0"])
def test_nothing_survives_its_holder(world: World, level: str) -> None:
    tests = Path(__file__).resolve().parents[1]
    seconds = f"6{os.getpid()}{time.monotonic_ns() % 10**6}"
    spec = world.spec("true")
    overlay = spec.overlays[0]
    other = {} if world.uid == os.getuid() else {"user": world.uid, "group": world.uid, "extra_groups": []}
    words = [level, seconds, overlay.target, overlay.lowers[0], overlay.upper, overlay.work]
    holder = subprocess.Popen(  # type: ignore[call-overload]
        [python_for(world.uid), "-c", HOLDER, str(tests), str(tests.parent / "src"), *words],
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
        **other,
    )
    try:
        assert holder.stdout.readline() == b"ready\n"
        # The holder's own command line has the number in it too.
        assert wait_until(lambda: len(processes_with(f"daemon-{seconds}")) >= 1)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert wait_until(lambda: processes_with(seconds) == [], 2.0), processes_with(seconds)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
