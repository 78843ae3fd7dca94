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
import signal
import socket
import sys
from typing import Final, NoReturn

from nightcrew.host import kernel
from nightcrew.sandbox import build, inside
from nightcrew.sandbox.seccomp import compile_filter

DESCRIPTORS: Final = 5
_WHOLE_RANGE: Final = 4294967295


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
    control = socket.socket(fileno=control_fd)
    while _serve_one(control, prepared):
        pass
    sys.exit(0)


def _allow_many_descriptors() -> None:
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _serve_one(control: socket.socket, prepared: inside.Prepared) -> bool:
    message, descriptors, _flags, _sender = socket.recv_fds(control, 16, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if not message:
        return False
    try:
        if len(descriptors) == DESCRIPTORS:
            _start(control, message == b"c", descriptors, prepared)
    finally:
        for fd in descriptors:
            with contextlib.suppress(OSError):
                os.close(fd)
    return True


def _start(control: socket.socket, confined: bool, descriptors: list[int], prepared: inside.Prepared) -> None:
    order, stdin, stdout, stderr, channel = descriptors
    report_socket = socket.socket(fileno=os.dup(channel))
    report = inside.Report(report_socket)
    mapped, go = os.pipe()
    try:
        pid = kernel.clone(kernel.CLONE_ALL if confined else 0)
    except OSError as problem:
        report.send(error="new namespaces", errno=problem.errno, text=problem.strerror or "", path="")
        os.close(mapped)
        os.close(go)
        report_socket.close()
        return
    if pid == 0:
        _become_first(control, go, mapped)
        streams = (stdin, stdout, stderr)
        os.close(channel)
        if confined:
            inside.run_confined(order, streams, report, prepared)
        inside.run_plain(order, streams, report)
    os.close(mapped)
    _release(pid, go, confined, report)
    os.close(go)
    report_socket.close()


def _become_first(control: socket.socket, go: int, mapped: int) -> None:
    """In the child: die with the zygote, wait until it has mapped our user id."""
    try:
        kernel.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        os.close(go)
        ready = os.read(mapped, 1)
        os.close(mapped)
    except OSError:
        os._exit(1)
    if not ready:
        os._exit(1)


def _release(pid: int, go: int, confined: bool, report: inside.Report) -> None:
    """In the zygote: map ids, hand over the child's pidfd, let the child go on."""
    pidfd = -1
    try:
        pidfd = os.pidfd_open(pid)
        if confined:
            map_ids(pid)
        report.send((pidfd,), pid=pid)
        os.write(go, b"g")
    except OSError as problem:
        report.send(error="user id mapping", errno=problem.errno, text=problem.strerror or "", path="")
        os.kill(pid, signal.SIGKILL)
    finally:
        if pidfd >= 0:
            os.close(pidfd)


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
