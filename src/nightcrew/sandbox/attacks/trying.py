"""What the attacking side has in common: what an attack is, what it may use, how its result is said.

Everything below ``attacks`` that runs inside is loaded by a bare interpreter there: only the standard library.
Every attack is harmless also where it succeeds: it reaches for bait, and asks the kernel for nothing it would give.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any, Final

Facts = Mapping[str, Any]
#: Returns what it got, in words; raises OSError or Blocked when it got nothing.
Attack = Callable[[Facts], str]

BLOCKED: Final = "blocked: "
GOT: Final = "got: "
MACHINE: Final = platform.machine()
_REFUSALS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EACCES})
_NONSENSE: Final = ctypes.c_ulong(2**64 - 1)

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Blocked(Exception):
    """The attack got nothing; the words say why."""


def call(number: int, *arguments: int) -> int:
    """Make a system call with whole numbers.

    Raises:
        OSError: as the kernel answered.
    """
    words = [ctypes.c_ulong(value & (2**64 - 1)) for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *words, *[ctypes.c_ulong(0)] * (6 - len(words))))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def is_refused(number: int) -> bool:
    """Tell whether a call is refused before the kernel looks at its arguments, which make no sense."""
    ctypes.set_errno(0)
    result = int(libc.syscall(ctypes.c_long(number), *[_NONSENSE] * 6))
    return result < 0 and ctypes.get_errno() in _REFUSALS


def reach_first(what: Mapping[str, Callable[[], object]]) -> str:
    """Try each way in turn and return the name of the first that works.

    Raises:
        OSError: as the last of them was answered, when none works.
    """
    last: OSError = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for name, act in what.items():
        try:
            act()
        except OSError as problem:
            last = problem
        else:
            return name
    raise last


def read_status() -> dict[str, str]:
    """Return what the kernel says of this process: capabilities, privileges, filter."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        pairs = [line.split(":", 1) for line in file if ":" in line]
    return {name: value.strip() for name, value in pairs}


def open_and_close(path: str, flags: int) -> None:
    """Open a path and close it again: with O_WRONLY that alone shows that it could be written."""
    os.close(os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))


def read_some(path: str) -> bytes:
    """Return the first bytes of a file, never waiting for any."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return os.read(fd, 256)
    finally:
        os.close(fd)
