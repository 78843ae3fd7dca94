"""Level S1 from inside, as a hostile program: what the supervised calls let through, and what happened outside."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.host.procs import run as run_program
from nightcrew.model.isolation import Bind, Level, Listen, SandboxSpec
from nightcrew.sandbox.doors import Door, find_door, serve_doors
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import LIMITS, PRELUDE, PYTHON, Ran, Recorder, World, worlds


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher.start() as started:
        yield started


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


def attack(launcher: Launcher, world: World, code: str, **facts: object) -> Ran:
    copy = str(world.upper)
    env = {
        "PATH": "/usr/bin:/bin",
        "FACTS": json.dumps({**facts, "home": str(world.home), "host": os.getpid()}),
    }
    argv = (PYTHON, "-I", "-S", "-c", PRELUDE + code)
    spec = SandboxSpec(
        argv, copy, env, binds=(Bind(copy, copy, writable=True),), limits=LIMITS, level=Level.S1
    )
    session = Recorder()
    outcome = launcher.run(spec, session, cancel=threading.Event())
    return Ran(outcome, bytes(session.out), bytes(session.err))


def test_sockets(launcher: Launcher, world: World) -> None:
    """No way in, none out, none to the programs of the host; among themselves programs inside may talk."""
    place = world.home / "daemon.sock"
    with socket.socket(socket.AF_UNIX) as daemon, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        daemon.bind(str(place))
        log.bind(str(world.home / "log.sock"))
        log.settimeout(0.2)
        daemon.listen()
        daemon.settimeout(0.2)
        told = attack(
            launcher,
            world,
            """
def make(*args):
    return socket.socket(*args)
def listen(family, place=None):
    s = make(family); s.bind(place) if place else None; s.listen()
def connect(path):
    make(socket.AF_UNIX).connect(path)
def fast_open():
    make(socket.AF_INET).sendto(b"x", 0x20000000, ("127.0.0.1", 9))
def send(path, kind):
    a, b = socket.socketpair(socket.AF_UNIX, kind); a.sendto(b"by a pair", path)
def talk():
    s = make(socket.AF_UNIX); s.bind("own.sock"); s.listen()
    c = make(socket.AF_UNIX); c.connect("own.sock"); s.accept()[0].sendall(b"hi")
    assert c.recv(2) == b"hi"
os.symlink(facts["home"] + "/daemon.sock", "link.sock")
tell(made=[attempt(make, *args) for args in ((2, socket.SOCK_DGRAM), (10, socket.SOCK_DGRAM), (1, socket.SOCK_DGRAM),
                                             (16, 3), (40, 1), (17, 3), (2, 3, 1), (2, 1, 262))],
     heard=[attempt(listen, 2), attempt(listen, 10), attempt(listen, 2, ("127.0.0.1", 0))],
     sent=[attempt(fast_open), *(attempt(send, facts["home"] + "/log.sock", kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW))],
     pairs=[attempt(socket.socketpair, socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)],
     abstract=[attempt(listen, 1, "\\0nightcrew-test-name")],
     host=[attempt(connect, facts["home"] + "/daemon.sock"), attempt(connect, "link.sock")],
     own=attempt(talk))
""",
        ).told
        for heard in (daemon.accept, lambda: log.recv(100)):
            with pytest.raises(TimeoutError):
                heard()
    for what in ("made", "heard", "sent", "host", "abstract"):
        assert "OK" not in told[what], (what, told[what])
    assert told["own"] == "OK"
    assert told["pairs"] == ["OK", "OK"]


def test_nothing_is_left_open_outside(launcher: Launcher, world: World) -> None:
    """Calls about what is no socket, or is none any more, cost nightcrew no descriptor."""
    attack(launcher, world, "tell()")
    before = len(os.listdir("/proc/self/fd"))
    told = attack(
        launcher,
        world,
        """
read_end, write_end = os.pipe()
s = socket.socket(socket.AF_UNIX)
for n in range(50):
    for fd in (read_end, s.fileno(), 99):
        libc.connect(fd, b"\\1\\0none", 6); libc.listen(fd, 5)
tell(done=True)
""",
    ).told
    assert told["done"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_signals_do_not_make_a_call_happen_twice(launcher: Launcher, world: World) -> None:
    told = attack(
        launcher,
        world,
        """
signal.signal(signal.SIGALRM, lambda *_: None); signal.siginterrupt(signal.SIGALRM, False)
server = socket.socket(socket.AF_UNIX); server.bind("own.sock"); server.listen(100)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
found = {attempt(each.connect, "own.sock") for each in clients}
signal.setitimer(signal.ITIMER_REAL, 0, 0)
tell(found=sorted(found))
""",
    ).told
    assert told["found"] == ["OK"]


def test_modes_and_times_through_every_door(launcher: Launcher, world: World) -> None:
    """By path, by link, by descriptor, by directory descriptor, and while a link is swapped in a tight loop."""
    target = world.home / ".bashrc"
    before = target.stat()
    ran = attack(
        launcher,
        world,
        """
