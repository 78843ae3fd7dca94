"""The zygote: a small process with one thread that forks every sandbox.

New namespaces need a process with a single thread, and a fork is cheap only from a small one; the launcher's own
process is neither. It reads nothing from the environment, holds no secret, and dies with its launcher: by the
parent-death signal, and by the end of the socket. Its children get the same signal from it.

It speaks on two sockets. Over one it hands out spares: processes in fresh namespaces that wait for an order. Each has
the message ``pid group`` with two descriptors, the end of the channel on which the order is awaited and its pidfd, and
some lie ready in that socket all the time, so that a start needs nothing of us. A spare that could not be made is a
message without descriptors: ``errno text``.

Over the other come requests, one line each. ``another`` asks for one more spare. ``plain`` and limits for a control
group (bytes, processes, processors) starts a tree without namespaces; with it come five descriptors: order, stdin,
stdout, stderr, report. ``sweep`` with one descriptor ends what such trees have left whose first process was killed: it
has come to us, and the descriptor is closed when nothing is left.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import resource
import signal
import socket
import sys
import time
from typing import Final, NamedTuple, NoReturn

from nightcrew.host import kernel
from nightcrew.sandbox import build, cgroups, inside, tree
from nightcrew.sandbox.seccomp import compile_filter

DESCRIPTORS: Final = 5
SWEEP: Final = b"sweep"
ANOTHER: Final = b"another"
SPARES: Final = 2
"""How many wait: two, so that who starts one process after the other need not wait for the next spare."""
_SWEEP_S: Final = 2.0
_LOOK_S: Final = 0.002
# The mount namespace is made when the order is there; see inside.wait_for_order.
_NAMESPACES: Final = kernel.CLONE_ALL & ~kernel.CLONE_NEWNS


def main(control_fd: int, spares_fd: int, parent: int, groups: str) -> NoReturn:
    """Serve until the launcher is gone.

    Args:
        control_fd: where requests come from. spares_fd: where spares go. parent: process that started us.
        groups: JSON of the beginning of a control group's name, and of what it does → where it is made.
    """
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked
    os.chdir("/")
    kernel.adopt_orphans()
    _allow_many_descriptors()
    signal.signal(
        signal.SIGCHLD, signal.SIG_IGN
    )  # the launcher watches its sandboxes by pidfd; no zombies here
    filter_program = compile_filter(kernel.MACHINE) if kernel.knows_this_machine() else b""
    kernel.point_to(filter_program)
    kernel.version()
    inside.expect_signals()
    prepared = inside.Prepared(build.look_at_host(), filter_program)
    gc.collect()
    gc.freeze()  # children share our memory until they write to it; a collection would
    gc.disable()
    prefix, homes = json.loads(groups)
    maker = GroupMaker(prefix, {what: cgroups.Home(*home) for what, home in homes.items()})
    zygote = Zygote(socket.socket(fileno=control_fd), socket.socket(fileno=spares_fd), prepared, maker)
    for _ in range(SPARES):
        zygote.offer_spare()
    while zygote.serve_one():
        pass
    sys.exit(0)


def _allow_many_descriptors() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class GroupMaker:
    """Makes a control group for each sandbox, as long as that works."""

    def __init__(self, prefix: str, homes: cgroups.Homes) -> None:
        self._prefix = prefix
        self._homes = homes
        self._count = 0

    def make(self) -> tuple[cgroups.Group | None, list[int]]:
        """Return a new group and its doors; nothing where there are none to be had."""
        if not self._homes:
            return None, []
        self._count += 1
        group = cgroups.Group(self._homes, f"{self._prefix}-{os.getpid()}-{self._count}")
        try:
            group.make()
            return group, group.open_doors()
        except OSError:
            # Taken away from us meanwhile, or full: the watchdog looks after what no group bounds.
            group.remove()
            return None, []


class Waiting(NamedTuple):
    """A process that waits for its order, its pidfd, our end of the channel it waits on, and the control group it enters."""

    pid: int
    pidfd: int
    channel: socket.socket
    group: cgroups.Group | None

    def close(self) -> None:
        """Let go of it; nobody else has the channel: it exits."""
        os.close(self.pidfd)
        self.channel.close()


class Zygote:
    """Forks on request; spares are made before somebody needs them: they are half of a start."""

    def __init__(
        self, control: socket.socket, spares: socket.socket, prepared: inside.Prepared, groups: GroupMaker
    ) -> None:
        self._control = control
        self._spares = spares
        self._groups = groups
        self._prepared = prepared
        self._firsts: set[int] = set()

    def offer_spare(self) -> None:
        """Fork a spare and hand it out, or why there is none."""
        try:
            waiting = self._fork(confined=True)
        except OSError as problem:
            with contextlib.suppress(OSError):  # the launcher is gone: the next request tells
                self._spares.send(f"{problem.errno or 0} {problem.strerror or ''}".encode())
            return
        name = waiting.group.name if waiting.group is not None else ""
        with contextlib.suppress(OSError):
            fds = (waiting.channel.fileno(), waiting.pidfd)
            socket.send_fds(self._spares, [f"{waiting.pid} {name}".encode()], fds)
        waiting.close()

    def serve_one(self) -> bool:
        """Handle one request; False when the launcher is gone."""
        message, descriptors, _flags, _sender = socket.recv_fds(
            self._control, 256, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return False
        if message == ANOTHER:
            self.offer_spare()
        elif message == SWEEP:
            self._sweep()
        elif len(descriptors) == DESCRIPTORS:
            self._start(descriptors, message.decode().split())
        for fd in descriptors:
            os.close(fd)
        return True

    def _start(self, descriptors: list[int], words: list[str]) -> None:
        report = inside.Report(os.dup(descriptors[-1]))
        try:
            with contextlib.closing(self._fork(confined=False)) as waiting:
                _hand_over(waiting, descriptors, report, _limit(waiting, words[1:]))
        except OSError as problem:
            report.send(error="a new process", errno=problem.errno or 0, text=problem.strerror or "", path="")
        report.close()

    def _sweep(self) -> None:
        """Kill every child that we have not forked: an orphan of a tree whose first process was killed."""
        end = time.monotonic() + _SWEEP_S
        while time.monotonic() < end:
            try:
                children = set(tree.children_of(os.getpid()))
            except OSError:
                time.sleep(_LOOK_S)  # no descriptor to list them by: they are listed again
                continue
            self._firsts &= children
            strays = children - self._firsts
            if not strays:
                return
            # Not reaped before they are killed: the kernel does that for us, when they end.
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LOOK_S)  # what they leave in turn comes to us as well

    def _fork(self, *, confined: bool) -> Waiting:
        """Fork a process that waits: it does not end, and its pid is not given to another, before we hold its pidfd."""
        group, doors = self._groups.make()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = kernel.clone(_NAMESPACES if confined else 0)
        except OSError:
            _close_all(ours, theirs, doors=doors)
            if group is not None:
                group.remove()
            raise
        if pid == 0:
            _leave(signal.SIGKILL if confined else signal.SIGQUIT, [theirs.fileno(), *doors])
            if confined:
                inside.run_confined(theirs, self._prepared, doors)
            inside.run_plain(theirs, self._prepared, doors)
        self._firsts.add(pid)
        _close_all(theirs, doors=doors)
        waiting = Waiting(pid, os.pidfd_open(pid), ours, group)
        try:
            if confined:
                map_ids(pid)
            ours.send(b"g")
        except OSError:
            os.kill(pid, signal.SIGKILL)
            waiting.close()
            raise
        return waiting


def _limit(waiting: Waiting, words: list[str]) -> tuple[str, ...]:
    """Set the limits of a group, before there is anything in it that could exceed them; return those that are kept."""
    if waiting.group is None:
        return ()
    memory, processes, cpus = words
    return waiting.group.limit(
        waiting.pid, memory_bytes=int(memory), processes=int(processes), cpus=float(cpus)
    )


def _hand_over(
    waiting: Waiting, descriptors: list[int], report: inside.Report, kept: tuple[str, ...]
) -> None:
    # Without a listener it gets no order: it then sees its channel close and exits.
    group = waiting.group.name if waiting.group is not None else ""
    if report.send((waiting.pidfd,), pid=waiting.pid, group=group, kept=kept):
        socket.send_fds(waiting.channel, [b"r"], descriptors)


def _close_all(*channels: socket.socket, doors: list[int]) -> None:
    """Close what belongs to a child."""
    for channel in channels:
        channel.close()
    for door in doors:
        os.close(door)


def _leave(signal_number: signal.Signals, kept: list[int]) -> None:
    """In a child: die with the zygote, and let go of what only the zygote may hold."""
    kernel.die_with_parent(signal_number)
    kernel.reset_signal(signal.SIGCHLD)
    kernel.close_all_but(kept)


def map_ids(pid: int) -> None:
    """Map every id we may to itself: an ordinary user's own, all of them for root."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0 and _map_everything(pid):
        return
    _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", f"{uid} {uid} 1")
    _write(f"/proc/{pid}/gid_map", f"{gid} {gid} 1")


def _map_everything(pid: int) -> bool:
    """Map what we have ourselves (in a container that is less than everything), one to one."""
    try:
        for name in ("uid_map", "gid_map"):
            _write(f"/proc/{pid}/{name}", _own_map(name))
    except PermissionError:
        return False  # root without CAP_SETUID
    return True


@functools.cache
def _own_map(name: str) -> str:
    """Return what a child's map is to be: ours is written once, and never changes."""
    return identity_map(_read(f"/proc/self/{name}"))


def identity_map(own: str) -> str:
    """Turn our own id map into one that gives a child namespace the same ids."""
    ranges = [line.split() for line in own.splitlines()]
    return "".join(f"{first} {first} {count}\n" for first, _outside, count in ranges)


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
