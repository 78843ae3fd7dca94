"""System calls of other processes that wait for our answer (seccomp user notification). Linux 5.6 for what is used here.

Numbers: include/uapi/linux/seccomp.h. The listener is a descriptor of the filter; ``listen_to_filter`` in
``host.kernel`` makes it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from typing import Final, NamedTuple

_RECEIVE, _SEND, _ID_VALID, _ADD = 0xC0502100, 0xC0182101, 0x40082102, 0x40182103
_ADD_AS_NUMBER: Final = 1
_NOTIFICATION: Final = (
    "=QIIiIQ6Q"  # id, pid, flags, then seccomp_data: number, architecture, place, arguments
)
_NOTIFICATION_BYTES: Final = struct.calcsize(_NOTIFICATION)
_PIDFD_GETFD: Final = 438
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_PATH_MAX: Final = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Call(NamedTuple):
    """One call that waits: ``thread`` (as this process numbers it) wants call ``number`` with ``arguments``."""

    id: int
    thread: int
    number: int
    arguments: tuple[int, ...]


def receive(listener: int) -> Call | None:
    """Take the next call; None when the one that was announced has gone away, or an interrupt came between."""
    buffer = bytearray(_NOTIFICATION_BYTES)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.EINTR):
            raise
        return None
    name, thread, _flags, number, _architecture, _place, *arguments = struct.unpack(_NOTIFICATION, buffer)
    return Call(name, thread, number, tuple(arguments))


def answer(listener: int, call: Call, problem: int) -> None:
    """Let the call return 0, or fail with the error number ``problem``."""
    response = struct.pack("=QqiI", call.id, 0, -problem, 0)
    try:
        fcntl.ioctl(listener, _SEND, response)
    except OSError as gone:
        if gone.errno != errno.ENOENT:  # killed, or a signal interrupted the call
            raise


def still_waits(listener: int, call: Call) -> bool:
    """Tell whether the caller is still there; its number belongs to nobody else before that."""
    try:
        fcntl.ioctl(listener, _ID_VALID, struct.pack("=Q", call.id))
    except OSError:
        return False
    return True


def put_descriptor(listener: int, call: Call, ours: int, number: int, *, close_on_exec: bool) -> None:
    """Put our descriptor into the caller's process as ``number``, in the place of what is there. Linux 5.9.

    Raises:
        OSError: the caller has gone.
    """
    flags = os.O_CLOEXEC if close_on_exec else 0
    request = struct.pack("=QIIII", call.id, _ADD_AS_NUMBER, ours, number, flags)
    fcntl.ioctl(listener, _ADD, request)


def read_flags(thread: int, number: int) -> int:
    """Return the ``O_*`` flags of a socket of a thread's process.

    Raises:
        OSError: EBADF or ENOTSOCK, or not ours to see.
    """
    try:
        if not os.readlink(f"/proc/{thread}/fd/{number}").startswith("socket:"):  # noqa: PTH115
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
        with open(f"/proc/{thread}/fdinfo/{number}", "rb") as file:  # noqa: PTH123
            return next(int(line.split()[1], 8) for line in file if line.startswith(b"flags:"))
    except FileNotFoundError as cause:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from cause


def read_memory(thread: int, address: int, size: int) -> bytes:
    """Return up to ``size`` bytes of a thread's memory.

    Raises:
        OSError: not mapped, or not ours to read.
    """
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(memory, size, address)
    except OverflowError as cause:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from cause
    finally:
        os.close(memory)


def read_path(thread: int, address: int) -> bytes:
    """Return the text that ends with a NUL at an address, a page at a time, for the next one may not exist.

    Raises:
        OSError: EFAULT, or ENAMETOOLONG.
    """
    text = b""
    while len(text) < _PATH_MAX:
        here = address + len(text)
        piece = read_memory(thread, here, _PAGE - here % _PAGE)
        if not piece:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        end = piece.find(b"\0")
        if end >= 0:
            return text + piece[:end]
        text += piece
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def take_descriptor(thread: int, number: int) -> int:
    """Return a descriptor of ours for what descriptor ``number`` of a thread's process is.

    Raises:
        OSError: EBADF, or it is not ours to take.
    """
    pidfd = os.pidfd_open(_process_of(thread))
    try:
        zero = ctypes.c_uint(0)
        found = int(_libc.syscall(ctypes.c_long(_PIDFD_GETFD), pidfd, ctypes.c_int(number), zero))
    finally:
        os.close(pidfd)
    if found < 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem))
    return found


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", "rb") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(b"Tgid:"):
                return int(line.split()[1])
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
