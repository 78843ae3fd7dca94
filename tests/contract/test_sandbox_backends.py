"""What every back end promises, our own launcher among them: the same suite for all that this machine can give."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Confinement, Level, Listen, SandboxSpec
from nightcrew.sandbox import seccomp
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.levels import LEVELS
from sandbox_world import (
    LIMITS,
    ORDINARY_UID,
    PRELUDE,
    PYTHON,
    Ran,
    Recorder,
    World,
    processes_with,
    python_for,
    run,
    wait_until,
    worlds,
)

pytestmark = [pytest.mark.needs_userns]
TESTS = Path(__file__).resolve().parents[1]

#: Variables that a back end has to add or replace, because it can mount nothing.
ADDED = {"landlock": {"HOME", "TMPDIR", "GIT_CONFIG_NOSYSTEM"}}


def variables(place: Path) -> dict[str, str]:
    """Return the environment for podman: with runc where there is one, as crun refuses mixed control groups."""
    given = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(Path.home())}
    if shutil.which("runc"):
        settings = place / "containers.conf"
        settings.write_text('[engine]\nruntime="runc"\n')
        given["CONTAINERS_CONF"] = str(settings)
    return given


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    place = tmp_path_factory.mktemp("backends")
    with Launcher.start(scratch=place / "scratch", variables=variables(place)) as started:
        yield started


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


@pytest.fixture(params=["nightcrew", "bwrap", "landlock", "podman"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name in ("bwrap", "podman") and shutil.which(name) is None:
        pytest.skip(f"needs {name}: apt install {'bubblewrap' if name == 'bwrap' else 'podman runc'}")
    return name


def make_spec(world: World, backend: str, *argv: str, **changes: Any) -> SandboxSpec:
    """Return a spec over a copy, which is what every back end can show."""
    level = LEVELS[backend][0]
    copy = str(world.upper)
    place = str(world.repo) if level.mounts else copy
    values: dict[str, Any] = {
        "argv": argv,
        "cwd": place,
        "env": {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent"},
        "binds": (Bind(copy, place, writable=True),),
        "limits": LIMITS,
        "level": level,
        "confinement": Confinement(backend),
    }
    return SandboxSpec(**{**values, **changes})


def attack(launcher: Launcher, world: World, backend: str, code: str, **facts: Any) -> Ran:
    """Run Python inside; it is told ``facts`` and tells what it found."""
    serve, exits = facts.pop("serve", None), facts.pop("exits", ())
    spec = make_spec(world, backend, PYTHON, "-I", "-S", "-c", PRELUDE + code, exits=exits)
    spec = replace(spec, env={**spec.env, "FACTS": json.dumps(facts)})
    session = Recorder()
    outcome = launcher.run(spec, session, cancel=threading.Event(), serve=serve)
    return Ran(outcome, bytes(session.out), bytes(session.err))


def mark() -> str:
    return f"7{os.getpid()}{time.monotonic_ns() % 10**9}"


# -- what runs


def test_streams_directory_environment_and_code(launcher: Launcher, world: World, backend: str) -> None:
    (world.upper / "a.txt").write_text("in the copy\n")
    env = {"PATH": "/usr/bin:/bin", "ODD": "a=b c\td", "BYTES": os.fsdecode(b"\xff\xfe")}
    if backend == "podman":
        with pytest.raises(UsageError, match="UTF-8"):
            run(launcher, make_spec(world, backend, "true", env=env))
        del env["BYTES"]
    script = "env -0; printf '|'; pwd; cat a.txt; cat; echo new > new.txt; echo err >&2; exit 7"
    spec = make_spec(world, backend, "bash", "--norc", "-c", script, env=env)
    ran = run(launcher, spec, Recorder(stdin=b"hello\n\x00\xff"))
    assert (ran.outcome.ending, ran.outcome.exit_code) == ("exited", 7), (ran.outcome, ran.err)
    seen, said = ran.out.split(b"|", 1)
    found = dict(line.split(b"=", 1) for line in seen.split(b"\0") if line)
    asked = {os.fsencode(name): os.fsencode(value) for name, value in env.items()}
    assert {name: found[name] for name in asked} == asked
    # The last three are bash's own.
    more = {name.decode() for name in found} - set(env) - {"PWD", "SHLVL", "_"}
    assert more == ADDED.get(backend, set())
    assert said == f"{spec.cwd}\nin the copy\nhello\n".encode() + b"\x00\xff"
    assert ran.err == b"err\n"
    assert (world.upper / "new.txt").read_text() == "new\n"


def test_how_a_program_ends(launcher: Launcher, world: World, backend: str) -> None:
    cases = [
        (("bash", "-c", "kill -TERM $$"), 143),
        (("no-such-program",), 127),
        (("/etc/hosts",), 126),
        (("true",), 0),
        (("bash", "-c", "kill -KILL $$"), 137),
    ]
    # A container takes a second to start.
    for argv, code in (*cases[:2], cases[-1]) if backend == "podman" else cases:
        outcome = run(launcher, make_spec(world, backend, *argv)).outcome
        assert (outcome.ending, outcome.exit_code) == ("exited", code), argv
        assert ("perhaps for want of memory" in outcome.detail) == (backend == "podman" and code == 137)


def test_several_at_once(launcher: Launcher, world: World, backend: str) -> None:
    results: dict[int, bytes] = {}
    numbers = range(2 if backend == "podman" else 5)

    def one(number: int) -> None:
        results[number] = run(
            launcher, make_spec(world, backend, "bash", "-c", f"sleep 0.1; echo {number}")
        ).out

    threads = [threading.Thread(target=one, args=(n,)) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {n: f"{n}\n".encode() for n in numbers}


# -- the walls


def test_what_lies_outside_stays_as_it_is(launcher: Launcher, world: World, backend: str) -> None:
    """Files, the network, processes: what counts is what happened outside."""
    outside = world.home / ".bashrc"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        abstract = f"nightcrew-{mark()}"
        local.bind("\0" + abstract)
        local.listen()
        server.settimeout(0.2)
        local.settimeout(0.2)
        told = attack(
            launcher,
            world,
            backend,
            """
