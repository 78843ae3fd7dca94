"""How a sandbox is set up: one list of operations, read top to bottom.

Runs in a process that is alone in new user, pid, network, IPC, UTS and cgroup namespaces, still sees the whole
host, and holds all capabilities inside its own namespaces and none outside.

The new root is put together at ``/sys``: a directory every host has, that no one needs inside and in which no
source of a mount lies, so nothing has to be created on the host's disk and no source is hidden while we work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from nightcrew.host import kernel
from nightcrew.sandbox import confine, content, exits, system
from nightcrew.sandbox.order import Order

ROOT: Final = "/sys"
_READ_ONLY: Final = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV
_DEVICE: Final = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NOEXEC
_PROC: Final = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - inside, a place of its own
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41


class BuildError(Exception):
    """An operation of the list failed: which, why."""

    def __init__(self, step: str, cause: OSError) -> None:
        super().__init__(step, cause)
        self.step, self.cause = step, cause


class Host(NamedTuple):
    """What of the host is shown and hidden, looked up once per zygote."""

    visible: tuple[system.SystemPath, ...]
    hidden: tuple[system.SystemPath, ...]


def look_at_host() -> Host:
    """Look up what every sandbox will show of this host."""
    return Host(system.visible_paths(), system.hidden_paths())


def build(order: Order, host: Host) -> int:
    """Set everything up and enter it; returns a descriptor of the fresh /proc, or -1 when it is the host's.

    Raises:
        BuildError: the host refused an operation; this process can only exit.
    """
    for step, operation in OPERATIONS:
        with _named(step):
            operation(order, host)
    with _named("/proc"):
        proc = _mount_proc(order, host)
    with _named("the new root"):
        _enter_root()
    return proc


def raise_loopback() -> None:
    """Bring up ``lo``, the only interface of the new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))


@contextlib.contextmanager
def _named(step: str) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise BuildError(step, cause) from cause


def _part_from_host(_order: Order, _host: Host) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    # Private, not slave: what the host mounts later below /usr must not appear inside, writable.
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    if os.getuid() == 0:
        with contextlib.suppress(PermissionError):  # denied where root itself may not change groups
            os.setgroups([])


def _mount_root(order: Order, _host: Host) -> None:
    """One tmpfs is the root, /tmp, /dev/shm and home, so that its size bounds all of them together."""
    context = kernel.FilesystemContext("tmpfs")
    context.set_string("mode", "0755")
    context.set_string("size", str(order["scratch_bytes"]))
    context.set_string("nr_inodes", str(order["scratch_inodes"]))
    root = context.mount(kernel.ATTR_NOSUID | kernel.ATTR_NODEV)
    context.close()
    kernel.attach_at(root, ROOT)
    os.close(root)
    for name in ("dev", "etc", "proc", "run", "sys", "tmp", "var"):
        os.mkdir(f"{ROOT}/{name}")
    # Not /var/tmp: it is a place of its own on most machines, and a repository may lie below it.
    os.symlink("../run", f"{ROOT}/var/run")


def _show_system(_order: Order, host: Host) -> None:
    there = {ROOT, f"{ROOT}/etc"}
    for path in host.visible:
        place = ROOT + path.path
        parent = os.path.dirname(place)
        if parent not in there:
            os.makedirs(parent, exist_ok=True)
            there.add(parent)
        if path.link:
            os.symlink(path.link, place)
        elif path.is_directory:
            os.mkdir(place)
            content.bind(path.path, place, _READ_ONLY)
        else:
            _write(place, path.content)


def _write_accounts(order: Order, _host: Host) -> None:
    server = exits.find_name_server(order["exits"])
    files = system.account_files(os.getuid(), os.getgid(), order["home"], order["hostname"], server)
    for name, text in files.items():
        _write(f"{ROOT}/etc/{name}", os.fsencode(text))
    os.symlink("/proc/mounts", f"{ROOT}/etc/mtab")
    socket.sethostname(order["hostname"])


def _make_devices(_order: Order, _host: Host) -> None:
    for name in system.DEVICES:
        _write(f"{ROOT}/dev/{name}", b"")
        # Read-only forbids chmod and chown of the host's node, not reading and writing through it.
        content.bind(f"/dev/{name}", f"{ROOT}/dev/{name}", _DEVICE)
    os.mkdir(f"{ROOT}/dev/pts")
    kernel.mount(
        "devpts",
        f"{ROOT}/dev/pts",
        "devpts",
        kernel.MS_NOSUID | kernel.MS_NOEXEC,
        b"newinstance,ptmxmode=0666",
    )
    os.symlink("pts/ptmx", f"{ROOT}/dev/ptmx")
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{ROOT}/dev/{name}")


def _make_scratch(_order: Order, _host: Host) -> None:
    for name in _SCRATCH:
        os.makedirs(ROOT + name, exist_ok=True)
        os.chmod(ROOT + name, 0o1777)  # noqa: S103 - as everywhere, sticky
        place = os.open(ROOT + name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        content.keep_writable(place)
        os.close(place)


def _cover(order: Order, _host: Host) -> None:
    for number, path in enumerate(order["covered"]):
        empty = f"{ROOT}/var/empty-{number}"
        os.mkdir(empty)
        content.bind(empty, ROOT + path, 0)


def _mount_content(order: Order, _host: Host) -> None:
    root = os.open(ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    content.mount_all(root, order)
    os.close(root)


def _mount_proc(order: Order, host: Host) -> int:
    place = f"{ROOT}/proc"
    fresh = order["proc"] != "bound" and _mount_fresh_proc(place, may_fail=order["proc"] == "any")
    pid_max = confine.pid_max_for(order["processes"])
    if not fresh:
        content.bind("/proc", place, 0)
    elif pid_max:
        _write(f"{place}/sys/kernel/pid_max", b"%d" % pid_max)
    for path in host.hidden:
        with contextlib.suppress(FileNotFoundError):
            content.bind(f"{ROOT}/sys" if path.is_directory else "/dev/null", ROOT + path.path, 0)
    proc = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # All of it read-only, not a list of dangerous files: as root of the host, /proc/sys/kernel/core_pattern is
    # a way out, and kernels keep adding files.
    kernel.set_mount_flags(proc, _READ_ONLY | kernel.ATTR_NOEXEC)
    if fresh:
        return proc
    os.close(proc)
    return -1


def _mount_fresh_proc(place: str, *, may_fail: bool) -> bool:
    try:
        kernel.mount("proc", place, "proc", _PROC)
    except PermissionError:
        # The host's own /proc is partly covered (a container): the kernel refuses a fresh, uncovered one.
        if not may_fail:
            raise
        return False
    return True


def _enter_root() -> None:
    os.chdir(ROOT)
    kernel.pivot_root_here()
    kernel.unmount_lazily(".")
    os.chdir("/")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    kernel.set_mount_flags(root, kernel.ATTR_RDONLY, recursive=False, path="/")
    os.close(root)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, data)
    os.close(fd)


OPERATIONS: Final = (
    ("parting from the host's mounts", _part_from_host),
    ("an empty root", _mount_root),
    ("system directories", _show_system),
    ("/etc", _write_accounts),
    ("/dev", _make_devices),
    ("temporary directories", _make_scratch),
    ("covers", _cover),
    ("the repository and what else was asked for", _mount_content),
)
