"""Spares and the first processes on their way out: what a start finds ready, and what it need not wait for."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.isolation import Overlay
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.zygote import SPARES
from sandbox_world import Recorder, World, processes_with, run, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


def _children(launcher: Launcher) -> list[str]:
    zygote = launcher._zygote
    assert zygote is not None
    place = Path(f"/proc/{zygote.process.pid}/task/{zygote.process.pid}/children")
    return place.read_text().split()


def test_as_many_lie_ready_after_many_starts_at_once(world: World) -> None:
    with Launcher.start() as launcher:
        said: list[bytes] = []

        def start() -> None:
            said.append(run(launcher, world.spec("echo", "here")).out)

        threads = [threading.Thread(target=start) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [b"here\n"] * 20
        assert wait_until(lambda: len(_children(launcher)) == SPARES)


def test_what_is_cancelled_before_it_has_a_process_takes_none_away(world: World) -> None:
    with Launcher.start() as launcher:
        cancel = threading.Event()
        cancel.set()
        for _ in range(2 * SPARES):
            outcome = launcher.run(world.spec("sleep", "60"), Recorder(), cancel=cancel)
            assert outcome.ending == "cancelled"
        assert run(launcher, world.spec("echo", "again")).out == b"again\n"
        assert wait_until(lambda: len(_children(launcher)) == SPARES)


def test_what_a_program_leaves_behind_is_gone_when_the_run_is(world: World) -> None:
    """Then the first process has more to end than itself, and is waited for."""
    with Launcher.start() as launcher:
        mark = f"{1000 + time.monotonic_ns() % 10**9 / 10**9:.9f}"
        spec = world.spec("bash", "-c", f"(setsid sleep {mark} >/dev/null 2>&1 &) ; sleep 0.1")
        assert run(launcher, spec).outcome.ending == "exited"
        assert processes_with(mark) == []


def test_one_upper_directory_is_never_mounted_twice(world: World, tmp_path: Path) -> None:
    """A run that ends says so before its mounts are gone; who mounts the same directory waits for that."""
    places = {name: tmp_path / name for name in ("lower", "upper")}
    for place in places.values():
        place.mkdir()
    with Launcher.start() as launcher:
        for number in range(10):
            work = tmp_path / f"work-{number}"
            work.mkdir()
            overlay = Overlay("/layer", (str(places["lower"]),), str(places["upper"]), str(work))
            spec = replace(
                world.spec("bash", "-c", f"cat /layer/* 2>/dev/null ; echo {number} > /layer/{number}"),
                overlays=(overlay,),
                cwd="/",
            )
            heard = run(launcher, spec)
            assert heard.outcome.ending == "exited"
            assert heard.out == b"".join(b"%d\n" % n for n in range(number))
        launcher._leaving.wait_for(spec)
        assert launcher._leaving._busy({str(places["upper"])}) == 0


def test_descriptors_above_a_thousand_are_served(world: World) -> None:
    """``select`` cannot wait for those."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("this machine does not allow that many open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    held = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(1100)]
    try:
        with Launcher.start() as launcher:
            assert run(launcher, world.spec("echo", "far")).out == b"far\n"
            assert run(launcher, world.spec("bash", "-c", "kill -9 $$")).outcome.ending == "exited"
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
