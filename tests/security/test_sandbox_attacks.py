"""Attacks from inside a sandbox: as root and as an ordinary user. What counts is what did not happen outside."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import Bind
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import Recorder, World, users, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "user")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(request.param)


class Door:
    """A listener of the host that counts who comes in."""

    def __init__(self, family: int, address: object) -> None:
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.bind(address)  # type: ignore[arg-type]
        self.socket.listen()
        self.visits = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


# -- A.1: bytes outside the shadow


def test_nothing_outside_is_written(world: World) -> None:
    outside = [
        world.home / ".bashrc",
        world.repo / "live.txt",
        world.lower / "a.txt",
        world.root / "new-file",
        Path("/usr/bin/nightcrew-was-here"),
        Path("/etc/passwd"),
        Path("/tmp/nightcrew-was-here"),
    ]
    before = {path: path.read_bytes() if path.exists() else None for path in outside}
    found = world.attack(
        """
for path in facts["paths"]:
    attempt(write, path)
write("a.txt"); write("new.txt")
os.remove("sub/b.txt")
tell(own=sorted(os.listdir(".")), a=read("a.txt"))
""",
        paths=[str(path) for path in outside],
    ).told
    after = {path: path.read_bytes() if path.exists() else None for path in outside}
    assert after == before
    assert "new.txt" in found["own"], "its own shadow must be writable"
    assert found["a"].endswith("changed")
    assert sorted(path.name for path in world.upper.iterdir()) == ["a.txt", "live.txt", "new.txt", "sub"]
    assert (world.lower / "sub" / "b.txt").exists()


def test_secrets_are_not_there(world: World) -> None:
    paths = [
        world.home / ".ssh" / "id_ed25519",
        world.home / ".bashrc",
        world.repo / "live.txt",
        world.lower / "a.txt",
        world.upper,
        Path("/etc/shadow"),
        Path("/etc/gshadow"),
        Path("/etc/ssl/private"),
        Path("/root"),
        Path("/var/lib"),
        Path("/var/log"),
        Path("/run/docker.sock"),
        Path("/run/dbus"),
        Path("/run/user"),
        Path("/boot"),
        Path("/sys/kernel"),
        Path("/mnt"),
    ]
    found = world.attack(
        """
tell(there=[p for p in facts["paths"] if os.path.lexists(p)], home=os.listdir(os.environ["HOME"]),
     tmp=os.listdir("/tmp"), root=sorted(os.listdir("/")))
""",
        paths=[str(path) for path in paths],
    ).told
    assert found["there"] == []
    assert found["home"] == ["project"]
    assert "home" not in found["root"]


def test_links_lead_nowhere(world: World) -> None:
    (world.lower / "out").symlink_to(world.home / ".ssh" / "id_ed25519")
    found = world.attack(
        """
os.symlink(facts["bashrc"], "mine")
tell(read=attempt(read, "out"), write=attempt(write, "mine"))
""",
        bashrc=str(world.home / ".bashrc"),
    ).told
    assert found["read"] == "ENOENT"
    assert (world.home / ".bashrc").read_text() == "# mine\n"


def test_a_planted_link_does_not_redirect_a_later_mount() -> None:
    """An attempt leaves ``.venv`` as a link; what the next attempt mounts there must not land where it points."""
    for world in worlds(os.getuid()):
        (world.upper / ".venv").symlink_to("../../../../../etc")
        (world.root / "env").mkdir()
        spec = world.spec("ls", binds=(Bind(str(world.root / "env"), f"{world.repo}/.venv"),))
        with Launcher.start() as launcher, pytest.raises(SandboxUnavailable, match=r"\.venv"):
            launcher.run(spec, Recorder(), cancel=threading.Event())


def test_proc_shows_and_gives_nothing_of_the_host(world: World) -> None:
    core_pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    victim = subprocess.Popen(["sleep", "60"])
    try:
        found = world.attack(
            """
pids = [int(n) for n in os.listdir("/proc") if n.isdigit()]
links = ["root", "cwd", "exe", "fd/0", "ns/mnt"]
tell(pids=len(pids), one=[attempt(read, f"/proc/1/{n}") for n in ("mem", "environ", "maps", "auxv", "stack")]
         + [attempt(os.readlink, f"/proc/1/{n}") for n in links] + [attempt(open, f"/proc/1/fd/{n}") for n in range(20)],
     core=attempt(write, "/proc/sys/kernel/core_pattern", "|/bin/sh"),
     sysrq=attempt(write, "/proc/sysrq-trigger", "h"),
     pid_max=attempt(write, "/proc/sys/kernel/pid_max", "4194304"),
     oom=attempt(write, "/proc/self/oom_score_adj", "-1000"),
     maps=attempt(write, "/proc/self/uid_map", "0 0 1"),
     kill=attempt(os.kill, facts["victim"], 9), kcore=attempt(open, "/proc/kcore", "rb"),
     up=attempt(os.stat, "/proc/1/root/../../../../root"), kill_all=attempt(os.kill, -1, 0))
