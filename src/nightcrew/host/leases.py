"""Whether a file can still change without its times telling.

A program that has a file mapped for writing changes it without any further sign: the kernel moves the file's times
at the first store into a clean page, and not again until the page has been written to disk. A read lease is granted
only when nobody has the file open for writing, or mapped for it; asking for one is the way to know.
"""

from __future__ import annotations

import fcntl
import signal
from typing import Final

# As plain numbers: a member of an enumeration is three times as dear to hand over, and this is done for every file that is read.
_SIGURG: Final = int(signal.SIGURG)
_SET_SIGNAL: Final = fcntl.F_SETSIG
_SET_LEASE: Final = fcntl.F_SETLEASE
_READ: Final = fcntl.F_RDLCK
_NONE: Final = fcntl.F_UNLCK


def is_at_rest(fd: int) -> bool:
    """Tell whether nobody has this file open for writing, or mapped for it, at this moment.

    Args:
        fd: open for reading only.

    Returns:
        False also where it cannot be told: the file is not ours, or its file system has no leases.
    """
    ask = fcntl.fcntl
    try:
        # Whoever opens the file while we hold the lease makes the kernel signal us; SIGIO would end the process,
        # SIGURG is ignored by default.
        ask(fd, _SET_SIGNAL, _SIGURG)
        ask(fd, _SET_LEASE, _READ)
        ask(fd, _SET_LEASE, _NONE)
    except OSError:
        return False
    return True
