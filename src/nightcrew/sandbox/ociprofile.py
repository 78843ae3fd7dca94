"""Our system call filter as a seccomp profile of a container runtime (the JSON that podman and docker read).

It lists what may be called, and everything else does not exist: a call that is newer than our tables, or that the
runtime's own library does not know by name, is closed. What is refused is refused in the same words as by ``seccomp``,
as far as rules of a runtime can say it: they compare each argument once, so "none of these" becomes a few masks.
That a foreign architecture is killed is the runtime's part, see ``architectures``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from nightcrew.sandbox import seccomp
from nightcrew.sandbox.opencalls import OPEN

_ERRNO, _ALLOW = "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"
_EPERM, _ENOSPC, _ENOSYS, _EPROTONOSUPPORT, _ESOCKTNOSUPPORT, _EAFNOSUPPORT = 1, 28, 38, 93, 94, 97
_UNIX, _INTERNET, _NETLINK = 1, (2, 10), 16
_ROUTE: Final = 0  # the one protocol of NETLINK
_UNUSUAL_KINDS: Final = (4, 8)  # bits of SOCK_SEQPACKET, SOCK_DCCP, SOCK_PACKET; not of STREAM, DGRAM, RAW
_PROTOCOLS: Final = (0, 1, 6, 17, 58)  # default, ICMP, TCP, UDP, ICMPv6
_LARGEST_SEGMENT: Final = 256 << 10  # bytes of System V shared memory, as in the filter of other levels
_FAMILIES: Final = (_UNIX, *_INTERNET, _NETLINK)
_NAMESPACES: Final = 0x7E020000
_NAMESPACES_AND_TIME: Final = _NAMESPACES | 0x80  # of unshare; in clone these bits are the exit signal
_TTY_INJECTION: Final = (0x5412, 0x541C, 0x541D)
_INT: Final = 0xFFFFFFFF  # the kernel reads an int: what is above must not decide
_ARCHITECTURES: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}

Comparison = dict[str, Any]


def make_profile(machine: str) -> str:
    """Return the profile for ``x86_64`` or ``aarch64``.

    Raises:
        KeyError: another machine.
    """
    rules = [
        _allow(list(OPEN)),
        _refuse(sorted(seccomp.REFUSED), _EPERM),
        *_without_bits("clone", _NAMESPACES),
        *_without_bits("unshare", _NAMESPACES_AND_TIME),
        *_sockets(),
        _allow(["shmget"], _compare(1, "LE", _LARGEST_SEGMENT)),
        _refuse(["shmget"], _ENOSPC, _compare(1, "GT", _LARGEST_SEGMENT)),
        *(_allow(["ioctl"], _masked(1, mask, bits)) for mask, bits in all_but(_TTY_INJECTION)),
        *(_refuse(["ioctl"], _EPERM, _masked(1, _INT, request)) for request in _TTY_INJECTION),
    ]
    profile = {
        "defaultAction": _ERRNO,
        "defaultErrnoRet": _ENOSYS,
        "architectures": [_ARCHITECTURES[machine]],
        "syscalls": rules,
    }
    return json.dumps(profile)


def _without_bits(name: str, bits: int) -> list[dict[str, Any]]:
    """Allow a call whose first argument has none of these bits; refuse it for each of them."""
    each = [1 << at for at in range(32) if bits & 1 << at]
    return [
        _allow([name], _masked(0, bits, 0)),
        *(_refuse([name], _EPERM, _masked(0, bit, bit)) for bit in each),
    ]


def _sockets() -> Iterator[dict[str, Any]]:
    """AF_UNIX freely, INET and INET6 with plain types and protocols, NETLINK_ROUTE; nothing else (no VSOCK)."""
    yield _allow(["socket", "socketpair"], _masked(0, _INT, _UNIX))
    yield _allow(["socket"], _masked(0, _INT, _NETLINK), _compare(2, "EQ", _ROUTE))
    yield _refuse(["socket"], _EPROTONOSUPPORT, _masked(0, _INT, _NETLINK), _compare(2, "NE", _ROUTE))
    for family in _INTERNET:
        plain = [_masked(0, _INT, family), _masked(1, sum(_UNUSUAL_KINDS), 0)]
        yield from (_allow(["socket"], *plain, _compare(2, "EQ", each)) for each in _PROTOCOLS)
        yield _refuse(["socket"], _EPROTONOSUPPORT, *plain, _compare(2, "GT", max(_PROTOCOLS)))
        yield from (
            _refuse(["socket"], _ESOCKTNOSUPPORT, _masked(0, _INT, family), _masked(1, kind, kind))
            for kind in _UNUSUAL_KINDS
        )
    for name, families in (("socket", _FAMILIES), ("socketpair", (_UNIX,))):
        yield from (
            _refuse([name], _EAFNOSUPPORT, _masked(0, mask, bits)) for mask, bits in all_but(families)
        )


def all_but(values: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yield masks and bits that together match every number of 32 bits but these values, each number once.

    Beside the way from the highest bit down to each value, every turn that leads to none of them.
    """
    mask = 0
    ways = {0}
    for at in reversed(range(32)):
        mask |= 1 << at
        taken = {value & mask for value in values}
        turns = {way | bit for way in ways for bit in (0, 1 << at)}
        yield from ((mask, turn) for turn in sorted(turns - taken))
        ways = taken


def _allow(names: list[str], *args: Comparison) -> dict[str, Any]:
    return {"names": names, "action": _ALLOW, "args": list(args)}


def _refuse(names: list[str], number: int, *args: Comparison) -> dict[str, Any]:
    return {"names": names, "action": _ERRNO, "errnoRet": number, "args": list(args)}


def _masked(index: int, mask: int, bits: int) -> Comparison:
    return {"index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ"}


def _compare(index: int, how: str, value: int) -> Comparison:
    return {"index": index, "value": value, "op": f"SCMP_CMP_{how}"}
