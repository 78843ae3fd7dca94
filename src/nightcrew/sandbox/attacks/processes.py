"""Attacks on processes: see, signal, trace and read others; privileges, priorities, limits; /proc and /sys."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from functools import partial
from typing import Final

from nightcrew.sandbox import system
from nightcrew.sandbox.attacks.trying import (
    Attack,
    Blocked,
    Facts,
    call,
    libc,
    open_and_close,
    reach_first,
    read_some,
    read_status,
)
from nightcrew.sandbox.seccomp import number_of

_TRACEME, _ATTACH, _DETACH = 0, 16, 17
_IPC_STAT: Final = 2
_ZEROS: Final = ("CapPrm", "CapEff", "CapBnd", "CapAmb")
_SWITCHES: Final = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/pid_max",
    "/proc/sys/vm/overcommit_memory", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/unified/cgroup.procs",
    "/sys/fs/cgroup/memory/release_agent", "/sys/power/state",
)  # fmt: skip


def _others() -> list[int]:
    """Return the visible processes that are not below us or above us inside."""
    ours = {os.getpid(), os.getppid(), 1}
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in ours]


def list_processes(facts: Facts) -> str:
    if not os.path.exists(f"/proc/{facts['victim']}") and len(_others()) <= facts["own_processes"]:
        raise Blocked("only its own")
    return f"{len(_others())} processes of the host"


def signal_process(facts: Facts) -> str:
    if facts["victim"] in (1, os.getpid(), os.getppid()):
        raise Blocked("that number is one of ours here")
    os.kill(facts["victim"], signal.SIGKILL)
    return "killed"


def trace_process(facts: Facts) -> str:
    call(number_of("ptrace"), _ATTACH, facts["victim"], 0, 0)
    os.waitpid(facts["victim"], 0x40000000)
    call(number_of("ptrace"), _DETACH, facts["victim"], 0, 0)
    return "attached"


def trace_self(_facts: Facts) -> str:
    call(number_of("ptrace"), _TRACEME, 0, 0, 0)
    return "a tracer may come"


def read_memory(facts: Facts) -> str:
    with open(f"/proc/{facts['victim']}/maps", "rb") as maps:
        start = int(maps.readline().split(b"-")[0], 16)
    fd = os.open(f"/proc/{facts['victim']}/mem", os.O_RDONLY)
    return f"{len(os.pread(fd, 64, start))} bytes"


def copy_memory(facts: Facts) -> str:
    """process_vm_readv of an address that no process has: only one who may ask is told that it is wrong."""
    buffer = ctypes.create_string_buffer(16)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 16)
    there = (ctypes.c_ulong * 2)(8, 16)
    arguments = facts["victim"], ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0
    try:
        call(number_of("process_vm_readv"), *arguments)
    except OSError as problem:
        if problem.errno != 14:  # EFAULT
            raise
    return "allowed to read"


def read_environments(facts: Facts) -> str:
    """What a back end was started with itself is what was given; anything more is of somebody else."""
    found: set[str] = set()
    for pid in {1, *_others()}:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            found |= {
                word.split(b"=")[0].decode(errors="replace") for word in file.read().split(b"\0") if word
            }
    return _tell_foreign(found, facts)


def read_own_environment(facts: Facts) -> str:
    return _tell_foreign(set(os.environ), facts)


def _tell_foreign(names: set[str], facts: Facts) -> str:
    foreign = sorted(names - set(facts["variables"]))
    if not foreign:
        raise Blocked("nothing but what was given")
    return f"{len(foreign)} variables, such as {foreign[0]}"


def enter_process(facts: Facts) -> str:
    """Roots, working directories and descriptors of others, by the links in /proc."""
    for pid in [1, facts["victim"], *_others()]:
        ways = (
            f"/proc/{pid}/root{facts['secret']}",
            f"/proc/{pid}/cwd{facts['secret']}",
            f"/proc/{pid}/fd/0/..",
        )
        for way in ways:
            with contextlib.suppress(OSError):
                os.stat(way)
                return way
    raise Blocked("no link leads out")


def take_descriptor(facts: Facts) -> str:
    pidfd = os.pidfd_open(facts["victim"])
    return f"descriptor {call(number_of('pidfd_getfd'), pidfd, 0, 0)}"


def hold_privileges(_facts: Facts) -> str:
    status = read_status()
    gains = status.get("NoNewPrivs") != "1"
    # The bounding set is what starting a program could give at most. Only who has privileges can empty it; where none
    # are there and none can be won, it gives nothing. Root's must be empty: starting a program gives root all of it.
    counted = _ZEROS if gains or os.getuid() == 0 else [name for name in _ZEROS if name != "CapBnd"]
    left = [name for name in counted if int(status.get(name, "1"), 16)]
    left += ["new privileges"] if gains else []
    left += ["no filter"] if status.get("Seccomp") != "2" else []
    if not left:
        raise Blocked("no capability, no new privileges, calls filtered")
    return ", ".join(left)


def become_other(_facts: Facts) -> str:
    other = 1 if os.getuid() == 0 else 0
    return reach_first(
        {
            "groups": lambda: os.setgroups([other]),
            "group": lambda: os.setresgid(other, other, other),
            "user": lambda: os.setresuid(other, other, other),
        }
    )


def go_before_others(_facts: Facts) -> str:
    return reach_first(
        {
            "nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
            "real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
            "never the first for want of memory": lambda: _write("/proc/self/oom_score_adj", b"-1000"),
        }
    )


def raise_limits(facts: Facts) -> str:
    for kind, value in (("RLIMIT_NOFILE", facts["open_files"]), ("RLIMIT_FSIZE", facts["file_bytes"])):
        number = getattr(resource, kind)
        if resource.getrlimit(number)[1] not in range(value + 1):
            return f"{kind} is {resource.getrlimit(number)[1]}"
        try:
            resource.setrlimit(number, (value + 1, value + 1))
        except ValueError as problem:  # how Python says EPERM here
            raise Blocked(str(problem)) from problem
    return "raised"


def write_switches(_facts: Facts) -> str:
    """Only opened: writing one of them as root of the host is a way out."""
    return reach_first({path: partial(open_and_close, path, os.O_WRONLY) for path in _SWITCHES})


def read_kernel(_facts: Facts) -> str:
    """Files of /proc that show the machine's memory, log, keys and timers."""
    seen = []
    for name in system.PROC_HIDDEN:
        with contextlib.suppress(OSError):
            if read_some(f"/proc/{name}"):
                seen.append(name)
    if not seen:
        raise Blocked("covered or refused")
    return ", ".join(seen[:5])


