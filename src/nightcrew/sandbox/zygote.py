"""The zygote: a small process with one thread that forks every sandbox.

New namespaces need a process with a single thread, and a fork is cheap only from a small one; the launcher's own
process is neither. It reads nothing from the environment, holds no secret, and dies with its launcher: by the
parent-death signal, and by the end of the socket. Its children get the same signal from it.

A request is one byte (``c`` confined, ``p`` plain) with five descriptors: order, stdin, stdout, stderr, report.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import select
import signal
import socket
import sys
from typing import Final, NamedTuple, NoReturn

from nightcrew.host import kernel
from nightcrew.sandbox import build, inside
from nightcrew.sandbox.seccomp import compile_filter

DESCRIPTORS: Final = 5
# The mount namespace is made when the order is there; see inside.wait_for_order.
_NAMESPACES: Final = kernel.CLONE_ALL & ~kernel.CLONE_NEWNS


def main(control_fd: int, parent: int) -> NoReturn:
    """Serve until the launcher is gone."""
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked
    os.chdir("/")
    _allow_many_descriptors()
    signal.signal(
        signal.SIGCHLD, signal.SIG_IGN
    )  # the launcher watches its sandboxes by pidfd; no zombies here
    filter_program = compile_filter(kernel.MACHINE) if kernel.knows_this_machine() else b""
    prepared = inside.Prepared(build.look_at_host(), filter_program)
    gc.collect()
    gc.freeze()  # children share our memory until they write to it; a collection would
    gc.disable()
    zygote = Zygote(socket.socket(fileno=control_fd), prepared)
    zygote.prepare_one()
    while zygote.serve_one():
        pass
    sys.exit(0)


def _allow_many_descriptors() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Spare(NamedTuple):
    """A process that waits in fresh namespaces for its order."""

    pid: int
    channel: socket.socket


class Zygote:
    """Forks on request, and keeps one spare ready: new namespaces cost a third of a start."""

    def __init__(self, control: socket.socket, prepared: inside.Prepared) -> None:
        self._control = control
        self._prepared = prepared
        self._spare: Spare | None = None

    def prepare_one(self) -> None:
        """Fork a spare; when that is refused, the next request asks again and tells why."""
        with contextlib.suppress(OSError):
            self._spare = self._fork_spare()

    def serve_one(self) -> bool:
        """Handle one request; False when the launcher is gone."""
        message, descriptors, _flags, _sender = socket.recv_fds(
            self._control, 16, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return False
        if len(descriptors) == DESCRIPTORS:
            if message == b"c":
                self._start_confined(descriptors)
            else:
                self._start_plain(descriptors)
        for fd in descriptors:
            os.close(fd)
        if self._spare is None:
            self.prepare_one()
        return True

    def _start_confined(self, descriptors: list[int]) -> None:
        report = inside.Report(os.dup(descriptors[-1]))
        try:
            spare = self._take_spare()
            pidfd = os.pidfd_open(spare.pid)
            # Without an answer nobody waits for it: it then sees its channel close and exits.
            if report.send((pidfd,), pid=spare.pid):
                socket.send_fds(spare.channel, [b"r"], descriptors)
            spare.channel.close()
            os.close(pidfd)
        except OSError as problem:
            report.send(
                error="new namespaces", errno=problem.errno or 0, text=problem.strerror or "", path=""
            )
        report.close()

    def _take_spare(self) -> Spare:
        spare, self._spare = self._spare, None
        if spare is not None and not select.select([spare.channel], [], [], 0)[0]:
            return spare
        return self._fork_spare()  # there is none, or it was killed: its end of the channel is closed

    def _fork_spare(self) -> Spare:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = kernel.clone(_NAMESPACES)
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _leave(signal.SIGKILL, [theirs.fileno()])
            inside.run_confined(theirs, self._prepared)
        theirs.close()
        try:
            map_ids(pid)
            ours.send(b"g")
        except OSError:
            os.kill(pid, signal.SIGKILL)
            ours.close()
            raise
        return Spare(pid, ours)

    def _start_plain(self, descriptors: list[int]) -> None:
        report = inside.Report(os.dup(descriptors[-1]))
        try:
            pid = os.fork()
        except OSError as problem:
            report.send(error="a new process", errno=problem.errno or 0, text=problem.strerror or "", path="")
            report.close()
            return
        if pid == 0:
            _leave(signal.SIGQUIT, descriptors)
            order, stdin, stdout, stderr, report_fd = descriptors
            inside.run_plain(order, (stdin, stdout, stderr), inside.Report(report_fd))
        pidfd = os.pidfd_open(pid)
        report.send((pidfd,), pid=pid)
        os.close(pidfd)
        report.close()


def _leave(signal_number: signal.Signals, kept: list[int]) -> None:
    """In a child: die with the zygote, and let go of what only the zygote may hold."""
    kernel.die_with_parent(signal_number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
            _write(f"/proc/{pid}/{name}", identity_map(_read(f"/proc/self/{name}")))
    except PermissionError:
        return False  # root without CAP_SETUID
    return True


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
