"""How a sandbox is set up: one list of operations, read top to bottom.

Runs in a process that is alone in new user, pid, network, IPC, UTS and cgroup namespaces, still sees the whole
host, and holds all capabilities inside its own namespaces and none outside.

The new root is put together at ``/sys``: a directory every host has, that no one needs inside and in which no
source of a mount lies, so nothing has to be created on the host's disk and no source is hidden while we work.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import Final, NamedTuple

from nightcrew.host import kernel
from nightcrew.sandbox import confine, content, exits, system
from nightcrew.sandbox.order import Order

ROOT: Final = "/sys"
_ROOT: Final = os.fsencode(ROOT)
_READ_ONLY: Final = kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV
_DEVICE: Final = kernel.ATTR_NOEXEC  # and _READ_ONLY, but for ATTR_NODEV
_PROC: Final = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_SCRATCH: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - inside, a place of its own
_SCRATCH_PLACES: Final = tuple(os.fsencode(ROOT + name) for name in _SCRATCH)
_PTS: Final = os.fsencode(f"{ROOT}/dev/pts")
# /var/tmp is no link: it is a place of its own on most machines, and a repository may lie below it.
_LINKS: Final = (
    ("../run", "/var/run"), ("/proc/mounts", "/etc/mtab"), ("pts/ptmx", "/dev/ptmx"), ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"), ("/proc/self/fd/1", "/dev/stdout"), ("/proc/self/fd/2", "/dev/stderr"),
)  # fmt: skip
_FOLDERS: Final = ("/dev/pts", "/etc", "/proc", "/run", "/sys", "/tmp", "/var")  # noqa: S108 - inside


class BuildError(Exception):
    """An operation of the list failed: which, why."""

    def __init__(self, step: str, cause: OSError) -> None:
        super().__init__(step, cause)
        self.step, self.cause = step, cause


class Host(NamedTuple):
    """What of the host is shown and hidden, looked up once per zygote: the places are where the root is put together.

    Attributes:
        folders: to be made, outer ones first.
        links: text, place.
        files: content, place.
        empty: places of files to mount on.
        binds: what is shown, place: system directories and devices.
        devices: places of the devices among them.
        hidden: what covers it, place: below /proc.
    """

    folders: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    files: tuple[tuple[bytes, str], ...]
    empty: tuple[str, ...]
    binds: tuple[tuple[bytes, bytes], ...]
    devices: tuple[bytes, ...]
    hidden: tuple[tuple[bytes, bytes], ...]


def look_at_host() -> Host:
    """Look up what every sandbox will show of this host."""
    visible = system.visible_paths()
    directories = [path.path for path in visible if path.is_directory]
    parents = [os.path.dirname(path.path) for path in visible]
    devices = [f"/dev/{name}" for name in system.DEVICES]
    return Host(
        folders=tuple(ROOT + path for path in _with_parents([*_FOLDERS, *_SCRATCH, *parents, *directories])),
        links=tuple((text, ROOT + place) for text, place in _LINKS)
        + tuple((path.link, ROOT + path.path) for path in visible if path.link),
        files=tuple((p.content, ROOT + p.path) for p in visible if not p.is_directory and not p.link),
        empty=tuple(ROOT + path for path in devices),
        binds=tuple((os.fsencode(path), os.fsencode(ROOT + path)) for path in (*directories, *devices)),
        devices=tuple(os.fsencode(ROOT + path) for path in devices),
        hidden=tuple(
            (os.fsencode(f"{ROOT}/sys") if path.is_directory else b"/dev/null", os.fsencode(ROOT + path.path))
            for path in system.hidden_paths()
        ),
    )


def _with_parents(paths: Iterable[str]) -> list[str]:
    """Return each path once, and what it lies in before it."""
    found: dict[str, None] = {}
    for path in paths:
        names = path.strip("/").split("/")
        found.update({"/" + "/".join(names[:end]): None for end in range(1, len(names) + 1) if path != "/"})
    return list(found)


def build(order: Order, host: Host) -> int:
    """Set everything up and enter it; returns a descriptor of the fresh /proc, or -1 when it is the host's.

    Raises:
        BuildError: the host refused an operation; this process can only exit.
    """
    step = ""
    try:
        for step, operation in OPERATIONS:  # noqa: B007 - told when one fails
            operation(order, host)
        step = "/proc"
        proc = _mount_proc(order, host)
        step = "the new root"
        _enter_root()
    except OSError as cause:
        raise BuildError(step, cause) from cause
    return proc


def _part_from_host(_order: Order, _host: Host) -> None:
    kernel.unshare(kernel.CLONE_NEWNS)
    # Private, not slave: what the host mounts later below /usr must not appear inside, writable.
    kernel.mount(b"none", b"/", "", kernel.MS_REC | kernel.MS_PRIVATE)


def _mount_root(order: Order, _host: Host) -> None:
    """One tmpfs is the root, /tmp, /dev/shm and home, so that its size bounds all of them together."""
    options = b"mode=0755,size=%d,nr_inodes=%d" % (order["scratch_bytes"], order["scratch_inodes"])
    kernel.mount(b"none", _ROOT, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, options)


def _show_host(_order: Order, host: Host) -> None:
    for place in host.folders:
        os.mkdir(place)
    for text, place in host.links:
        os.symlink(text, place)
    for place in host.empty:
        os.mknod(place, 0o644)
    for data, place in host.files:
        _write(place, data)
    for source, target in host.binds:
        kernel.bind(source, target)
    # One call for all of it; the root itself is still being filled.
    kernel.change_mount(_ROOT, add=_READ_ONLY, recursive=True)
    kernel.change_mount(_ROOT, add=0, clear=kernel.ATTR_RDONLY)


def _write_accounts(order: Order, _host: Host) -> None:
    server = exits.find_name_server(order["exits"])
    files = system.account_files(os.getuid(), os.getgid(), order["home"], order["hostname"], server)
    for name, text in files.items():
        _write(f"{ROOT}/etc/{name}", os.fsencode(text))
    socket.sethostname(order["hostname"])


def _open_devices(_order: Order, host: Host) -> None:
    for place in host.devices:
        # Read-only forbids chmod and chown of the host's node, not reading and writing through it.
        kernel.change_mount(place, add=_DEVICE, clear=kernel.ATTR_NODEV)
    kernel.mount(
        b"devpts",
        _PTS,
        "devpts",
        kernel.MS_NOSUID | kernel.MS_NOEXEC,
        b"newinstance,ptmxmode=0666",
    )


def _make_scratch(_order: Order, _host: Host) -> None:
    for place in _SCRATCH_PLACES:
        os.chmod(place, 0o1777)  # noqa: S103 - as everywhere, sticky
        # On itself, so that it stays writable when the root no longer is; nobody else has been here yet.
        kernel.bind(place, place, recursive=False)


def _cover(order: Order, _host: Host) -> None:
    for number, path in enumerate(order["covered"]):
        empty = f"{ROOT}/var/empty-{number}"
        os.mkdir(empty)
        kernel.bind(empty, ROOT + path)


def _mount_content(order: Order, _host: Host) -> None:
    root = os.open(ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    content.mount_all(root, order)
    os.close(root)


def _mount_proc(order: Order, host: Host) -> int:
    place = f"{ROOT}/proc"
    fresh = order["proc"] != "bound" and _mount_fresh_proc(place, may_fail=order["proc"] == "any")
    pid_max = confine.pid_max_for(order["processes"])
    if not fresh:
        kernel.bind("/proc", place)
    elif pid_max:
        _write(f"{place}/sys/kernel/pid_max", b"%d" % pid_max)
    for cover, path in host.hidden:
        try:
            kernel.bind(cover, path)
        except FileNotFoundError:
            continue
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
    kernel.change_mount(b"/", add=kernel.ATTR_RDONLY)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    os.write(fd, data)
    os.close(fd)


OPERATIONS: Final = (
    ("parting from the host's mounts", _part_from_host),
    ("an empty root", _mount_root),
    ("system directories", _show_host),
    ("/etc", _write_accounts),
    ("/dev", _open_devices),
    ("temporary directories", _make_scratch),
    ("covers", _cover),
    ("the repository and what else was asked for", _mount_content),
)
