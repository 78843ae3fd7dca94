"""Our system call filter as a seccomp profile of a container runtime (the JSON that podman and docker read).

It refuses the same calls as ``seccomp``. What it cannot say: that a call newer than our tables does not exist (and one that
the runtime's own library does not know is left open), and that a foreign architecture is killed; the runtime leaves
those out, see ``architectures``.
"""

from __future__ import annotations

import json
from typing import Any, Final

from nightcrew.sandbox import seccomp

_ERRNO: Final = "SCMP_ACT_ERRNO"
_EPERM, _ENOSPC, _ENOSYS, _EPROTONOSUPPORT, _ESOCKTNOSUPPORT, _EAFNOSUPPORT = 1, 28, 38, 93, 94, 97
_INTERNET: Final = (2, 10)
_NETLINK: Final = 16
_UNUSUAL: Final = (5, 6, 10)  # SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET
_KIND_MASK: Final = 0xF
_DCCP: Final = 33
_LAST_PROTOCOL: Final = 58  # ICMPv6; above are SCTP, UDP-Lite, MPTCP
_LARGEST_SEGMENT: Final = 256 << 10  # bytes of System V shared memory, as in the filter of other levels
_FAMILIES: Final = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK
_LAST_FAMILY: Final = 46
_NAMESPACE_BITS: Final = (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, 0x2000000)
_TIME_NAMESPACE: Final = 0x80
_TTY_INJECTION: Final = (0x5412, 0x541C, 0x541D)
_ARCHITECTURES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def make_profile(machine: str) -> str:
    """Return the profile for ``x86_64`` or ``aarch64``.

    Raises:
        KeyError: another machine.
    """
    rules: list[dict[str, Any]] = [
        _rule(sorted(seccomp.REFUSED), _EPERM),
        _rule(["clone3", "memfd_create", "memfd_secret"], _ENOSYS),
    ]
    rules += [_rule(["clone"], _EPERM, _masked(0, bit)) for bit in _NAMESPACE_BITS]
    rules += [_rule(["unshare"], _EPERM, _masked(0, bit)) for bit in (*_NAMESPACE_BITS, _TIME_NAMESPACE)]
    closed = [family for family in range(_LAST_FAMILY) if family not in _FAMILIES]
    rules += [_rule(["socket", "socketpair"], _EAFNOSUPPORT, _equal(0, family)) for family in closed]
    rules.append(_rule(["socket", "socketpair"], _EAFNOSUPPORT, _at_least(0, _LAST_FAMILY)))
    rules.append(_rule(["socket"], _EPROTONOSUPPORT, _equal(0, _NETLINK), _other_than(2, 0)))
    for family in _INTERNET:
        rules += [_rule(["socket"], _ESOCKTNOSUPPORT, _equal(0, family), _kind(1, kind)) for kind in _UNUSUAL]
        rules.append(_rule(["socket"], _EPROTONOSUPPORT, _equal(0, family), _equal(2, _DCCP)))
        rules.append(_rule(["socket"], _EPROTONOSUPPORT, _equal(0, family), _at_least(2, _LAST_PROTOCOL + 1)))
    rules.append(_rule(["shmget"], _ENOSPC, _at_least(1, _LARGEST_SEGMENT + 1)))
    rules += [_rule(["ioctl"], _EPERM, _equal(1, request)) for request in _TTY_INJECTION]
    return json.dumps(
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [_ARCHITECTURES[machine]], "syscalls": rules}
    )


def _rule(names: list[str], number: int, *args: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": _ERRNO, "errnoRet": number, "args": list(args)}


def _masked(index: int, bit: int) -> dict[str, Any]:
    return {"index": index, "value": bit, "valueTwo": bit, "op": "SCMP_CMP_MASKED_EQ"}


def _kind(index: int, kind: int) -> dict[str, Any]:
    return {"index": index, "value": _KIND_MASK, "valueTwo": kind, "op": "SCMP_CMP_MASKED_EQ"}


def _other_than(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_NE"}


def _equal(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _at_least(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_GE"}