""",
            victim=victim.pid,
        ).told
        assert victim.poll() is None, "a process of the host was killed"
    finally:
        victim.kill()
        victim.wait()
    assert found["pids"] == 2
    assert set(found["one"]) <= {"EACCES", "EPERM", "ENOENT"}
    assert Path("/proc/sys/kernel/core_pattern").read_text() == core_pattern
    assert found["core"] != "OK"
    assert found["sysrq"] != "OK"
    assert found["pid_max"] != "OK"
    assert found["oom"] != "OK"
    assert found["maps"] != "OK"


def test_sockets_of_the_host_cannot_be_reached(world: World) -> None:
    name = f"nightcrew-test-{os.getpid()}"
    at_home, in_base = world.home / "agent.sock", world.lower / "base.sock"
    with (
        Door(socket.AF_UNIX, f"\0{name}") as abstract,
        Door(socket.AF_UNIX, str(at_home)) as outside,
        Door(socket.AF_UNIX, str(in_base)) as inside,
        Door(socket.AF_INET, ("127.0.0.1", 0)) as local,
    ):
        for path in (at_home, in_base):
            path.chmod(0o777)
        found = world.attack(
            """
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(2)
        client.connect(address)
        client.send(b"hello")
tell(abstract=attempt(connect, socket.AF_UNIX, b"\\0" + facts["name"].encode()),
     outside=attempt(connect, socket.AF_UNIX, facts["outside"]),
     base=attempt(connect, socket.AF_UNIX, "base.sock"),
     tcp=attempt(connect, socket.AF_INET, ("127.0.0.1", facts["port"])),
     udp=attempt(connect, socket.AF_INET, ("192.0.2.1", 53), socket.SOCK_DGRAM),
     lan=attempt(connect, socket.AF_INET, ("10.0.0.1", 80)),
     cloud=attempt(connect, socket.AF_INET, ("169.254.169.254", 80)),
     links=[name for _, name in socket.if_nameindex()])
""",
            name=name,
            outside=str(at_home),
            port=local.socket.getsockname()[1],
        ).told
        assert (abstract.visits, outside.visits, inside.visits, local.visits) == (0, 0, 0, 0)
    assert found["links"] == ["lo"]
    assert {found["udp"], found["lan"], found["cloud"]} == {"ENETUNREACH"}


def test_its_own_loopback_works(world: World) -> None:
    """No network does not mean that a test cannot start a server for itself."""
    found = world.attack(
        """
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.sendall(b"hello")
tell(got=server.accept()[0].recv(5).decode())
"""
    ).told
    assert found["got"] == "hello"


def test_environment_and_descriptors_are_clean(world: World) -> None:
    found = world.attack(
        """
import fcntl
def is_open(fd):
    return attempt(fcntl.fcntl, fd, fcntl.F_GETFD) == "OK"
tell(env=sorted(os.environ), open=[fd for fd in range(1024) if is_open(fd)],
     init=attempt(read, "/proc/1/environ"))
"""
    ).told
    assert set(found["env"]) <= {"FACTS", "HOME", "PATH", "LC_CTYPE"}
    assert found["open"] == [0, 1, 2]
    assert found["init"] in ("EACCES", "EPERM")


def test_shared_memory_of_the_host_is_not_there(world: World) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x6E630000 + os.getpid() % 0xFFFF
    segment = libc.shmget(key, 4096, 0o1666)
    assert segment >= 0
    try:
        found = world.attack("tell(got=libc.shmget(facts['key'], 4096, 0o666))", key=key).told
    finally:
        libc.shmctl(segment, 0, None)
    assert found["got"] == -1


def test_devices_are_few_and_the_hosts_nodes_keep_their_modes(world: World) -> None:
    modes = {name: Path(f"/dev/{name}").stat().st_mode for name in ("null", "zero", "tty")}
    found = world.attack(
        """
for name in ("null", "zero", "tty"):
    attempt(os.chmod, f"/dev/{name}", 0)
    attempt(os.remove, f"/dev/{name}")
write("/dev/null")
tell(dev=sorted(os.listdir("/dev")), node=attempt(os.mknod, "disk", 0o60666, os.makedev(8, 0)),
     whiteout=attempt(os.mknod, "hidden", 0o20666, os.makedev(0, 0)))
