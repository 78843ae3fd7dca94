"""The system call filter: which calls fail inside a sandbox, as data, and how the data becomes a BPF program.

It is a list of what is refused, because agents run everything a developer runs. What makes it hold is around it:
foreign architectures are killed, x32 and every call newer than the tables below do not exist (ENOSYS), so a call
that a later kernel adds is closed until somebody has looked at it.
Numbers: include/uapi/asm-generic/unistd.h (aarch64) and arch/x86/entry/syscalls/syscall_64.tbl of Linux 6.18.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final, NamedTuple

NEWEST_KNOWN_CALL: Final = 469  # file_setattr, Linux 6.17

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_MACHINES: Final = tuple(_AUDIT_ARCH)
_X32_BIT: Final = 0x40000000

# name → number on x86_64, number on aarch64 (-1: there is no such call).
_CALLS: Final[dict[str, tuple[int, int]]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # mounts, namespaces, roots
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # large parts of the kernel that no build or test needs
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "modify_ldt": (154, -1),
    "remap_file_pages": (216, 234),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, -1),
    "get_kernel_syms": (177, -1),
    "query_module": (178, -1),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "uselib": (134, -1),
    "ustat": (136, -1),
    "sysfs": (139, -1),
    "_sysctl": (156, -1),
    # decided by their arguments, or absent
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "ioctl": (16, 29),
    "shmget": (29, 194),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}

# Absent rather than refused, so that programs take their other way. clone3: its flags lie in memory, out of a
# filter's sight. memfd: memory that belongs to no process and no file system, so no limit would see it.
_ABSENT: Final = ("clone3", "memfd_create", "memfd_secret")
_BY_ARGUMENT: Final = ("clone", "unshare", "socket", "socketpair", "ioctl", "shmget")
REFUSED: Final = tuple(name for name in _CALLS if name not in _ABSENT + _BY_ARGUMENT)

_NEW_NAMESPACES: Final = 0x7E020000  # USER|PID|NET|IPC|UTS|CGROUP|NS
_NEW_TIME: Final = 0x80  # only unshare: in clone(2) these bits are the exit signal
_TTY_INJECTION: Final = (0x5412, 0x541C, 0x541D)  # TIOCSTI, TIOCLINUX, TIOCCONS
_LARGEST_SYSV_SEGMENT: Final = (
    256 << 10
)  # bytes; enough for PostgreSQL's interlock, times SHMMNI (4096) = 1 GiB
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_PLAIN_PROTOCOLS: Final = (0, 1, 6, 17, 58)  # default, ICMP, TCP, UDP, ICMPv6
_UNUSUAL_TYPES: Final = 0xC  # bits of SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET; not of STREAM, DGRAM, RAW

_LOAD, _EQUAL, _GREATER, _NOT_BELOW, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_KILL: Final = 0x80000000
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_NR_OFFSET, _ARCH_OFFSET, _ARGS_OFFSET = 0, 4, 16


def number_of(name: str, machine: str = os.uname().machine) -> int:
    """Return the number of a call in the tables above; -1 when that machine has no such call, or we no such machine."""
    return _CALLS[name][_MACHINES.index(machine)] if machine in _MACHINES else -1


class Instruction(NamedTuple):
    """One instruction of classic BPF: code, jumps counted from the next one, operand."""

    code: int
    if_true: int
    if_false: int
    operand: int


def _ret(value: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, value)


def _refuse(number: int) -> Instruction:
    return _ret(_ERRNO | number)


def _argument(index: int, *, high: bool = False) -> Instruction:
    return Instruction(_LOAD, 0, 0, _ARGS_OFFSET + 8 * index + (4 if high else 0))


def _one_of(values: tuple[int, ...], then: Instruction, otherwise: Instruction) -> list[Instruction]:
    """Return ``then`` when the loaded word is one of ``values``, else ``otherwise``."""
    tests = [Instruction(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*tests, otherwise, then]


def _any_bit(mask: int, then: Instruction, otherwise: Instruction) -> list[Instruction]:
    return [Instruction(_ANY_BIT, 0, 1, mask), then, otherwise]


def _socket_rule() -> list[Instruction]:
    """AF_UNIX freely, INET and INET6 with plain types and protocols, NETLINK_ROUTE; nothing else (no VSOCK)."""
    allow, unsupported = _ret(_ALLOW), _refuse(errno.EPROTONOSUPPORT)
    netlink = [_argument(2), *_one_of((0,), allow, unsupported)]
    internet = [
        _argument(1),
        Instruction(_ANY_BIT, 0, 1, _UNUSUAL_TYPES),
        _refuse(errno.ESOCKTNOSUPPORT),
        _argument(2),
        *_one_of(_PLAIN_PROTOCOLS, allow, unsupported),
    ]
    return [
        _argument(0),
        Instruction(_EQUAL, 0, 1, _AF_UNIX),
        allow,
        Instruction(_EQUAL, 0, len(netlink), _AF_NETLINK),
        *netlink,
        Instruction(_EQUAL, 2, 0, _AF_INET),
        Instruction(_EQUAL, 1, 0, _AF_INET6),
        _refuse(errno.EAFNOSUPPORT),
        *internet,
    ]


def _segment_rule() -> list[Instruction]:
    too_large = _refuse(errno.ENOSPC)
    return [
        _argument(1, high=True),
        Instruction(_EQUAL, 1, 0, 0),
        too_large,
        _argument(1),
        Instruction(_GREATER, 0, 1, _LARGEST_SYSV_SEGMENT),
        too_large,
        _ret(_ALLOW),
    ]


def _argument_rules() -> dict[str, list[Instruction]]:
    allow, refuse = _ret(_ALLOW), _refuse(errno.EPERM)
    families = (_AF_UNIX,)
    return {
        "clone": [_argument(0), *_any_bit(_NEW_NAMESPACES, refuse, allow)],
        "unshare": [_argument(0), *_any_bit(_NEW_NAMESPACES | _NEW_TIME, refuse, allow)],
        "socket": _socket_rule(),
        "socketpair": [_argument(0), *_one_of(families, allow, _refuse(errno.EAFNOSUPPORT))],
        "ioctl": [_argument(1), *_one_of(_TTY_INJECTION, refuse, allow)],
        "shmget": _segment_rule(),
    }


def _answers(machine: str) -> dict[int, list[Instruction]]:
    """Return call number → what decides it, for every call that is not simply allowed."""
    rules = {
        **{name: [_refuse(errno.EPERM)] for name in REFUSED},
        **{name: [_refuse(errno.ENOSYS)] for name in _ABSENT},
        **_argument_rules(),
    }
    return {number: rule for name, rule in rules.items() if (number := number_of(name, machine)) >= 0}


def _search(answers: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Return a binary search for the last of ``answers`` whose number is not above the one that is loaded.

    The kernel runs a filter once for every call there is when it is installed, and again for each call that is decided
    by its arguments: seven steps instead of seventy are a fifth of a millisecond of every start.
    """
    if len(answers) == 1:
        return answers[0][1]
    middle = len(answers) // 2
    below, rest = _search(answers[:middle]), _search(answers[middle:])
    return [Instruction(_NOT_BELOW, len(below), 0, answers[middle][0]), *below, *rest]


def compile_filter(machine: str) -> bytes:
    """Return the filter for ``x86_64`` or ``aarch64``, 8 bytes per instruction.

    Raises:
        KeyError: another machine.
    """
    arch = _AUDIT_ARCH[machine]
    answers = _answers(machine)
    ranges = {0: [_ret(_ALLOW)], **{number + 1: [_ret(_ALLOW)] for number in answers}, **answers}
    program = [
        Instruction(_LOAD, 0, 0, _ARCH_OFFSET),
        Instruction(_EQUAL, 1, 0, arch),
        _ret(_KILL),
        Instruction(_LOAD, 0, 0, _NR_OFFSET),
        # Also x32, whose numbers carry _X32_BIT.
        Instruction(_GREATER, 0, 1, min(NEWEST_KNOWN_CALL, _X32_BIT)),
        _refuse(errno.ENOSYS),
        *_search(sorted(ranges.items())),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