def connect(family, place):
    with socket.socket(family) as s:
        s.settimeout(1); s.connect(place)
home = facts["home"]
os.symlink(home, "way-out")
tell(
    read=[attempt(read, f"{home}/.ssh/id_ed25519"), attempt(read, "way-out/.ssh/id_ed25519")],
    write=[attempt(write, f"{home}/.bashrc"), attempt(write, "way-out/.bashrc"), attempt(write, f"{home}/new")],
    change=[attempt(os.chmod, f"{home}/.bashrc", 0), attempt(os.chmod, "way-out/.bashrc", 0),
            attempt(os.utime, f"{home}/.bashrc", (1, 1)), attempt(os.truncate, f"{home}/.bashrc", 0),
            attempt(os.unlink, f"{home}/.bashrc"), attempt(os.rename, f"{home}/.bashrc", "taken"),
            attempt(os.link, f"{home}/.bashrc", "linked")],
    network=[attempt(connect, socket.AF_INET, ("127.0.0.1", facts["port"])),
             attempt(connect, socket.AF_INET, ("192.0.2.1", 80)),
             attempt(connect, socket.AF_UNIX, "\\0" + facts["abstract"])],
    processes=[attempt(os.kill, facts["pid"], 0), attempt(read, f"/proc/{facts['pid']}/environ"),
               attempt(write, "/proc/sys/kernel/core_pattern")],
    inside=[attempt(write, "own.txt"), attempt(os.chmod, "own.txt", 0o700), attempt(os.utime, "own.txt", (1, 1))],
    status=[line for line in read("/proc/self/status").splitlines() if line.startswith(("CapEff", "NoNewPrivs", "Seccomp:"))],
)
""",
            home=str(world.home),
            port=server.getsockname()[1],
            abstract=abstract,
            pid=os.getpid(),
        ).told
        for one in (server, local):
            with pytest.raises(TimeoutError):
                one.accept()
    # Where something can be mounted, home is an empty place inside that may be written to, and is gone afterwards.
    closed = ("read", "network", "processes", *(() if LEVELS[backend][0].mounts else ("write", "change")))
    for what in closed:
        assert "OK" not in told[what], (what, told[what])
    assert told["inside"] == ["OK", "OK", "OK"]
    assert [line.split()[-1] for line in told["status"]] == ["0000000000000000", "1", "2"]
    assert outside.read_text() == "# mine\n"
    assert (outside.stat().st_mode & 0o777, outside.stat().st_mtime > 1) == (0o644, True)
    assert sorted(path.name for path in world.home.iterdir()) == [".bashrc", ".ssh", "project"]
    assert (world.upper / "own.txt").stat().st_mode & 0o777 == 0o700


# -- exits


class Answering:
    """Answers ``name: words`` at every exit."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.strangers = 0
        self.open = False

    @contextlib.contextmanager
    def serve(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        self.open = True
        self.ports = [each.getsockname()[1] for each in sockets.values()]
        threads = [threading.Thread(target=self._answer, args=pair) for pair in sockets.items()]
        for thread in threads:
            thread.start()
        yield
        self.open = False
        for thread in threads:
            thread.join()

    def _answer(self, name: str, listener: socket.socket) -> None:
        listener.setblocking(False)
        while self.open:
            with contextlib.suppress(BlockingIOError):
                connection, _ = listener.accept()
                with connection:
                    connection.setblocking(True)
                    connection.sendall(f"{name}: ".encode() + connection.recv(100))
                continue
            time.sleep(0.01)


def test_exits_are_the_only_way_out(launcher: Launcher, world: World, backend: str) -> None:
    exits = (Listen("tcp", "127.0.0.1", 3128, "proxy"), Listen("tcp", "127.0.0.1", 8791, "models"))
    answering = Answering()
    code = """
def ask(place, words):
    with socket.create_connection(place, 3) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(words)
        return s.recv(100).decode()
tell(answers=[ask(("127.0.0.1", 3128), b"one"), ask(("127.0.0.1", 8791), b"two"), ask(("localhost", 3128), b"three")],
     others=[attempt(ask, place, b"x") for place in (("127.0.0.1", 80), ("192.0.2.1", 3128), ("127.0.0.1", facts["port"]))])
"""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ran = attack(launcher, world, backend, code, exits=exits, serve=answering.serve, port=port)
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert ran.told["answers"] == ["proxy: one", "models: two", "proxy: three"]
    assert "OK" not in ran.told["others"]
    assert not answering.open
    with pytest.raises(UsageError, match="nothing answers"):
        run(launcher, make_spec(world, backend, "true", exits=exits))


# -- how it is ended


def test_limits_and_deadlines(launcher: Launcher, world: World, backend: str) -> None:
    hog = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    limits = replace(LIMITS, memory_bytes=192 << 20, open_files=77)
    roots = set(os.listdir("/"))
    ended = run(launcher, make_spec(world, backend, PYTHON, "-c", hog, limits=limits)).outcome
    assert ended.ending == "memory", ended
    assert set(os.listdir("/")) <= roots, "nobody's working directory is littered"
    shown = run(launcher, make_spec(world, backend, "bash", "-c", "ulimit -n; ulimit -c", limits=limits))
    assert shown.out.split() == [b"77", b"0"]
    seconds = mark()
    script = (
        f"(setsid sleep {seconds} &); nohup sleep {seconds} >/dev/null 2>&1 & "
        "trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.05; done"
    )
    quick = replace(LIMITS, hard_s=5.0 if backend == "podman" else 1.5, grace_s=2.0)
    ran = run(launcher, make_spec(world, backend, "bash", "-c", script, limits=quick))
    assert (ran.outcome.ending, ran.outcome.exit_code) == ("hard_timeout", None)
    assert ran.out == b"ready\nasked\n", "the polite signal came first"
    assert wait_until(lambda: processes_with(seconds) == [])


def test_stopped_by_its_session(launcher: Launcher, world: World, backend: str) -> None:
    seconds = mark()
    session = Recorder(on_data=lambda process, _: process.stop("an action must wait"))
    script = f"trap '' TERM; setsid sleep {seconds} & echo one; sleep 0.5; echo two; sleep {seconds}"
    ran = run(launcher, make_spec(world, backend, "bash", "-c", script), session)
    assert (ran.outcome.ending, ran.outcome.detail) == ("stopped", "an action must wait")
    assert ran.out == b"one\n"
    assert wait_until(lambda: processes_with(seconds) == [])


def test_held_still_and_let_go(launcher: Launcher, world: World, backend: str) -> None:
    session, done = Recorder(), threading.Event()
    cancel = threading.Event()
    script = "echo go; (while :; do echo x >> count; done) & while :; do echo y >> count; done"

    def work() -> None:
        run(launcher, make_spec(world, backend, "bash", "-c", script), session, cancel=cancel)
        done.set()

    threading.Thread(target=work).start()
    try:
        assert wait_until(lambda: bool(session.out), 20)
        process, file = session.process, world.upper / "count"
        assert process is not None
        assert wait_until(file.exists)
        process.prepare_to_freeze()
        with process.frozen(5.0) as hold:
            assert hold.whole
            before = file.stat().st_size
            time.sleep(0.2)
            assert file.stat().st_size == before
        assert wait_until(lambda: file.stat().st_size > before)
    finally:
        cancel.set()
        assert done.wait(20)


HOLDER = """
import json, sys, threading
sys.path[:0] = json.loads(sys.argv[1])
from nightcrew.model.isolation import Bind, Confinement, Level, SandboxSpec
from nightcrew.sandbox import seccomp
from nightcrew.sandbox.launcher import Launcher
from pathlib import Path
from sandbox_world import Recorder
job = json.loads(sys.argv[2])
script = f"(setsid sleep {job['seconds']} </dev/null >/dev/null 2>&1 &); echo ready; exec sleep {job['seconds']}"
spec = SandboxSpec(("bash", "-c", script), job["cwd"], {"PATH": "/usr/bin:/bin"}, level=Level(job["level"]),
                   binds=(Bind(job["copy"], job["cwd"], writable=True),), confinement=Confinement(job["backend"]))
session = Recorder(on_data=lambda *_: print("ready", flush=True))
launcher = Launcher.start(scratch=Path(job["scratch"]), variables=job["variables"])
threading.Thread(target=lambda: launcher.run(spec, session, cancel=threading.Event())).start()
"""


#: Rootless podman needs a login session and subordinate ids; our own launcher is looked at in tests/crash as well.
KILLED = [
    *((name, os.getuid()) for name in ("nightcrew", "bwrap", "landlock", "podman")),
    *((name, ORDINARY_UID) for name in ("bwrap", "landlock") if os.getuid() == 0),
]


@pytest.mark.parametrize(("backend", "uid"), KILLED, indirect=["backend"])
def test_nothing_survives_a_killed_host(backend: str, uid: int, tmp_path: Path) -> None:
    for world in worlds(uid):
        seconds = f"5{mark()}"
        spec = make_spec(world, backend, "true")
        job = {"seconds": seconds, "cwd": spec.cwd, "copy": str(world.upper), "level": spec.level.value,
               "backend": backend, "scratch": str(world.state / "scratch"), "variables": variables(tmp_path)}  # fmt: skip
        other = {} if uid == os.getuid() else {"user": uid, "group": uid, "extra_groups": []}
        holder = subprocess.Popen(  # type: ignore[call-overload]
            [
                python_for(uid),
                "-c",
                HOLDER,
                json.dumps([str(TESTS), str(TESTS.parent / "src")]),
                json.dumps(job),
            ],
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},
            **other,
        )
        try:
            assert holder.stdout.readline() == b"ready\n"
            assert wait_until(lambda number=seconds: len(processes_with(number)) >= 2)
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            gone = wait_until(lambda number=seconds: processes_with(number) == [], 10.0)
            assert gone, processes_with(seconds)
        finally:
            holder.kill()
            holder.wait()
            holder.stdout.close()


