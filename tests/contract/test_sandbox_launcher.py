"""What every launcher level promises: streams, limits, deadlines, endings, and that nothing is left alive."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Confinement, Level, Process
from nightcrew.sandbox.freezer import Groups
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.zygote import SPARES
from sandbox_world import LIMITS, PYTHON, Recorder, World, processes_with, run, wait_until, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher.start() as started:
        yield started


@pytest.fixture(params=[Level.S3, Level.S2, Level.S0], ids=lambda level: level.value)
def level(request: pytest.FixtureRequest) -> Level:
    chosen: Level = request.param
    return chosen


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


def mark() -> str:
    """Return a number of seconds that no other process sleeps for: how a test finds its own leftovers."""
    return f"9{os.getpid()}{time.monotonic_ns() % 10**9}"


# -- what runs


def test_exit_codes(launcher: Launcher, world: World, level: Level) -> None:
    for command, code in (("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)):
        outcome = run(launcher, world.spec("bash", "-c", command, level=level)).outcome
        assert (outcome.ending, outcome.exit_code) == ("exited", code), command


def test_programs_that_cannot_start(launcher: Launcher, world: World, level: Level) -> None:
    missing = run(launcher, world.spec("no-such-program", level=level))
    assert (missing.outcome.ending, missing.outcome.exit_code) == ("exited", 127)
    assert "no-such-program" in missing.outcome.detail
    assert b"no-such-program" in missing.err
    denied = run(launcher, world.spec("/etc/hosts", level=level)).outcome
    assert (denied.ending, denied.exit_code) == ("exited", 126)
    no_folder = run(launcher, world.spec("true", cwd="/no/such/folder", level=level)).outcome
    assert no_folder.exit_code == 127
    assert "/no/such/folder" in no_folder.detail


def test_environment_is_exactly_what_was_given(launcher: Launcher, world: World, level: Level) -> None:
    env = {"PATH": "/usr/bin:/bin", "ODD": "a=b\nc", "BYTES": os.fsdecode(b"\xff\xfe")}
    ran = run(launcher, world.spec("env", "-0", env=env, level=level))
    assert sorted(ran.out.split(b"\0")[:-1]) == sorted(
        [b"PATH=/usr/bin:/bin", b"ODD=a=b\nc", b"BYTES=\xff\xfe"]
    )


def test_arguments_and_names_of_any_bytes(launcher: Launcher, world: World, level: Level) -> None:
    words = ["", "two words", "new\nline", os.fsdecode(b"\xe9\xff"), "日本", "x" * 100_000]
    ran = run(launcher, world.spec("printf", "%s\\0", *words, level=level))
    assert ran.out.split(b"\0")[:-1] == [os.fsencode(word) for word in words]


def test_shadow_at_an_odd_path(launcher: Launcher, world: World) -> None:
    odd = world.home / os.fsdecode(b"a,b:c\\d \n\xff")
    for folder in (odd / "lower", odd / "upper", odd / "work"):
        folder.mkdir(parents=True)
    (odd / "lower" / "file").write_text("there")
    spec = world.spec("bash", "-c", "cat file; echo new > new")
    overlay = replace(
        spec.overlays[0],
        target=str(odd / "repo"),
        lowers=(str(odd / "lower"),),
        upper=str(odd / "upper"),
        work=str(odd / "work"),
    )
    ran = run(launcher, replace(spec, overlays=(overlay,), cwd=overlay.target))
    assert ran.out == b"there"
    assert (odd / "upper" / "new").read_text() == "new\n"
    (odd / "work" / "work").chmod(0o700)


# -- streams


def test_input_reaches_it_and_ends(launcher: Launcher, world: World, level: Level) -> None:
    ran = run(launcher, world.spec("cat", level=level), Recorder(stdin=b"hello\n\x00\xff"))
    assert ran.out == b"hello\n\x00\xff"


def test_both_directions_at_once_never_deadlock(launcher: Launcher, world: World, level: Level) -> None:
    sent = os.urandom(1 << 20) * 8
    ran = run(launcher, world.spec("cat", level=level), Recorder(stdin=sent))
    assert ran.outcome.exit_code == 0
    assert bytes(ran.out) == sent


def test_a_process_that_does_not_read_its_input(launcher: Launcher, world: World, level: Level) -> None:
    ran = run(
        launcher,
        world.spec("bash", "-c", "exec <&-; sleep 0.2; echo done", level=level),
        Recorder(b"x" * 5_000_000),
    )
    assert (ran.outcome.exit_code, ran.out) == (0, b"done\n")


def test_a_conversation(launcher: Launcher, world: World, level: Level) -> None:
    """Answers depend on what was said before, as in a protocol."""

    def answer(process: Process, data: bytes) -> None:
        for _ in range(data.count(b"?")):
            process.write(b"yes\n")

    session = Recorder(stdin=None, on_data=answer)
    ran = run(
        launcher,
        world.spec("bash", "-c", "for i in 1 2 3; do echo ?; read a; echo $a$i; done", level=level),
        session,
    )
    assert ran.out == b"?\nyes1\n?\nyes2\n?\nyes3\n"


def test_streams_are_kept_apart(launcher: Launcher, world: World, level: Level) -> None:
    ran = run(launcher, world.spec("bash", "-c", "echo out; echo err >&2", level=level))
    assert (ran.out, ran.err) == (b"out\n", b"err\n")


def test_one_endless_line_is_bounded(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, output_bytes=100_000)
    ran = run(launcher, world.spec("head", "-c", "200000000", "/dev/zero", level=level, limits=limits))
    assert ran.outcome.exit_code == 0, "more output is dropped, not blocked"
    assert len(ran.out) == 100_000
    assert ran.outcome.output_bytes == 200_000_000
    assert ran.outcome.dropped_bytes == 199_900_000


def test_output_before_a_daemon_lets_go_of_the_pipe(launcher: Launcher, world: World, level: Level) -> None:
    """The main process ends; a child keeps stdout open. The outcome is there at once, with all that was said."""
    seconds = mark()
    began = time.monotonic()
    ran = run(launcher, world.spec("bash", "-c", f"echo said; sleep {seconds} & exit 3", level=level))
    assert (ran.outcome.exit_code, ran.out) == (3, b"said\n")
    assert time.monotonic() - began < 5
    assert processes_with(seconds) == []


# -- endings


def test_hard_timeout_with_children_that_hold_everything_open(
    launcher: Launcher, world: World, level: Level
) -> None:
    seconds = mark()
    limits = replace(LIMITS, hard_s=0.5)
    script = f"(sleep {seconds} &) ; setsid sleep {seconds} & nohup sleep {seconds}"
    began = time.monotonic()
    outcome = run(launcher, world.spec("bash", "-c", script, level=level, limits=limits)).outcome
    assert (outcome.ending, outcome.exit_code) == ("hard_timeout", None)
    assert time.monotonic() - began < 3
    assert processes_with(seconds) == []


def test_term_comes_first_and_reaches_the_whole_tree(launcher: Launcher, world: World, level: Level) -> None:
    script = "trap 'echo outer; exit' TERM; bash -c 'trap \"echo inner; exit\" TERM; while :; do sleep 0.05; done' & wait"
    limits = replace(LIMITS, hard_s=0.7, grace_s=5)
    ran = run(launcher, world.spec("bash", "-c", script, level=level, limits=limits))
    assert ran.outcome.ending == "hard_timeout"
    assert b"outer" in ran.out
    assert ran.outcome.duration_s < 4


def test_ignoring_term_helps_until_the_grace_is_over(launcher: Launcher, world: World, level: Level) -> None:
    seconds = mark()
    limits = replace(LIMITS, hard_s=0.5, grace_s=0.5)
    script = f"trap '' TERM; while :; do sleep {seconds}; done"
    outcome = run(launcher, world.spec("bash", "-c", script, level=level, limits=limits)).outcome
    assert outcome.ending == "hard_timeout"
    assert 0.9 < outcome.duration_s < 3
    assert processes_with(seconds) == []


def test_idle_timeout_counts_from_the_last_output(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, idle_s=0.6)
    script = "for i in 1 2 3 4; do sleep 0.3; echo $i; done; sleep 60"
    ran = run(launcher, world.spec("bash", "-c", script, level=level, limits=limits))
    assert ran.outcome.ending == "idle_timeout"
    assert ran.out == b"1\n2\n3\n4\n"


def test_cancel_is_quick(launcher: Launcher, world: World, level: Level) -> None:
    cancel = threading.Event()
    cancelled_at: list[float] = []

    def soon(_: Process) -> None:
        threading.Timer(0.3, lambda: (cancelled_at.append(time.monotonic()), cancel.set())).start()

    outcome = run(
        launcher, world.spec("sleep", "60", level=level), Recorder(on_start=soon), cancel=cancel
    ).outcome
    assert outcome.ending == "cancelled"
    assert time.monotonic() - cancelled_at[0] < 1.0


def test_a_session_can_stop_it_and_hears_nothing_more(launcher: Launcher, world: World, level: Level) -> None:
    seconds = mark()
    session = Recorder(on_data=lambda process, _: process.stop("an action must wait"))
    script = f"trap '' TERM; sleep {seconds} & echo one; sleep 0.5; echo two; sleep {seconds}"
    ran = run(launcher, world.spec("bash", "-c", script, level=level), session)
    assert (ran.outcome.ending, ran.outcome.detail) == ("stopped", "an action must wait")
    assert ran.out == b"one\n"
    assert processes_with(seconds) == []


def test_a_session_can_be_spoken_to_from_another_thread(
    launcher: Launcher, world: World, level: Level
) -> None:
    def later(process: Process) -> None:
        threading.Timer(0.3, lambda: (process.write(b"late\n"), process.close_stdin())).start()

    ran = run(launcher, world.spec("cat", level=level), Recorder(stdin=None, on_start=later))
    assert ran.out == b"late\n"


def test_calls_after_the_end_do_nothing(launcher: Launcher, world: World, level: Level) -> None:
    session = Recorder()
    run(launcher, world.spec("true", level=level), session)
    assert session.process is not None
    session.process.write(b"too late")
    session.process.close_stdin()
    session.process.stop("too late")


@pytest.mark.parametrize("moment", ["started", "feed"])
def test_a_session_that_fails_leaves_nothing_behind(
    launcher: Launcher, world: World, level: Level, moment: str
) -> None:
    class Bad(Recorder):
        def started(self, process: Process) -> None:
            if moment == "started":
                raise ZeroDivisionError("a defect in a session")

        def feed(self, stream: object, data: bytes) -> None:
            raise ZeroDivisionError("a defect in a session")

    seconds = mark()
    with pytest.raises(ZeroDivisionError):
        run(launcher, world.spec("bash", "-c", f"echo x; sleep {seconds}", level=level), Bad())
    assert wait_until(lambda: processes_with(seconds) == [])


def test_memory_limit(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, memory_bytes=128 << 20)
    hog = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ran = run(launcher, world.spec(PYTHON, "-c", hog, level=level, limits=limits))
    assert ran.outcome.ending == "memory"
    assert "134217728" in ran.outcome.detail


def test_memory_is_that_of_the_whole_tree(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, memory_bytes=160 << 20)
    hog = "import os, time\nfor _ in range(5):\n  if os.fork() == 0: break\nx = bytearray(40 << 20)\ntime.sleep(20)"
    assert run(launcher, world.spec(PYTHON, "-c", hog, level=level, limits=limits)).outcome.ending == "memory"


def test_memory_shared_by_many_counts_once(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, memory_bytes=160 << 20)
    sharing = (
        "import mmap, os, time\nm = mmap.mmap(-1, 60 << 20)\nm.write(b'x' * (60 << 20))\n"
        "os.fork(); os.fork()\nsum(m[n] for n in range(0, 60 << 20, 4096))\ntime.sleep(0.5)"
    )
    outcome = run(launcher, world.spec(PYTHON, "-c", sharing, level=level, limits=limits)).outcome
    assert outcome.ending == "exited", outcome.detail


def test_limits_that_programs_inherit(launcher: Launcher, world: World, level: Level) -> None:
    limits = replace(LIMITS, open_files=77, file_bytes=1 << 20)
    script = "ulimit -n; ulimit -c; head -c 2000000 /dev/zero > big; stat -c %s big"
    ran = run(launcher, world.spec("bash", "-c", script, level=level, limits=limits))
    assert ran.out.split() == [b"77", b"0", b"1048576"]


def test_many_at_once(launcher: Launcher, world: World, level: Level) -> None:
    results: dict[int, bytes] = {}

    def one(number: int) -> None:
        spec = specs[number]
        results[number] = run(launcher, spec).out

    specs = [
        world.spec("bash", "-c", f"sleep 0.2; echo {n}", level=level, overlays=(), cwd="/tmp")
        for n in range(8)
    ]
    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == {n: f"{n}\n".encode() for n in range(8)}


def test_nothing_is_leaked(launcher: Launcher, world: World, level: Level) -> None:
    run(launcher, world.spec("true", level=level))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        run(launcher, world.spec("bash", "-c", "echo x", level=level))
        run(launcher, world.spec("no-such-program", level=level))
    assert len(os.listdir("/proc/self/fd")) == before


# -- when things die


def test_a_dead_zygote_loses_its_runs_and_is_replaced(world: World, level: Level) -> None:
    seconds = mark()
    with Launcher.start() as launcher:
        zygote = launcher._zygote
        assert zygote is not None

        def murder(_: Process) -> None:
            threading.Timer(0.2, zygote.process.kill).start()

        outcome = run(
            launcher, world.spec("bash", "-c", f"sleep {seconds}", level=level), Recorder(on_start=murder)
        ).outcome
        assert outcome.ending == "lost"
        assert wait_until(lambda: processes_with(seconds) == [], 2)
        assert run(launcher, world.spec("echo", "again", level=level)).out == b"again\n"


def test_a_dead_spare_is_replaced(world: World) -> None:
    with Launcher.start() as launcher:
        run(launcher, world.spec("true"))
        launcher._leaving.wait_for_all()  # or the first process of that run would count as one that waits
        zygote = launcher._zygote
        assert zygote is not None
        children = Path(f"/proc/{zygote.process.pid}/task/{zygote.process.pid}/children")
        assert wait_until(lambda: len(children.read_text().split()) == SPARES), (
            "as many spares wait as are to"
        )
        for spare in children.read_text().split():
            os.kill(int(spare), signal.SIGKILL)
        assert wait_until(lambda: children.read_text().split() == [])
        assert run(launcher, world.spec("echo", "again")).out == b"again\n"


def test_closing_ends_everything(world: World, level: Level) -> None:
    seconds = mark()
    launcher = Launcher.start()

    def close(_: Process) -> None:
        threading.Thread(target=launcher.close).start()

    outcome = run(
        launcher, world.spec("bash", "-c", f"sleep {seconds}", level=level), Recorder(on_start=close)
    ).outcome
    assert outcome.ending == "lost"
    assert wait_until(lambda: processes_with(seconds) == [], 2)
    with pytest.raises(UsageError, match="closed"):
        run(launcher, world.spec("true", level=level))


def test_starting_from_a_thread_that_ends(world: World) -> None:
    """The parent-death signal follows a thread, not a process: a worker that ends must not take the zygote along."""
    started: list[Launcher] = []
    thread = threading.Thread(target=lambda: started.append(Launcher.start()))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with started[0] as launcher:
        assert run(launcher, world.spec("echo", "alive")).out == b"alive\n"


# -- what is refused


def test_levels_that_cannot_be_built_are_refused(launcher: Launcher, world: World) -> None:
    """Without mounts there is no overlay, and a back end gives the levels it gives: nothing else is built instead."""
    with pytest.raises(UsageError, match="cannot mount"):
        run(launcher, world.spec("true", level=Level.S1))
    with pytest.raises(UsageError, match="not S3"):
        run(launcher, world.spec("true", confinement=Confinement("landlock")))


def test_a_mount_that_the_kernel_refuses_is_an_error_not_a_downgrade(
    launcher: Launcher, world: World
) -> None:
    spec = world.spec("touch", "ran")
    overlay = replace(spec.overlays[0], work="/proc")
    with pytest.raises(SandboxUnavailable) as refused:
        run(launcher, replace(spec, overlays=(overlay,)))
    assert str(world.repo) in refused.value.message
    assert refused.value.hint


def test_user_namespaces_refused(world: World) -> None:
    """An account without room for one more user namespace: nothing runs, and the way out is named."""
    if os.getuid() != 0:
        pytest.skip("needs root to lower the limit inside a user namespace of its own")
    code = f"""
