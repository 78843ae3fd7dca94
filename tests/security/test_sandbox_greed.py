"""Taking more than was given: processes, memory, disk, time. The sandbox ends; the host does not notice."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.host import kernel
from sandbox_world import LIMITS, World, processes_with, users, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

MIB = 1 << 20


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "user")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(request.param)


def count_processes() -> int:
    return sum(name.isdigit() for name in os.listdir("/proc"))


@pytest.mark.skipif(
    kernel.version() < (6, 14), reason="kernel.pid_max is not per namespace before Linux 6.14"
)
def test_a_fork_bomb_stays_small_and_ends(world: World) -> None:
    before = count_processes()
    seconds = f"8{time.monotonic_ns() % 10**9}"
    began = time.monotonic()
    ran = world.attack(
        f"""
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep({seconds})
        made += 1
except BlockingIOError:
    pass
tell(made=made)
while True:
    try:
        os.fork()
    except BlockingIOError:
        pass
""",
        limits=replace(LIMITS, processes=100, memory_bytes=0, hard_s=2.0),
    )
    assert ran.outcome.ending == "hard_timeout"
    assert 90 <= ran.told["made"] <= (400 if world.uid == 0 else 100)
    assert time.monotonic() - began < 15
    assert wait_until(lambda: count_processes() <= before + 10)


@pytest.mark.parametrize("way", ["private", "shared", "swarm"])
def test_a_memory_hog_is_ended(world: World, way: str) -> None:
    hogs = {
        "private": "x = []\nwhile True: x.append(bytearray(4 << 20))",
        "shared": "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 4 << 20); m.write(b'x' * (4 << 20)); x.append(m)",
        "swarm": "for _ in range(20):\n    if os.fork() == 0: break\nx = bytearray(20 << 20)\ntime.sleep(30)",
    }
    ran = world.attack(hogs[way], limits=replace(LIMITS, memory_bytes=200 * MIB))
    assert ran.outcome.ending == "memory", ran.outcome
    assert ran.outcome.duration_s < 10


def test_temporary_files_are_bounded_memory(world: World) -> None:
    found = world.attack(
        """
def fill(path):
    with open(path, "wb") as file:
        while True:
            file.write(bytes(1 << 20))
            file.flush()
tell(tmp=attempt(fill, "/tmp/fill"), shm=attempt(fill, "/dev/shm/fill"), home=attempt(fill, os.path.expanduser("~/fill")),
     size=sum(os.stat(p).st_size for p in ("/tmp/fill", "/dev/shm/fill", os.path.expanduser("~/fill"))))
""",
        limits=replace(LIMITS, memory_bytes=128 * MIB),
    ).told
    assert {found["tmp"], found["shm"], found["home"]} == {"ENOSPC"}
    assert found["size"] <= 64 * MIB, "all of them share one pool of half the memory limit"


def test_a_disk_filler_is_ended(world: World) -> None:
    ran = world.attack(
        """
for number in range(1000):
    with open(f"fill-{number}", "wb") as file:
        file.write(os.urandom(1 << 20) * 8)
time.sleep(30)
""",
        limits=replace(LIMITS, disk_bytes=64 * MIB),
    )
    assert ran.outcome.ending == "disk", ran.outcome
    written = sum(path.stat().st_blocks * 512 for path in world.upper.rglob("*"))
    assert written < 1000 * MIB


def test_a_filler_with_deleted_files_is_ended(world: World) -> None:
    """Space without a name: no walk finds it."""
    ran = world.attack(
        """
files = []
for number in range(40):
    file = open("fill", "wb"); os.remove("fill"); files.append(file)
    file.write(os.urandom(1 << 20) * 8); file.flush()
time.sleep(30)
""",
        limits=replace(LIMITS, disk_bytes=64 * MIB),
    )
    assert ran.outcome.ending == "disk", ran.outcome
    assert "deleted" in ran.outcome.detail


def test_a_maker_of_many_files_is_ended(world: World) -> None:
    ran = world.attack(
        """
for number in range(200_000):
    if number % 1000 == 0: os.mkdir(f"d{number // 1000}")
    open(f"d{number // 1000}/f{number}", "w").close()
time.sleep(30)
""",
        limits=replace(LIMITS, inodes=2000),
    )
    assert ran.outcome.ending == "disk", ran.outcome
    assert "2000 files" in ran.outcome.detail


def test_one_huge_file_is_refused(world: World) -> None:
    found = world.attack(
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def grow():
    with open("big", "wb") as file:
        file.truncate(1 << 40)
tell(sparse=attempt(grow))
""",
        limits=replace(LIMITS, file_bytes=MIB),
    ).told
    assert found["sparse"] == "EFBIG"


def test_a_daemon_does_not_outlive_its_run(world: World) -> None:
    seconds = f"7{time.monotonic_ns() % 10**9}"
    ran = world.attack(
        f"""
import subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        os.execv("/bin/sleep", ["sleep", "{seconds}"])
    os._exit(0)
os.wait()
time.sleep(0.3)
tell(running=[n for n in os.listdir("/proc") if n.isdigit() and "{seconds}" in read(f"/proc/{{n}}/cmdline")])
"""
    )
    assert len(ran.told["running"]) >= 1
    assert processes_with(seconds) == []