# -- what is told


def test_the_self_test_says_what_it_holds(launcher: Launcher, world: World, backend: str) -> None:
    report = launcher.probe(world.state, Confinement(backend))
    assert (report.level, report.backend) == (LEVELS[backend][0], backend), report
    assert report.overlay is (backend == "nightcrew")
    leaks = {"the host's processes are not visible"} if backend == "landlock" else set()
    assert leaks <= set(report.missing)
    assert len(report.holds) == {"nightcrew": 8, "landlock": 6}.get(backend, 7)


def test_calls_that_nobody_knows_do_not_exist(launcher: Launcher, world: World, backend: str) -> None:
    """Also those that a container runtime's own library has no name for; arguments are looked at as the kernel does."""
    numbers = {
        name: seccomp.number_of(name) for name in ("open_tree_attr", "mount", "clone3", "memfd_create")
    }
    numbers |= {"next": seccomp.NEWEST_KNOWN_CALL + 1, "far": 999}
    found = attack(
        launcher,
        world,
        backend,
        "tell(calls={n: call(k) for n, k in facts['numbers'].items()},"
        " inject=[call(facts['ioctl'], 0, 0x5412 | high, b'x') for high in (0, 1 << 32)],"
        " vsock=[call(facts['socket'], 40 | high, 1, 0) for high in (0, 1 << 32)],"
        " unix=call(facts['socket'], 1, 1, 0), winsize=call(facts['ioctl'], 0, 0x5413, bytes(8)))",
        numbers=numbers,
        ioctl=seccomp.number_of("ioctl"),
        socket=seccomp.number_of("socket"),
    ).told
    assert set(found["calls"].values()) <= {"ENOSYS", "EPERM"}, found
    assert {found["calls"][name] for name in ("next", "far", "clone3")} == {"ENOSYS"}
    assert set(found["inject"]) == {"EPERM"}
    assert set(found["vsock"]) <= {"EAFNOSUPPORT", "EACCES"}
    assert found["unix"] == "OK"
    assert found["winsize"] == "ENOTTY", "other questions to a terminal are as ever"