import sys, threading
sys.path[:0] = [{str(Path(__file__).resolve().parents[1])!r}, {str(Path(__file__).resolve().parents[2] / "src")!r}]
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import Recorder, World, run
world = World(0)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
with Launcher.start() as launcher:
    try:
        run(launcher, world.spec("touch", "ran"))
    except SandboxUnavailable as refused:
        print(refused.message, "|", refused.hint)
    report = launcher.probe(world.state)
    print(report.level.value, report.fixes)
world.remove()
"""
    from nightcrew.host.procs import run as run_program

    done = run_program(
        ["unshare", "-Ur", sys.executable, "-c", code], env={"PATH": "/usr/bin:/bin"}, timeout_s=60
    )
    text = done.stdout.decode()
    assert "new namespaces" in text, done.stderr.decode()
    assert "max_user_namespaces" in text
    assert "S1" in text, "the strongest of what is left"


def test_resource_limits_of_our_own_process_are_untouched(launcher: Launcher, world: World) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    run(launcher, world.spec("true"))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_orphans_of_a_killed_first_process_are_ended_without_a_control_group(world: World) -> None:
    """At S0 a program can kill the process that keeps its tree together; what it has started then comes to the zygote."""
    number, neighbour = mark(), mark()
    groups = Groups()
    groups.homes = {}
    script = f"setsid sh -c 'sleep {number} & sleep {number}' & (setsid sleep {number} &) ; sleep 0.2; kill -KILL $PPID; sleep {number}"
    with Launcher.start(groups=groups) as alone:
        other = Recorder()
        spec = world.spec("sleep", neighbour, level=Level.S0)
        cancel = threading.Event()
        beside = threading.Thread(target=alone.run, args=(spec, other), kwargs={"cancel": cancel})
        beside.start()
        assert wait_until(lambda: processes_with(neighbour) != [])
        assert run(alone, world.spec("sh", "-c", script, level=Level.S0)).outcome.ending == "lost"
        assert processes_with(number) == []
        assert processes_with(neighbour) != [], "another tree of the same zygote is left alone"
        assert run(alone, world.spec("true", level=Level.S0)).outcome.exit_code == 0
        cancel.set()
        beside.join()
    groups.close()
