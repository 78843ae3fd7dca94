"""Level S1, inside: a program that has taken rights away from itself before it begins.

There are no namespaces here. Landlock keeps files, connections, signals and tracing within the sandbox, two system
call filters close what Landlock does not know, and the calls that the second one hands on are answered outside. The
first process of the tree stays as it is, out of reach of the program, so that it can end the whole tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from nightcrew.host import kernel, landlock
from nightcrew.sandbox.order import RestrictOrder
from nightcrew.sandbox.supervised import compile_supervised

Send = Callable[[int], bool]


class Unrestricted(OSError):
    """The kernel refused a part of the confinement; nothing was started."""


def start(
    restrict: RestrictOrder,
    program: str,
    argv: list[str],
    env: dict[str, str],
    filter_program: bytes,
    send: Send,
) -> int:
    """Fork, restrict the child, start ``program`` in it; returns its pid.

    Args:
        restrict: what it may reach.
        program, argv, env: what runs.
        filter_program: the system call filter of every level.
        send: gives the listener of handed-on calls to the launcher, from the child.

    Raises:
        Unrestricted: see there.
        OSError: the program itself cannot be started.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.close(told)
        _become(restrict, program, argv, env, filter_program, send, tell)
    os.close(tell)
    with open(told, "rb") as file:
        words = file.read().split(b" ", 2)
    if len(words) < 3:
        return child
    os.waitpid(child, 0)
    kind = OSError if words[0] == b"program" else Unrestricted
    raise kind(int(words[1]), os.strerror(int(words[1])), words[2].decode(errors="replace"))


def run_restricted(
    restrict: RestrictOrder, filter_program: bytes, send: Send, act: Callable[[], None]
) -> int:
    """As ``start``, with a function of ours instead of a program; returns the pid of the child."""
    child = os.fork()
    if child == 0:
        try:
            _enter(restrict, filter_program, send)
            act()
        finally:
            os._exit(1)
    return child


def _become(
    restrict: RestrictOrder,
    program: str,
    argv: list[str],
    env: dict[str, str],
    filter_program: bytes,
    send: Send,
    tell: int,
) -> NoReturn:
    part = b"restriction"
    try:
        os.setsid()
        _reset_signals()
        _enter(restrict, filter_program, send)
        part = b"program"
        os.execve(program, argv, env)  # noqa: S606 - the program that is to be confined
    except OSError as problem:
        place = os.fsencode(problem.filename or "")
        os.write(tell, b"%s %d %s" % (part, problem.errno or errno.EPERM, place))
    except Exception as problem:  # noqa: BLE001 - told outside; in here nobody would ever see it
        os.write(tell, b"restriction %d %s" % (errno.EFAULT, type(problem).__name__.encode()))
    finally:
        os._exit(1)


def _reset_signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError):  # the two that the C library keeps for itself
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _enter(restrict: RestrictOrder, filter_program: bytes, send: Send) -> None:
    """Take every right away that is not asked for; the listener goes out before the last filter lets nothing pass."""
    known = landlock.version()
    if known < landlock.NEEDED:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), "landlock")
    kernel.die_with_parent(signal.SIGKILL)
    with contextlib.suppress(PermissionError):  # an ordinary user has nothing to give up, and may not say so
        kernel.give_up_future_privileges()
    kernel.allow_no_new_privileges()
    if os.getuid() == 0:
        with contextlib.suppress(PermissionError):  # root that may not change groups
            os.setgroups([])
    ruleset = landlock.Ruleset(known)
    _fill(ruleset, restrict)
    kernel.close_on_exec_from(3)
    kernel.drop_capabilities()
    ruleset.enter()
    kernel.install_filter(filter_program)
    tcp = known >= landlock.WITH_TCP
    listener = kernel.listen_to_filter(compile_supervised(kernel.MACHINE, tcp=tcp))
    if not send(listener):
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE), "launcher")
    os.close(listener)


def _fill(ruleset: landlock.Ruleset, restrict: RestrictOrder) -> None:
    for rights, paths in (
        (landlock.READ, restrict["readable"]),
        (landlock.WRITE, restrict["writable"]),
        (landlock.DEVICE, restrict["devices"]),
    ):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):  # a link of the system that leads nowhere
                ruleset.allow(path, rights)
