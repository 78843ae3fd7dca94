"""Control groups: limits that the kernel keeps exactly, for a tree of any level, and nothing of them left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.isolation import Level
from nightcrew.sandbox import cgroups
from nightcrew.sandbox.cgroups import Group, Home, Mount
from nightcrew.sandbox.freezer import Groups
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import LIMITS, PYTHON, Ran, Recorder, World, processes_with, run, worlds

MIB = 1 << 20

BACKENDS = ("nightcrew", "bwrap", "landlock", "podman", "docker", "none")


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    groups = Groups()
    if not {cgroups.MEMORY, cgroups.PROCESSES, cgroups.CPUS} <= set(groups.homes):
        pytest.skip("no control group that limits memory, processes and processor time may be made here")
    with Launcher.start(groups=groups) as started:
        yield started


def attack(launcher: Launcher, world: World, level: Level, code: str, **limits: float) -> Ran:
    spec = world.spec(PYTHON, "-I", "-S", "-c", code, level=level, limits=replace(LIMITS, **limits))  # type: ignore[arg-type]
    return run(launcher, spec)


FORKS = """
import os, time
count = 0
try:
    while count < 300:
        if os.fork() == 0: time.sleep(30); os._exit(0)
        count += 1
except OSError: pass
print(count)
"""


@pytest.mark.needs_userns
@pytest.mark.needs_overlay
@pytest.mark.parametrize("level", [Level.S3, Level.S0], ids=str)
def test_processes_are_counted_by_the_kernel(launcher: Launcher, world: World, level: Level) -> None:
    ran = attack(launcher, world, level, FORKS, processes=40)
    assert int(ran.out) == 39, "one is the program itself; root has no other limit that exact"
    assert ran.outcome.ending == "exited"


@pytest.mark.needs_userns
@pytest.mark.needs_overlay
@pytest.mark.parametrize("level", [Level.S3, Level.S0], ids=str)
def test_memory_ends_at_the_limit(launcher: Launcher, world: World, level: Level) -> None:
    """In one step too large to be seen by anyone who only looks often: the kernel does not give the last page."""
    code = "x = b'x' * (600 << 20); print(len(x), flush=True); import time; time.sleep(20)"
    ran = attack(launcher, world, level, code, memory_bytes=100 * MIB)
    assert (ran.outcome.ending, ran.out) == ("memory", b""), ran.outcome
    assert ran.outcome.detail == f"more than {100 * MIB} bytes of memory in use"


@pytest.mark.needs_userns
@pytest.mark.needs_overlay
def test_a_child_that_was_killed_for_memory_is_not_passed_over(launcher: Launcher, world: World) -> None:
    """The program itself goes on and ends well; that is not a success with half of its work missing."""
    code = """
import os
if os.fork() == 0:
    x = b'x' * (600 << 20); os._exit(0)
os.wait(); print("all is well")
"""
    assert attack(launcher, world, Level.S3, code, memory_bytes=100 * MIB).outcome.ending == "memory"


@pytest.mark.needs_userns
@pytest.mark.needs_overlay
def test_processor_time_is_shared_out(launcher: Launcher, world: World) -> None:
    code = """
import os, resource, time
end = time.monotonic() + 1.0
for _ in range(3):
    if os.fork() == 0:
        while time.monotonic() < end: pass
        os._exit(0)
for _ in range(3): os.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime)
"""
    assert float(attack(launcher, world, Level.S3, code, cpus=0.3).out) < 0.3 + 0.2


def test_nothing_is_left_when_the_first_process_is_killed(launcher: Launcher, world: World) -> None:
    """By the machine's own out-of-memory killer, say: nobody below it is ours to find any more, but in the group."""
    seconds = f"7{os.getpid()}{time.monotonic_ns() % 10**6}"
    code = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: os.execv("/bin/sleep", ["sleep", "{seconds}"])
    os._exit(0)
