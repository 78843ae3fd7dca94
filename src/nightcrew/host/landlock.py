"""Landlock: a process takes rights away from itself and from everything it will start. Linux 5.13.

Only the standard library is imported, because the sandbox's zygote loads this file with ``-I -S``. Numbers:
include/uapi/linux/landlock.h; the calls have the same numbers on every machine.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
_REMOVE_AND_MAKE: Final = 0x1FF0  # remove dir, file; make char, dir, regular, socket, fifo, block, link
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
REFER: Final = 1 << 13  # version 2
TRUNCATE: Final = 1 << 14  # version 3
IOCTL_DEVICE: Final = 1 << 15  # version 5

_EVERYTHING: Final = EXECUTE | WRITE_FILE | READ_FILE | READ_DIR | _REMOVE_AND_MAKE | REFER | TRUNCATE
_OF_A_FILE: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE
_BIND_AND_CONNECT_TCP: Final = 3  # version 4
_ABSTRACT_SOCKETS_AND_SIGNALS: Final = 3  # version 6

#: May be read, listed and executed.
READ: Final = EXECUTE | READ_FILE | READ_DIR
#: Everything but device nodes.
WRITE: Final = _EVERYTHING & ~(_MAKE_CHAR | _MAKE_BLOCK)
#: A device: read, written, asked.
DEVICE: Final = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEVICE

#: First version that also keeps files from being cut short; with less, files that can be read can be emptied.
NEEDED: Final = 3
WITH_TCP: Final = 4
WITH_SCOPES: Final = 6

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def version() -> int:
    """Return the version of Landlock this kernel has; 0 when it has none, or none that is switched on."""
    found = _libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))
    return max(0, int(found))


class Ruleset:
    """What will be allowed; everything else that this kernel can forbid is not.

    Args:
        known: version to use, at most ``version()``.
    """

    def __init__(self, known: int) -> None:
        self._handled = _EVERYTHING | (IOCTL_DEVICE if known >= 5 else 0)
        words = [self._handled]
        if known >= WITH_TCP:
            words.append(_BIND_AND_CONNECT_TCP)
        if known >= WITH_SCOPES:
            words.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
        attributes = struct.pack(f"={len(words)}Q", *words)
        self._fd = _call("landlock", _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)

    def allow(self, path: str, rights: int) -> None:
        """Allow ``rights`` for a file, or for a directory with everything below it; links are followed.

        Raises:
            FileNotFoundError: there is nothing.
        """
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= _OF_A_FILE
            beneath = struct.pack("=Qi", rights & self._handled, place)
            _call(path, _ADD_RULE, self._fd, _PATH_BENEATH, beneath, 0)
        finally:
            os.close(place)

    def enter(self) -> None:
        """Let it hold for this thread, for good; needs no_new_privs."""
        _call("landlock", _RESTRICT_SELF, self._fd, 0)
        os.close(self._fd)


def _call(path: str, number: int, *args: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        problem = ctypes.get_errno()
        raise OSError(problem, os.strerror(problem), path)
    return result
