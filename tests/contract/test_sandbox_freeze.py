"""Holding a tree still: all of it, not for longer than allowed, and as if nothing had been; by control group or by signals."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.isolation import Level, Outcome, Process
from nightcrew.sandbox.freezer import Groups, find_own_group
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import Recorder, World, processes_with, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


class NoGroups(Groups):
    """As for an ordinary user to whom no control group was delegated."""

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