os.wait(); print(os.getppid(), flush=True); time.sleep(60)
"""
    session = Recorder(on_data=lambda _process, data: os.kill(int(data), signal.SIGKILL))
    spec = world.spec(PYTHON, "-I", "-S", "-c", code, level=Level.S0)
    assert launcher.run(spec, session, cancel=threading.Event()).ending == "lost"
    assert processes_with(seconds) == []


@pytest.mark.needs_userns
@pytest.mark.needs_overlay
def test_groups_come_and_go(world: World) -> None:
    groups = Groups()
    if not groups.homes:
        pytest.skip("no control group may be made here")
    seen: list[set[str]] = []
    with Launcher.start(groups=groups) as launcher:
        session = Recorder(on_start=lambda _: seen.append(names_of(groups)))
        spec = world.spec("true")
        launcher.run(spec, session, cancel=threading.Event())
        assert seen[0], "it ran in one"
    assert names_of(groups) == set(), "the spare's too"


def names_of(groups: Groups) -> set[str]:
    folders = {home.path for home in groups.homes.values()}
    return {name for folder in folders for name in os.listdir(folder) if name.startswith(groups.prefix)}


def test_what_a_killed_nightcrew_left_is_swept() -> None:
    homes = cgroups.find_homes()
    if not homes:
        pytest.skip("no control group may be made here")
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = Group(homes, f"{cgroups.PREFIX}{dead.pid}-killed-1")
    left.make()
    living = Group(homes, f"{cgroups.PREFIX}{os.getpid()}-living-1")
    living.make()
    try:
        cgroups.sweep(homes)
        assert not any(os.path.exists(folder) for folder in left.folders)
        assert all(os.path.exists(folder) for folder in living.folders)
    finally:
        living.remove()
    assert not any(os.path.exists(folder) for folder in living.folders)


# -- version 2, in a folder that has the files of one: no machine of ours hands its controllers down


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A session below systemd's user manager: our group has processes in it, the slice above hands down."""
    own = tmp_path / "app.slice" / "terminal.scope"
    own.mkdir(parents=True)
    for folder, controllers in ((own, ""), (own.parent, "memory pids"), (tmp_path, "cpu memory pids")):
        (folder / "cgroup.subtree_control").write_text(f"{controllers}\n")
        (folder / "cgroup.procs").write_text("")
    return tmp_path


def test_version_2_is_used_where_controllers_are_handed_down(session: Path) -> None:
    homes = cgroups.find_homes([Mount(str(session), 2, (), "/app.slice/terminal.scope")])
    slice_ = str(session / "app.slice")
    assert homes == {"memory": Home(slice_, 2), "pids": Home(slice_, 2)}
    group = Group(homes, "nightcrew-1-a-1")
    group.make()
    place = Path(slice_, "nightcrew-1-a-1")
    for name in ("memory.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.procs"):
        (place / name).write_text("")
    assert group.limit(7, memory_bytes=5 * MIB, processes=9, cpus=1.5) == ("memory", "pids"), (
        "not the processor"
    )
    assert (place / "memory.max").read_text() == str(5 * MIB)
    assert (place / "memory.oom.group").read_text() == "1"
    assert (place / "pids.max").read_text() == "10", "one is the first process of the tree, which is ours"
    assert (place / "cpu.max").read_text() == ""
    assert group.freezer == str(place), "one group does both"
    (place / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n")
    assert group.count_memory_kills() == 3
    doors = group.open_doors()
    assert cgroups.enter(doors)
    assert (place / "cgroup.procs").read_text() == "0", "once, for both"


def test_no_limit_is_promised_where_there_is_none(session: Path) -> None:
    (session / "app.slice" / "cgroup.subtree_control").write_text("\n")
    homes = cgroups.find_homes([Mount(str(session), 2, (), "/app.slice/terminal.scope")])
    assert homes == {}
    told = cgroups.describe_limits(homes, "nightcrew", processes_bounded=True)
    assert told["processes"] == "exact (kernel, RLIMIT_NPROC)"
    assert told["memory"].startswith("watched")
    assert told["cpus"].startswith("not kept")
    unbounded = "how many files lie there is not bounded"
    kept = {
        each: cgroups.describe_limits(homes, each, processes_bounded=True)["scratch"] for each in BACKENDS
    }
    assert {each for each, words in kept.items() if unbounded in words} == {"bwrap", "podman", "docker"}


def test_a_switch_that_is_missing_is_not_a_limit(session: Path) -> None:
    group = Group(
        {"cpu": Home(str(session), 1)}, "nightcrew-1-b-1"
    )  # never made: nothing of it can be written
    assert group.limit(os.getpid(), memory_bytes=1, processes=1, cpus=0.5) == ()
    assert group.count_memory_kills() == 0
