"""Attacks on sockets: the host's own, the machine's neighbours, address families that no namespace holds."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nightcrew.sandbox.attacks.trying import Attack, Blocked, Facts, reach_first

_PATIENCE_S: Final = 1.0
_FAST_OPEN: Final = 0x20000000
_PLAIN_FAMILIES: Final = frozenset({socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK})
_LAST_FAMILY: Final = 46
_AF_VSOCK, _AF_PACKET, _AF_ALG = 40, 17, 38
_SOCKET_PLACES: Final = ("/run", "/var/run", "/tmp", "/dev/log", "/var/lib")  # noqa: S108 - looked through, not used
_MOST_SOCKETS: Final = 50
#: The documentation networks, a private one, the address of cloud metadata: none may even have a route.
_FAR: Final = (
    (socket.AF_INET, ("192.0.2.1", 53)),
    (socket.AF_INET, ("169.254.169.254", 80)),
    (socket.AF_INET, ("10.0.0.1", 80)),
    (socket.AF_INET, ("255.255.255.255", 67)),
    (socket.AF_INET6, ("2001:db8::1", 53)),
    (socket.AF_INET6, ("::ffff:192.0.2.1", 53)),
)


def _connect(family: int, address: Any, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as client:
        client.settimeout(_PATIENCE_S)
        client.connect(address)


def reach_loopback(facts: Facts) -> str:
    _connect(socket.AF_INET, ("127.0.0.1", facts["port"]))
    return "connected"


def reach_loopback_oddly(facts: Facts) -> str:
    """The same port by other names of this machine."""
    port = facts["port"]
    return reach_first(
        {
            "0.0.0.0": lambda: _connect(socket.AF_INET, ("0.0.0.0", port)),  # noqa: S104 - connected to
            "127.1.2.3": lambda: _connect(socket.AF_INET, ("127.1.2.3", port)),
            "mapped into IPv6": lambda: _connect(socket.AF_INET6, ("::ffff:127.0.0.1", port)),
            "by fast open": lambda: _open_fast(port),
            **{host: partial(_connect, socket.AF_INET, (host, port)) for host in facts["own_addresses"]},
        }
    )


def _open_fast(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE_S)
        client.sendto(b"x", _FAST_OPEN, ("127.0.0.1", port))


def reach_far(_facts: Facts) -> str:
    """Connecting a datagram socket sends nothing; it fails where there is no way there."""
    return reach_first({f"{a[0]}": partial(_connect, f, a, socket.SOCK_DGRAM) for f, a in _FAR})


def ask_name_server(facts: Facts) -> str:
    question = (
        struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x07example\x03org\0" + struct.pack(">HH", 1, 1)
    )
    servers = [*facts["name_servers"], "127.0.0.53", "127.0.0.1"]

    def ask(server: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.4)
            client.connect((server, 53))
            client.send(question)
            client.recv(512)

    return reach_first({server: partial(ask, server) for server in servers})


def reach_abstract(facts: Facts) -> str:
    _connect(socket.AF_UNIX, "\0" + facts["abstract"])
    return "connected"


def reach_unix(facts: Facts) -> str:
    return reach_first(
        {
            "at its path": lambda: _connect_at(facts["socket"]),
            "in the base of the repository": lambda: _connect_at(f"{facts['cwd']}/base.sock"),
            "with a datagram": lambda: _send_to(facts["letter_box"], pair=False),
            "with a datagram out of a pair": lambda: _send_to(facts["letter_box"], pair=True),
        }
    )


def _connect_at(path: str) -> None:
    os.chdir(os.path.dirname(path))  # the name of a socket may have 107 bytes only
    _connect(socket.AF_UNIX, os.path.basename(path))


def _send_to(path: str, *, pair: bool) -> None:
    os.chdir(os.path.dirname(path))
    kind = socket.SOCK_DGRAM
    with contextlib.ExitStack() as opened:
        made = socket.socketpair(socket.AF_UNIX, kind) if pair else (socket.socket(socket.AF_UNIX, kind),)
        own = [opened.enter_context(each) for each in made]
        own[0].sendto(b"a letter", os.path.basename(path))


def reach_daemons(_facts: Facts) -> str:
    """Docker, D-Bus, ssh and X11 agents: whatever socket can be found."""
    found = [path for place in _SOCKET_PLACES for path in _find_sockets(place)][:_MOST_SOCKETS]
    if not found:
        raise Blocked("no socket is to be found")
    ways: dict[str, Callable[[], None]] = {}
    for path in found:
        ways[path] = partial(_connect, socket.AF_UNIX, path)
        ways[f"{path} (datagram)"] = partial(_connect, socket.AF_UNIX, path, socket.SOCK_DGRAM)
    return reach_first(ways)


def _find_sockets(place: str) -> list[str]:
    if os.path.exists(place) and stat.S_ISSOCK(os.stat(place).st_mode):
        return [place]
    found = []
    for folder, folders, names in os.walk(place):
        if folder.count("/") > 4:
            folders.clear()
        found += [path for name in names if stat.S_ISSOCK(_mode(path := f"{folder}/{name}"))]
    return found


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0  # gone meanwhile


def list_interfaces(_facts: Facts) -> str:
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not others:
        raise Blocked("only its own loopback")
    return ", ".join(others)


def open_netlink(_facts: Facts) -> str:
    """The kernel's own protocols but routes: audit, netfilter, device events, crypto."""
    numbers = {"audit": 9, "netfilter": 12, "device events": 15, "connector": 11, "generic": 16}
    return reach_first(
        {name: partial(_open, socket.AF_NETLINK, socket.SOCK_RAW, n) for name, n in numbers.items()}
    )


def open_vsock(_facts: Facts) -> str:
    """Reaches the hypervisor; no network namespace holds it."""
    _open(_AF_VSOCK, socket.SOCK_STREAM)
    return "opened"


def open_packet(_facts: Facts) -> str:
    _open(_AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    return "opened"


def open_raw(_facts: Facts) -> str:
    return reach_first(
        {
            "ICMP": lambda: _open(socket.AF_INET, socket.SOCK_RAW, 1),
            "TCP": lambda: _open(socket.AF_INET, socket.SOCK_RAW, 6),
            "any": lambda: _open(socket.AF_INET, socket.SOCK_RAW, 255),
        }
    )


def open_families(_facts: Facts) -> str:
    """Every other address family, among them AF_ALG: each is a part of the kernel with a history."""
    opened = []
    for family in range(_LAST_FAMILY):
        if family not in _PLAIN_FAMILIES:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                try:
                    _open(family, kind)
                except OSError:
                    continue
                opened.append(family)
                break
    if not opened:
        raise Blocked("none of them opens")
    return f"families {opened[:8]}"


def open_protocols(_facts: Facts) -> str:
    """SCTP, DCCP, MPTCP and UDP-Lite: transports that a proxy would not see."""
    kinds = {"SCTP": (1, 132), "DCCP": (6, 33), "MPTCP": (1, 262), "UDP-Lite": (2, 136)}
    return reach_first({name: partial(_open, socket.AF_INET, *k) for name, k in kinds.items()})


def _open(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        reach_loopback, reach_loopback_oddly, reach_far, ask_name_server, reach_abstract, reach_unix, reach_daemons,
        list_interfaces, open_netlink, open_vsock, open_packet, open_raw, open_families, open_protocols,
    )
}  # fmt: skip