def read_sys(_facts: Facts) -> str:
    names = os.listdir("/sys")
    if not names:
        raise Blocked("it is empty")
    return ", ".join(sorted(names)[:4])


def inject_input(_facts: Facts) -> str:
    master, slave = os.openpty()
    text = ctypes.create_string_buffer(b"x")
    try:
        return reach_first(
            {
                "TIOCSTI": lambda: _control(slave, 0x5412, ctypes.addressof(text)),
                "TIOCSTI in the high half": lambda: _control(slave, 0x1_0000_5412, ctypes.addressof(text)),
                "TIOCLINUX": lambda: _control_reached(slave, 0x541C, ctypes.addressof(text)),
            }
        )
    finally:
        os.close(master)
        os.close(slave)


def open_terminal(_facts: Facts) -> str:
    open_and_close("/dev/tty", os.O_RDWR)
    return "opened"


def _control(fd: int, request: int, argument: int) -> None:
    call(number_of("ioctl"), fd, request, argument)


def _control_reached(fd: int, request: int, argument: int) -> None:
    try:
        _control(fd, request, argument)
    except OSError as problem:
        if problem.errno != 25:  # ENOTTY: the driver was asked, and it is not its kind of terminal
            raise


def find_segment(facts: Facts) -> str:
    """A System V shared memory segment of the host: by its key, or by the number that /proc/sysvipc tells everybody."""
    status = ctypes.create_string_buffer(512)
    return reach_first(
        {
            "by its number": lambda: _check(libc.shmctl(facts["segment"], _IPC_STAT, status)),
            "by its key": lambda: _check(libc.shmget(facts["segment_key"], 0, 0)),
        }
    )


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def rename_machine(_facts: Facts) -> str:
    """To a name that is too long, so that it keeps its own: refused before that is noticed, or not."""
    try:
        call(number_of("sethostname"), 0, 65)
    except OSError as problem:
        if problem.errno != 22:  # EINVAL: we may, but not this one
            raise
    return "allowed"


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        list_processes,  trace_process, trace_self, read_memory, copy_memory, read_environments,
        read_own_environment, enter_process, take_descriptor, hold_privileges, become_other, go_before_others,
        raise_limits, write_switches, read_kernel, read_sys, inject_input, open_terminal, find_segment,
        rename_machine,
        signal_process,
    )
}  # fmt: skip