import threading
home = facts["home"]; target = home + "/.bashrc"
os.symlink(target, "link"); os.symlink(home, "folder"); open("own", "w").close()
root = os.open("/usr", os.O_RDONLY); path_only = os.open(target, os.O_PATH)
nr = {"x86_64": (91, 268, 280, 188, 92), "aarch64": (52, 53, 88, 5, 54)}[platform.machine()]
name = ctypes.c_char_p(target.encode())
tries = [attempt(os.chmod, p, 0o777) for p in (target, "link", "folder/.bashrc", "../../home/.bashrc", "/proc/self/root" + target,
                                               f"/proc/{facts['host']}/root{target}", f"/proc/self/fd/{path_only}")]
tries += [attempt(os.utime, p, (1, 1)) for p in (target, "link", "folder/.bashrc")]
tries += [call(nr[0], root, 0o777), call(nr[0], path_only, 0o777), call(nr[1], -100, name, 0o777),
          call(nr[2], root, 0, 0, 0), call(nr[1], 10**6, name, 0o777), call(nr[2], -100, 8, 0, 0), call(nr[0], 99, 0o777)]
tries += [attempt(os.setxattr, target, "user.a", b"b"), attempt(os.chown, target, os.getuid(), os.getgid())]
stop = time.monotonic() + 1.0
def swap():
    n = 0
    while time.monotonic() < stop:
        n += 1
        os.symlink(target if n % 2 else "own", "next"); os.rename("next", "racing")
swapper = threading.Thread(target=swap); swapper.start()
hits = 0
while time.monotonic() < stop:
    hits += attempt(os.chmod, "racing", 0o777) == "OK"
swapper.join()
tell(tries=tries, hits=hits, own=[attempt(os.chmod, "own", 0o751), attempt(os.utime, "own", (5, 7)), os.stat("own").st_mtime,
     attempt(os.utime, os.open("own", os.O_RDONLY)), attempt(os.fchmod, os.open("own", os.O_RDONLY), 0o740), oct(os.stat("own").st_mode)])
""",
    )
    told = ran.told
    assert "OK" not in told["tries"], told["tries"]
    assert told["hits"] > 10, "the race was run"
    assert told["own"] == ["OK", "OK", 7.0, "OK", "OK", "0o100740"]
    after = target.stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_uid) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_uid,
    )


def test_other_processes_and_shared_memory(launcher: Launcher, world: World) -> None:
    libc = ctypes.CDLL(None)
    segment = libc.shmget(0, 4096, 0o1600)  # everybody can read its number in /proc/sysvipc
    told = attack(
        launcher,
        world,
        """
host = facts["host"]
nr = {"x86_64": dict(ptrace=101, readv=310, prlimit=302, affinity=203, shmget=29, semget=64, msgget=68, mq_open=240, ioprio=251,
                     by_number=(31, 65, 66, 69, 70, 71, 220), priority=141),
      "aarch64": dict(ptrace=117, readv=270, prlimit=261, affinity=122, shmget=194, semget=190, msgget=186, mq_open=180, ioprio=30,
                      by_number=(195, 193, 191, 189, 188, 187, 192), priority=140)}[platform.machine()]
limits = (ctypes.c_ulong * 2)(1, 1); cpus = ctypes.c_ulong(1)
parent = os.getppid()
tell(signals=[attempt(os.kill, pid, number) for pid in (host, parent) for number in (0, signal.SIGCONT)],
     tracing=[call(nr["ptrace"], 16, host, 0, 0), call(nr["readv"], host, 0, 0, 0, 0, 0),
              attempt(read, f"/proc/{host}/environ"), attempt(os.readlink, f"/proc/{host}/cwd"),
              attempt(os.readlink, f"/proc/{host}/fd/0"), attempt(read, f"/proc/{parent}/maps")],
     settings=[call(nr["prlimit"], host, 7, limits, 0), attempt(os.setpriority, os.PRIO_PROCESS, host, 19),
               attempt(os.setpriority, os.PRIO_USER, os.getuid(), 19), call(nr["affinity"], host, 8, ctypes.byref(cpus)),
               call(nr["ioprio"], 1, host, 0x6000), call(nr["ioprio"], 3, 0, 0x6000), call(nr["priority"], 2, 0, 19), attempt(write, f"/proc/{host}/oom_score_adj", "1000")],
     shared=[call(nr["shmget"], 0, 4096, 0o1600), call(nr["semget"], 0, 1, 0o1600), call(nr["msgget"], 0, 0o1600),
             call(nr["mq_open"], ctypes.c_char_p(b"q"), 0o102, 0o600, 0), attempt(write, "/dev/shm/x")],
     by_number=[call(number, facts["segment"], 0, 0) for number in nr["by_number"]],
     own=[attempt(os.setpriority, os.PRIO_PROCESS, 0, 5), call(nr["ioprio"], 1, 0, 0x6000)])
