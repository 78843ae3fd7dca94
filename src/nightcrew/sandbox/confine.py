"""The last steps before a program starts: limits, privileges, filter. After this nothing can be taken back."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import Final

from nightcrew.host import kernel
from nightcrew.sandbox.order import Order

_NPROC_IS_PER_NAMESPACE: Final = (5, 14)  # before, all processes of the user on this machine counted
_PID_MAX_IS_OURS: Final = (6, 14)  # since then kernel.pid_max belongs to the pid namespace
_RESERVED_PIDS: Final = 300  # once pids have gone round, numbers below are not given out again
_KILL_FIRST: Final = (
    500  # of 1000: when the machine runs out of memory, this tree goes before the user's programs
)


def kernel_bounds_processes(uid: int) -> bool:
    """Tell whether the kernel bounds the processes of a sandbox of this user exactly, without a control group.

    Root has no such limit; the numbers its sandbox may give out (``pid_max``) are a second wall, some hundred too wide.
    """
    return uid != 0 and kernel.version() >= _NPROC_IS_PER_NAMESPACE


def pid_max_for(limit: int) -> int:
    """Return the ``kernel.pid_max`` of a sandbox, 0 to leave it alone: on older kernels it is the whole machine's."""
    return limit + _RESERVED_PIDS if limit and kernel.version() >= _PID_MAX_IS_OURS else 0


def set_limits(order: Order, *, own_namespace: bool) -> None:
    """Set the limits that every descendant inherits; a hard limit that is lower already stays."""
    _lower(resource.RLIMIT_CORE, 0)
    if order["open_files"]:
        _lower(resource.RLIMIT_NOFILE, order["open_files"])
    if order["file_bytes"]:
        _lower(resource.RLIMIT_FSIZE, order["file_bytes"])
    if order["processes"] and own_namespace and kernel.version() >= _NPROC_IS_PER_NAMESPACE:
        _lower(resource.RLIMIT_NPROC, order["processes"] + 1)  # one is the sandbox's own init
    os.umask(0o022)


def volunteer_for_oom() -> None:
    """Let the kernel's out-of-memory killer choose this tree first; /proc must still be writable."""
    with contextlib.suppress(OSError):  # a host that has set it higher already does not let us lower it
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, b"%d" % _KILL_FIRST)
        os.close(fd)


def give_up_privileges(seccomp_filter: bytes) -> None:
    """Drop the capabilities the build needed and install the filter."""
    kernel.close_on_exec_from(3)
    kernel.hide_from_tracers()
    kernel.drop_capabilities()
    kernel.install_filter(seccomp_filter)


def _lower(kind: int, value: int) -> None:
    _soft, hard = resource.getrlimit(kind)
    wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (wanted, wanted))
