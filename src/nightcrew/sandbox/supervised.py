"""The second system call filter of level S1, where there are no namespaces to hide things in.

It lies over the filter of every level (see ``seccomp``); of two answers the kernel takes the stricter one.

Handed on are calls that Landlock does not know and that would reach outside: our thread looks at each, does it itself
when it stays inside, and answers (see ``calls``). Refused is what would reach other processes or memory of this user.
Numbers: as in ``seccomp``.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from nightcrew.sandbox.seccomp import Instruction

# name → number on x86_64, number on aarch64 (-1: there is no such call).
HANDED_ON: Final[dict[str, tuple[int, int]]] = {
    "connect": (42, 203),
    "listen": (50, 201),
    "chmod": (90, -1),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "utimensat": (280, 88),
}

_REFUSED: Final[dict[str, tuple[int, int]]] = {
    # owners of files that only have to be found, not opened
    "chown": (92, -1),
    "fchown": (93, 55),
    "lchown": (94, -1),
    "fchownat": (260, 54),
    "file_setattr": (469, 469),
    # memory and messages that every process of this user shares
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    # ... also by the number of one that is there, which everybody can read in /proc/sysvipc
    "shmctl": (31, 195),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}

# As on a file system that has none, so that what copies files goes on without.
_UNSUPPORTED: Final[dict[str, tuple[int, int]]] = {
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
}

#: Older ways to set times; without them programs take utimensat.
_ABSENT: Final[dict[str, tuple[int, int]]] = {"utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1)}

# name → number on x86_64, on aarch64, the argument that names a process: only oneself, which is 0.
_OF_ONESELF: Final[dict[str, tuple[int, int, int]]] = {
    "prlimit64": (302, 261, 0),
    "sched_setaffinity": (203, 122, 0),
    "sched_setscheduler": (144, 119, 0),
    "sched_setparam": (142, 118, 0),
    "sched_setattr": (314, 274, 0),
}

# name → number on x86_64, on aarch64, what says that the second argument names a process. Of oneself, 0, is also all
# that the user runs, if the first one says so.
_OF_ONE_PROCESS: Final[dict[str, tuple[int, int, int]]] = {
    "setpriority": (141, 140, 0),  # PRIO_PROCESS
    "ioprio_set": (251, 30, 1),  # IOPRIO_WHO_PROCESS
}

# name → number on x86_64, on aarch64, the argument with flags: a connection must not be made by sending.
_SENDS: Final[dict[str, tuple[int, int, int]]] = {
    "sendto": (44, 206, 3),
    "sendmsg": (46, 211, 2),
    "sendmmsg": (307, 269, 3),
}
_FAST_OPEN: Final = 0x20000000

_SOCKET: Final = (41, 198)
_SOCKET_PAIR: Final = (53, 199)
_IOCTL: Final = (16, 29)
_SET_FILE_FLAGS: Final = (
    0x40086602,
    0x401C5820,
    0x40046602,
)  # FS_IOC_SETFLAGS, FSSETXATTR, SETFLAGS of 32 bits
_AF_UNIX, _AF_INET, _AF_INET6 = 1, 2, 10
_STREAM, _SEQPACKET = 1, 5
_KIND_MASK: Final = 0xF
_TCP: Final = (0, 6)

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_LOAD, _AND, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x06
_ERRNO: Final = 0x00050000
_ALLOW: Final = Instruction(_RETURN, 0, 0, 0x7FFF0000)
_LOW_BITS: Final = Instruction(_AND, 0, 0, _KIND_MASK)
_HAND_ON: Final = Instruction(_RETURN, 0, 0, 0x7FC00000)
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16


def compile_supervised(machine: str, *, tcp: bool) -> bytes:
    """Return the filter for ``x86_64`` or ``aarch64``, 8 bytes per instruction.

    Args:
        machine: as ``uname`` calls it.
        tcp: Landlock keeps programs from binding; without that they get no sockets of the internet at all.

    Raises:
        KeyError: another machine.
    """
    program = [
        Instruction(_LOAD, 0, 0, _ARCHITECTURE_AT),
        Instruction(_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        _ALLOW,  # the other filter kills it
        Instruction(_LOAD, 0, 0, _NUMBER_AT),
    ]
    column = tuple(_AUDIT_ARCH).index(machine)
    for pair, rule in _rules(tcp=tcp):
        if pair[column] >= 0:
            program += [Instruction(_EQUAL, 0, len(rule), pair[column]), *rule]
    program.append(_ALLOW)
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def numbers(machine: str) -> dict[int, str]:
    """Return which calls are handed on: number → name."""
    column = tuple(_AUDIT_ARCH).index(machine)
    return {pair[column]: name for name, pair in HANDED_ON.items() if pair[column] >= 0}


def _rules(*, tcp: bool) -> list[tuple[tuple[int, int], list[Instruction]]]:
    refused = _refuse(errno.EPERM)
    found = [(pair, [_HAND_ON]) for pair in HANDED_ON.values()]
    found += [(pair, [refused]) for pair in _REFUSED.values()]
    found += [(pair, [_refuse(errno.EOPNOTSUPP)]) for pair in _UNSUPPORTED.values()]
    found += [(pair, [_refuse(errno.ENOSYS)]) for pair in _ABSENT.values()]
    for first, second, position in _OF_ONESELF.values():
        found.append(((first, second), [_argument(position), *_one_of((0,), _ALLOW, refused)]))
    for first, second, process in _OF_ONE_PROCESS.values():
        whose = [_argument(1), *_one_of((0,), _ALLOW, refused)]
        found.append(((first, second), [_argument(0), Instruction(_EQUAL, 1, 0, process), refused, *whose]))
    for first, second, position in _SENDS.values():
        flagged = [Instruction(_ANY_BIT, 0, 1, _FAST_OPEN), _refuse(errno.EOPNOTSUPP), _ALLOW]
        found.append(((first, second), [_argument(position), *flagged]))
    found.append((_SOCKET, _socket_rule(tcp=tcp)))
    found.append((_SOCKET_PAIR, _local_rule()))
    found.append((_IOCTL, [_argument(1), *_one_of(_SET_FILE_FLAGS, refused, _ALLOW)]))
    return found


def _refuse(number: int) -> Instruction:
    return Instruction(_RETURN, 0, 0, _ERRNO | number)


def _argument(index: int) -> Instruction:
    return Instruction(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index)


def _one_of(values: tuple[int, ...], then: Instruction, otherwise: Instruction) -> list[Instruction]:
    """Return ``then`` when the loaded word is one of ``values``, else ``otherwise``."""
    tests = [Instruction(_EQUAL, len(values) - n, 0, value) for n, value in enumerate(values)]
    return [*tests, otherwise, then]


def _local_rule() -> list[Instruction]:
    """No datagrams, not in a pair either: each can be sent to another address than that of the pair's other end."""
    return [
        _argument(1),
        _LOW_BITS,
        *_one_of((_STREAM, _SEQPACKET), _ALLOW, _refuse(errno.ESOCKTNOSUPPORT)),
    ]


def _socket_rule(*, tcp: bool) -> list[Instruction]:
    """Connected sockets only: AF_UNIX (connect is handed on), and TCP where nobody can bind; no netlink, no UDP."""
    family, kind = _refuse(errno.EAFNOSUPPORT), _refuse(errno.ESOCKTNOSUPPORT)
    local = _local_rule()
    internet = [
        _argument(1),
        _LOW_BITS,
        Instruction(_EQUAL, 1, 0, _STREAM),
        kind,
        _argument(2),
        *_one_of(_TCP, _ALLOW, _refuse(errno.EPROTONOSUPPORT)),
    ]
    return [
        _argument(0),
        Instruction(_EQUAL, 0, len(local), _AF_UNIX),
        *local,
        Instruction(_EQUAL, 2, 0, _AF_INET),
        Instruction(_EQUAL, 1, 0, _AF_INET6),
        family,
        *(internet if tcp else [family]),
    ]