""",
        segment=segment,
    ).told
    for what in ("signals", "tracing", "settings", "shared"):
        assert "OK" not in told[what], (what, told[what])
    assert set(told["by_number"]) == {"EPERM"}
    assert told["own"] == ["OK", "OK"]
    assert libc.shmctl(segment, 0, None) == 0, "it was removed from inside"
    assert os.getpriority(os.PRIO_PROCESS, 0) < 19


def test_a_door_lets_no_stranger_in() -> None:
    with Door.open() as door, socket.socket() as stranger, socket.socket() as own, socket.socket() as alike:
        stranger.connect(door.getsockname())
        stranger.sendall(b"give me the key")
        own.bind(("127.0.0.1", 0))
        alike.bind(("127.0.0.2", own.getsockname()[1]))  # the same port at another address of this machine
        alike.connect(door.getsockname())
        door.admit(own)
        time.sleep(0.05)
        connection, peer = door.accept()
        assert peer == own.getsockname()
        connection.close()
        with pytest.raises(BlockingIOError):
            door.accept()
        with pytest.raises(OSError, match="already connected"):
            door.admit(own)
        assert not door._admitted, "whoever has that port next would be let in"
        stranger.settimeout(2)
        with contextlib.suppress(ConnectionResetError):  # how the other end closes with words unread
            assert stranger.recv(1) == b""


def test_exits_are_found_at_their_own_address_only() -> None:
    exits = (
        Listen("tcp", "127.0.0.1", 3128, "proxy"),
        Listen("tcp", "0.0.0.0", 443, "tls"),
        Listen("udp", "127.0.0.1", 53, "dns"),
    )
    with serve_doors(exits, lambda _: contextlib.nullcontext()) as doors:
        assert find_door(doors, "127.0.0.1", 3128) is not None
        assert find_door(doors, "127.66.0.1", 443) is not None
        assert find_door(doors, "10.0.0.1", 443) is None
        assert find_door(doors, "127.0.0.1", 53) is None
        assert len(doors) == 2


DOCKER = """
import contextlib, errno, json, struct, sys, threading
sys.path[:0] = json.loads(sys.argv[1])
from nightcrew.host import kernel
from nightcrew.host.procs import run as run_program
from nightcrew.model.isolation import Bind, Level, Listen, SandboxSpec
from nightcrew.sandbox.launcher import Launcher
from pathlib import Path
from sandbox_world import Recorder
# What default Docker refuses to a program without CAP_SYS_PTRACE: pidfd_getfd.
words = [(0x20, 0, 0, 0), (0x15, 0, 1, 438), (0x06, 0, 0, 0x50000 | errno.EPERM), (0x06, 0, 0, 0x7FFF0000)]
kernel.allow_no_new_privileges()
kernel.install_filter(b"".join(struct.pack("=HBBI", *word) for word in words))
@contextlib.contextmanager
def serve(sockets):
    def answer(door):
        while True:
            with contextlib.suppress(BlockingIOError):
                connection, _ = door.accept()
                connection.setblocking(True)
                connection.sendall(b"served " + connection.recv(100))
                return
    threading.Thread(target=answer, args=(sockets["proxy"],), daemon=True).start()
    yield
copy = sys.argv[2]
code = '''
import socket
with socket.create_connection(("127.0.0.1", 3128), 3) as s:
    s.sendall(b"hello"); print(s.recv(100).decode())
for place in (("127.0.0.1", 80), ("192.0.2.1", 80)):
    try: socket.create_connection(place, 3); print("connected")
    except OSError as problem: print(type(problem).__name__)
s = socket.socket(socket.AF_UNIX)
try: s.connect("/run/x.sock"); print("connected")
except OSError as problem: print(type(problem).__name__)
'''
spec = SandboxSpec((sys.argv[3], "-I", "-S", "-c", code), copy, {}, binds=(Bind(copy, copy, writable=True),), level=Level.S1,
                   exits=(Listen("tcp", "127.0.0.1", 3128, "proxy"),))
session = Recorder()
with Launcher.start(scratch=Path(sys.argv[4])) as launcher:
    outcome = launcher.run(spec, session, cancel=threading.Event(), serve=serve)
print(json.dumps([outcome.ending, outcome.exit_code, session.out.decode(), session.err.decode()]))
"""


def test_where_no_descriptor_may_be_taken(world: World, tmp_path: Path) -> None:
    """Default Docker: the supervisor connects a socket of its own and puts it in the place of the program's."""
    tests = Path(__file__).resolve().parents[1]
    ways = json.dumps([str(tests), str(tests.parent / "src")])
    words = [sys.executable, "-c", DOCKER, ways, str(world.upper), PYTHON, str(tmp_path / "scratch")]
    done = run_program(words, env={"PATH": "/usr/bin:/bin"}, timeout_s=60)
    assert done.code == 0, done.stderr.decode()
    ending, code, out, err = json.loads(done.stdout)
    assert (ending, code) == ("exited", 0), err
    assert out.split("\n")[:-1] == ["served hello", "ConnectionRefusedError", "OSError", "FileNotFoundError"]