"""
    ).told
    assert {name: Path(f"/dev/{name}").stat().st_mode for name in modes} == modes
    expected = "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert found["dev"] == expected.split()
    assert found["node"] == "EPERM"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make another user's folder in /opt")
def test_things_of_people_in_opt_are_not_shown(world: World) -> None:
    folder = Path(f"/opt/nightcrew-test-{os.getpid()}")
    folder.mkdir()
    try:
        (folder / "token").write_text("secret")
        os.chown(folder, 12345, 12345)
        found = world.attack("tell(seen=attempt(read, facts['token']))", token=str(folder / "token")).told
    finally:
        (folder / "token").unlink()
        folder.rmdir()
    assert found["seen"] == "ENOENT"


# -- A.3: privilege


def test_no_privilege_is_left_or_can_be_won(world: World) -> None:
    found = world.attack(
        """
status = dict(line.split(":\\t", 1) for line in read("/proc/self/status").splitlines() if ":\\t" in line)
pid = os.fork()
if pid == 0:
    os.execv("/usr/bin/su", ["su", "-c", "true"]) if os.path.exists("/usr/bin/su") else os._exit(1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
tell(status={k: v.strip() for k, v in status.items() if k.startswith(("Cap", "NoNew", "Seccomp"))}, su=code,
     uid=os.getuid(), setuid=attempt(os.setuid, 1 if os.getuid() != 1 else 2), chroot=attempt(os.chroot, "/tmp"),
     groups=os.getgroups(), hostname=attempt(socket.sethostname, "other"), nice=attempt(os.nice, -5),
     immortal=attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -10)))
"""
    ).told
    caps = {value for key, value in found["status"].items() if key.startswith("Cap")}
    assert caps == {"0000000000000000"}
    assert found["status"]["NoNewPrivs"] == "1"
    assert found["status"]["Seccomp"] == "2"
    assert found["uid"] == world.uid
    assert found["su"] != 0
    assert found["setuid"] in ("EPERM", "EINVAL"), "EINVAL: that user does not exist inside"
    assert found["chroot"] == "EPERM"
    assert found["hostname"] == "EPERM"
    assert found["nice"] in ("EPERM", "EACCES")
    assert found["immortal"] in ("EPERM", "EACCES")
    assert found["groups"] in ([], [world.uid])


def test_set_user_id_files_made_inside_mean_nothing(world: World) -> None:
    found = world.attack(
        """
import shutil, subprocess
shutil.copy("/usr/bin/id", "id"); os.chmod("id", 0o6755)
shutil.copy("/usr/bin/id", "/tmp/id"); os.chmod("/tmp/id", 0o6755)
def euid(path):
    return subprocess.run([path, "-u"], capture_output=True, text=True).stdout.strip()
flags = [line.split()[3] for line in read("/proc/self/mounts").splitlines()]
tell(uids=[euid("./id"), euid("/tmp/id")], loose=[f for f in flags if "nosuid" not in f.split(",")])
"""
    ).told
    assert found["uids"] == [str(world.uid)] * 2
    assert found["loose"] == []


def test_terminal_injection_is_refused(world: World) -> None:
    found = world.attack(
        """
import fcntl, pty
master, slave = pty.openpty()
tell(sti=attempt(fcntl.ioctl, slave, 0x5412, b"x"), linux=attempt(fcntl.ioctl, slave, 0x541C, b"\\x02"),
     high=call(16 if platform.machine() == "x86_64" else 29, slave, 0x100005412, 0), tty=attempt(open, "/dev/tty"))
"""
    ).told
    assert (found["sti"], found["linux"], found["high"]) == ("EPERM", "EPERM", "EPERM")
    assert found["tty"] == "ENXIO"


# -- between sandboxes


def test_two_sandboxes_do_not_see_each_other(world: World) -> None:
    other = World(world.uid)
    try:
        name = f"nightcrew-inner-{os.getpid()}"
        listens = """
door = socket.socket(socket.AF_UNIX)
door.bind(b"\\0" + facts["name"].encode()); door.listen()
write("/tmp/left-behind"); write("/dev/shm/left-behind")
tell(ready=True)
time.sleep(3)
"""
        looks = """
time.sleep(1)
def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(b"\\0" + facts["name"].encode())
tell(connect=attempt(connect), pids=sum(n.isdigit() for n in os.listdir("/proc")),
     tmp=os.listdir("/tmp") + os.listdir("/dev/shm"))
"""
        first = threading.Thread(target=lambda: world.attack(listens, name=name))
        first.start()
        found = other.attack(looks, name=name).told
        first.join()
    finally:
        other.remove()
    assert found["connect"] == "ECONNREFUSED"
    assert found["pids"] == 2
    assert "left-behind" not in found["tmp"]
