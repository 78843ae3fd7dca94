"""Holding a tree still: all of it, not for longer than allowed, and as if nothing had been; by control group or by signals."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.engine.work.halting import Halt
from nightcrew.engine.work.live import Signals
from nightcrew.host.clock import SystemClock
from nightcrew.model.isolation import Level, Outcome, Process
from nightcrew.sandbox import tree
from nightcrew.sandbox.freezer import Freezer, Group, Groups, find_own_group, sweep_groups
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.live import Hold, LiveProcess
from sandbox_world import Recorder, World, processes_with, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


class NoGroups(Groups):
    """As for an ordinary user to whom no control group was delegated."""

    def __init__(self) -> None:
        super().__init__()
        self.homes = {}

    def make(self) -> None:
        return None


@pytest.fixture(params=["group", "signals"])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    groups = NoGroups() if request.param == "signals" else Groups()
    if request.param == "group":
        made = groups.make()
        if made is None:
            pytest.skip("no control group of version 2 may be made here")
        made.remove()
    with Launcher.start(groups=groups) as started:
        yield started


@pytest.fixture(params=[Level.S3, Level.S0], ids=lambda level: level.value)
def level(request: pytest.FixtureRequest) -> Level:
    chosen: Level = request.param
    return chosen


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


class Running:
    """A tree that runs in a thread of its own."""

    def __init__(self, launcher: Launcher, world: World, level: Level, script: str) -> None:
        self.session = Recorder()
        self.cancel = threading.Event()
        self.outcome: Outcome | None = None
        spec = world.spec("bash", "-c", script, level=level)

        def work() -> None:
            self.outcome = launcher.run(spec, self.session, cancel=self.cancel)

        self.thread = threading.Thread(target=work)
        self.thread.start()
        assert wait_until(lambda: bool(self.session.out), 20)
        self.process.prepare_to_freeze()

    @property
    def process(self) -> Process:
        assert self.session.process is not None
        return self.session.process

    def end(self) -> Outcome:
        self.cancel.set()
        self.thread.join(20)
        assert self.outcome is not None
        return self.outcome


def count(folder: Path) -> Callable[[], int]:
    return lambda: sum(path.stat().st_size for path in folder.glob("count.*"))


#: Four busy writers, one with a session of its own, one with a child that comes and goes.
WRITERS = (
    "for i in 1 2; do (while :; do echo x >> count.$i; done) & done; "
    'for i in 6 7; do setsid bash -c "while :; do echo x >> count.$i; done" & done; '
    "(while :; do /bin/echo x >> count.8; done) & echo started; wait"
)


def test_nothing_moves_while_it_is_held_and_all_goes_on_after(
    launcher: Launcher, world: World, level: Level
) -> None:
    running = Running(launcher, world, level, WRITERS)
    written = count(world.repo if level is Level.S0 else world.upper)
    assert wait_until(lambda: written() > 200, 20)
    whole = 0
    for _ in range(10):
        with running.process.frozen(2.0) as still:
            before = written()
            time.sleep(0.02)
            # On a busy machine it may not come to a stand in time: then it says so, and nobody relies on it.
            assert not still.whole or written() == before
            whole += still.whole
        assert still.over
        assert still.held_ms > 0
        assert wait_until(lambda before=before: written() > before, 10), "it does not go on"
    assert whole
    assert running.end().ending == "cancelled"


def test_it_is_never_held_longer_than_allowed(launcher: Launcher, world: World, level: Level) -> None:
    running = Running(launcher, world, level, WRITERS)
    written = count(world.repo if level is Level.S0 else world.upper)
    with running.process.frozen(0.05) as still:
        assert wait_until(lambda: still.over, 10)
        before = written()
        assert wait_until(lambda: written() > before, 10)
    running.end()


def test_a_held_tree_can_be_ended(launcher: Launcher, world: World, level: Level) -> None:
    mark = f"8{os.getpid()}{time.monotonic_ns() % 10**9}"
    running = Running(launcher, world, level, f"sleep {mark} & setsid sleep {mark} & echo started; wait")
    with running.process.frozen(2.0):
        running.process.stop("enough")
    running.thread.join(20)
    assert running.outcome is not None
    assert (running.outcome.ending, running.outcome.detail) == ("stopped", "enough")
    assert processes_with(mark) == []


def test_what_had_stopped_itself_stays_stopped(launcher: Launcher, world: World, level: Level) -> None:
    mark = f"7{os.getpid()}{time.monotonic_ns() % 10**9}"
    script = f"bash -c 'kill -STOP $$; exec sleep {mark}' & echo started; sleep 1{mark}; wait"
    running = Running(launcher, world, level, script)
    time.sleep(0.3)
    with running.process.frozen(2.0):
        time.sleep(0.01)
    time.sleep(0.3)
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_with(mark)]
    assert not any(command.startswith(b"sleep\0" + mark.encode()) for command in commands)
    running.end()


def test_no_group_is_left_behind(launcher: Launcher, world: World) -> None:
    Running(launcher, world, Level.S3, "echo started; sleep 60").end()
    home = find_own_group()
    assert home is None or not list(home.glob(f"nightcrew-{os.getpid()}-*"))


def start_tree(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a tree of this very process; its first process only waits."""
    process = subprocess.Popen(["bash", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline()
    try:
        yield process
    finally:
        os.killpg(process.pid, 9)
        process.wait()
        process.stdout.close()


def make_group_or_skip() -> Group:
    group = Groups().make()
    if group is None:
        pytest.skip("no control group of version 2 may be made here")
    return group


def test_a_process_that_nobody_reaps_holds_nothing_up() -> None:
    group = make_group_or_skip()
    # The shell starts one, then becomes a program that never asks how it ended.
    for process in start_tree("sleep 0.1 & echo started; exec sleep 60"):
        assert wait_until(lambda pid=process.pid: states_below(pid) == ["Z"], 10)
        adopting = threading.Thread(target=group.adopt, args=(process.pid,), daemon=True)
        adopting.start()
        adopting.join(20)
        assert not adopting.is_alive()
        assert group.freeze()
        group.thaw()
    group.remove()


def test_a_group_about_to_be_filled_is_not_swept_and_one_of_a_dead_process_is() -> None:
    group = make_group_or_skip()
    home = find_own_group()
    assert home is not None
    (dead := home / "nightcrew-4194305-0").mkdir()
    sweep_groups(home)
    assert not dead.exists()
    for process in start_tree("echo started; sleep 60"):
        group.adopt(process.pid)
        assert group.usable
    group.remove()


def test_what_lost_its_group_goes_on_all_the_same() -> None:
    group = make_group_or_skip()
    group.remove()

    class Lost(Groups):
        def make(self) -> Group:
            return group

    for process in start_tree("sleep 60 & sleep 60 & echo started; wait"):
        freezer = Freezer(process.pid, os.pidfd_open(process.pid), Lost())
        freezer.prepare()
        hold = Hold(freezer)
        assert set(states_below(process.pid)) == {"T"}
        hold.let_go()
        assert wait_until(lambda pid=process.pid: "T" not in states_below(pid), 10)


def test_nobody_stays_stopped_when_there_are_no_descriptors_left() -> None:
    for process in start_tree("for i in 1 2 3 4 5 6; do sleep 60 & done; echo started; wait"):
        freezer = Freezer(process.pid, os.pidfd_open(process.pid), None)
        with (
            no_descriptors(left=4),
            pytest.raises(OSError, match="Too many open files"),
        ):  # room for some of the six
            Hold(freezer)
        assert wait_until(lambda pid=process.pid: "T" not in states_below(pid), 10)


@contextmanager
def no_descriptors(left: int = 0) -> Iterator[None]:
    """Only so many more descriptors for this process: the next one is the lowest that is free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_that_nobody_can_tell_is_not_that_there_is_nobody() -> None:
    for process in start_tree("sleep 60 & echo started; wait"):
        with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
            tree.children_of(process.pid)
        with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
            tree.descendants_of(process.pid)
        assert len(tree.children_of(process.pid)) == 1
    assert tree.children_of(4194305) == []


def test_a_pause_ends_the_agent_also_when_it_cannot_be_held_still_first() -> None:
    signals = Signals()
    signals.pause.set()
    stdin, other = os.pipe()
    for process in start_tree("sleep 60 & echo started; wait"):
        live = LiveProcess(other)
        live.freeze_with(Freezer(process.pid, os.pidfd_open(process.pid), None))
        halt = Halt(signals, SystemClock())
        halt.begin(live, 0.0)
        with no_descriptors():
            halt.tick()
        assert halt.halted
        assert live.stop_reason == "paused"
        assert "T" not in states_below(process.pid)
        live.close()
    os.close(stdin)


def states_below(pid: int) -> list[str]:
    return [
        Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2][0] for each in tree.descendants_of(pid)
    ]
