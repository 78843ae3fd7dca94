"""Attacks on the kernel: calls that are refused, other call tables, new namespaces, mounts."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Final

from nightcrew.sandbox import seccomp
from nightcrew.sandbox.attacks.trying import (
    MACHINE,
    Attack,
    Blocked,
    Facts,
    call,
    is_refused,
    libc,
    reach_first,
)
from nightcrew.sandbox.seccomp import number_of

_NAMESPACES: Final = {
    "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000, "ipc": 0x08000000,
    "uts": 0x04000000, "cgroup": 0x02000000, "time": 0x80,
}  # fmt: skip
#: vhangup has no argument that could make no sense: where it is not refused, it hangs the terminal up.
_ACTS_AT_ONCE: Final = ("vhangup",)
_GETPID_IN_32_BITS: Final = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
_X32: Final = 0x40000000
_OPEN_TREE_CLONE: Final = 1
_MS_BIND: Final = 4096


def call_refused(facts: Facts) -> str:
    """All of the filter's list, with arguments that make no sense: an answer about those is one too many."""
    names = [name for name in seccomp.REFUSED if number_of(name) >= 0 and _may_be_made(name, facts)]
    open_ones = [name for name in names if not is_refused(number_of(name))]
    if not open_ones:
        raise Blocked(f"all of {len(names)} calls")
    return f"{len(open_ones)} of {len(names)} are open: {', '.join(open_ones[:6])}"


def _may_be_made(name: str, facts: Facts) -> bool:
    return name not in _ACTS_AT_ONCE or bool(facts["filtered"])


def _refused(name: str) -> str:
    if is_refused(number_of(name)):
        raise Blocked("refused")
    return "the kernel looked at it"


def use_io_uring(_facts: Facts) -> str:
    return _refused("io_uring_setup")


def use_userfaultfd(_facts: Facts) -> str:
    return _refused("userfaultfd")


def use_keyring(_facts: Facts) -> str:
    return reach_first({name: partial(_must_open, name) for name in ("add_key", "request_key", "keyctl")})


def use_bpf(_facts: Facts) -> str:
    return reach_first({name: partial(_must_open, name) for name in ("bpf", "perf_event_open")})


def load_module(_facts: Facts) -> str:
    names = (
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
        "reboot",
        "swapon",
    )
    return reach_first({name: partial(_must_open, name) for name in names})


def open_by_handle(_facts: Facts) -> str:
    names = ("name_to_handle_at", "open_by_handle_at")
    return reach_first({name: partial(_must_open, name) for name in names})


def set_clock(_facts: Facts) -> str:
    names = ("settimeofday", "clock_settime", "adjtimex", "clock_adjtime")
    return reach_first({name: partial(_must_open, name) for name in names})


def _must_open(name: str) -> None:
    if is_refused(number_of(name)):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def nest_namespaces(_facts: Facts) -> str:
    ways = {name: partial(call, number_of("unshare"), flag) for name, flag in _NAMESPACES.items()}
    return reach_first({**ways, "by clone3": _ask_clone3})


def _ask_clone3() -> None:
    """Its arguments lie in memory where no filter sees them; a size that is wrong is an answer."""
    try:
        call(number_of("clone3"), 0, 1)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.EFAULT, errno.E2BIG):
            raise


def enter_namespace(_facts: Facts) -> str:
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    call(number_of("setns"), fd, 0)
    return "entered"


def mount_anything(facts: Facts) -> str:
    """Each in a way that cannot succeed: a kind of file system that does not exist, a place that is no mount."""
    place = os.fsencode(facts["cwd"])
    return reach_first(
        {
            "mount": lambda: _only(errno.ENODEV, libc.mount, b"none", place, b"nightcrew-no-such", 0, None),
            "umount": lambda: _only(errno.EINVAL, libc.umount2, place + b"/.", 0),
            "fsopen": lambda: os.close(_call_with_path("fsopen", b"tmpfs", 0)),
            "open_tree": lambda: os.close(
                call(number_of("open_tree"), -100, _address(b"/"), _OPEN_TREE_CLONE)
            ),
            "pivot_root": lambda: _must_open("pivot_root"),
            "chroot": lambda: os.chroot(facts["cwd"]),
        }
    )


def make_writable(_facts: Facts) -> str:
    """Take the read-only flag from a mount that has it, to what it has already: itself bound on itself."""
    return reach_first(
        {
            "mount_setattr": lambda: _only(errno.EINVAL, _set_attributes),
            "bind": lambda: _only(
                errno.ENOENT, libc.mount, b"/nightcrew-none", b"/usr", None, _MS_BIND, None
            ),
        }
    )


def _set_attributes() -> int:
    return int(libc.syscall(number_of("mount_setattr"), -100, b"/usr", 0, None, ctypes.c_size_t(1)))


def _only(number: int, function: Callable[..., int], *arguments: object) -> None:
    """Call; that very error means that we were allowed to, any other that we were not."""
    ctypes.set_errno(0)
    if function(*arguments) < 0 and ctypes.get_errno() != number:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _call_with_path(name: str, path: bytes, flags: int) -> int:
    return call(number_of(name), _address(path), flags)


def _address(text: bytes) -> int:
    buffer = ctypes.create_string_buffer(text)
    _KEPT.append(buffer)
    return ctypes.addressof(buffer)


_KEPT: list[object] = []


def call_in_32_bits(_facts: Facts) -> str:
    """The second table of the processor: real machine code in a page that may be executed."""
    if MACHINE != "x86_64":
        raise Blocked("this processor has no second table")
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_GETPID_IN_32_BITS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(start)() == os.getpid() else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise Blocked(f"killed by {signal.Signals(-code).name}" if code < 0 else "not answered")
    return "answered"


def call_in_x32(_facts: Facts) -> str:
    if MACHINE != "x86_64":
        raise Blocked("this processor has no such table")
    return f"answered {call(_X32 | 39)}"


def call_the_unknown(_facts: Facts) -> str:
    """Numbers that no kernel we know of has: a filter that lets them pass lets the next kernel's calls pass."""
    if not _facts["filtered"]:
        return "no filter stands before them"
    numbers = (seccomp.NEWEST_KNOWN_CALL + 1, 600, 1000, 4000)
    for number in numbers:
        if not is_refused(number):
            return str(number)
    raise Blocked("there are none")


def hide_memory(_facts: Facts) -> str:
    """Memory that belongs to no process and no file system, so that no watching from outside sees it."""
    return f"descriptor {call(number_of('memfd_create'), _address(b'hidden'), 0)}"


def take_large_segment(_facts: Facts) -> str:
    """A System V segment of a gigabyte: it would outlive the process and count nowhere."""
    result = libc.shmget(0, ctypes.c_size_t(1 << 30), 0o1600)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    libc.shmctl(result, 0, None)
    return "given"


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        call_refused, call_in_32_bits, call_in_x32, call_the_unknown, use_io_uring, use_userfaultfd, use_keyring,
        use_bpf, load_module, open_by_handle, set_clock, nest_namespaces, enter_namespace, mount_anything,
        make_writable, hide_memory, take_large_segment,
    )
}  # fmt: skip