def test_what_a_back_end_cannot_do_is_refused(world: World, tmp_path: Path) -> None:
    with Launcher.start(scratch=tmp_path, variables={"PATH": str(tmp_path)}) as bare:
        for name in ("bwrap", "podman", "docker"):
            with pytest.raises(SandboxUnavailable) as refused:
                run(bare, make_spec(world, name, "touch", "ran"))
            assert refused.value.exit == 11
            assert "install" in refused.value.hint or "image" in refused.value.hint
            report = bare.probe(world.state, Confinement(name))
            assert report.level is Level.S0, "nothing else is built instead"
            assert report.fixes
        overlay = world.spec("true").overlays
        for name in ("bwrap", "landlock"):
            with pytest.raises((UsageError, SandboxUnavailable)):
                run(bare, make_spec(world, name, "touch", "ran", overlays=overlay))
        with pytest.raises(UsageError, match="gives isolation S1, not S3"):
            run(bare, make_spec(world, "landlock", "true", level=Level.S3))
    assert not (world.upper / "ran").exists()


@pytest.mark.parametrize("backend", ["nightcrew", "bwrap", "landlock"], indirect=True)
def test_what_is_written_into_a_copy_is_bounded(launcher: Launcher, world: World, backend: str) -> None:
    """What the copy held before does not count, however large. Of a container the same supervisor looks at the same."""
    (world.upper / "large").write_bytes(bytes(24 << 20))
    time.sleep(0.02)  # the clock of files is coarse
    limits = replace(LIMITS, disk_bytes=8 << 20)
    fine = "head -c 2000000 /dev/zero > small; sync small; sleep 0.5"
    assert run(launcher, make_spec(world, backend, "bash", "-c", fine, limits=limits)).outcome.exit_code == 0
    fill = "for n in $(seq 200); do head -c 1000000 /dev/zero > f$n; sync f$n; done; sleep 5"
    assert (
        run(launcher, make_spec(world, backend, "bash", "-c", fill, limits=limits)).outcome.ending == "disk"
    )
