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


class Waiting(NamedTuple):
    """A process that waits for its order, and our end of the channel it waits on."""

    pid: int
    channel: socket.socket


class Zygote:
    """Forks on request, and keeps one spare ready: new namespaces cost a third of a start."""

    def __init__(self, control: socket.socket, prepared: inside.Prepared) -> None:
        self._control = control
        self._prepared = prepared
        self._spare: Waiting | None = None

    def prepare_one(self) -> None:
        """Fork a spare; when that is refused, the next request asks again and tells why."""
        with contextlib.suppress(OSError):
            self._spare = self._fork(confined=True)

    def serve_one(self) -> bool:
        """Handle one request; False when the launcher is gone."""
        message, descriptors, _flags, _sender = socket.recv_fds(
            self._control, 16, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        if not message:
            return False
        if len(descriptors) == DESCRIPTORS:
            self._start(descriptors, confined=message == b"c")
        for fd in descriptors:
            os.close(fd)
        if self._spare is None:
            self.prepare_one()
        return True

    def _start(self, descriptors: list[int], *, confined: bool) -> None:
        report = inside.Report(os.dup(descriptors[-1]))
        try:
            waiting = self._take_spare() if confined else self._fork(confined=False)
            with waiting.channel:
                _hand_over(waiting, descriptors, report)
        except OSError as problem:
            step = "new namespaces" if confined else "a new process"
            report.send(error=step, errno=problem.errno or 0, text=problem.strerror or "", path="")
        report.close()

    def _take_spare(self) -> Waiting:
        spare, self._spare = self._spare, None
        if spare is not None and not select.select([spare.channel], [], [], 0)[0]:
            return spare
        return self._fork(confined=True)  # there is none, or it was killed: its end of the channel is closed

    def _fork(self, *, confined: bool) -> Waiting:
        """Fork a process that waits: it cannot end, and its pid not be given to another, before we hold its pidfd."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = kernel.clone(_NAMESPACES if confined else 0)
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            _leave(signal.SIGKILL if confined else signal.SIGQUIT, [theirs.fileno()])
            if confined:
                inside.run_confined(theirs, self._prepared)
            inside.run_plain(theirs)
        theirs.close()
        try:
            if confined:
                map_ids(pid)
            ours.send(b"g")
        except OSError:
            os.kill(pid, signal.SIGKILL)
            ours.close()
            raise
        return Waiting(pid, ours)


def _hand_over(waiting: Waiting, descriptors: list[int], report: inside.Report) -> None:
    pidfd = os.pidfd_open(waiting.pid)
    try:
        # Without a listener it gets no order: it then sees its channel close and exits.
        if report.send((pidfd,), pid=waiting.pid):
            socket.send_fds(waiting.channel, [b"r"], descriptors)
    finally:
        os.close(pidfd)


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
