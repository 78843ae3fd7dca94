"""Names and addresses: what a host is, in every notation, and which addresses no sandbox may reach. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_LONGEST_NAME: Final = 253

# What is not the public internet: IANA's registries of special addresses, and the addresses of cloud metadata services
# that lie outside of those. A list of our own, because the standard library's answers differ between its versions.
_INWARD: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # the host's own services on one large cloud
        # Of IPv6 only 2000::/3 is given out; the rest is private, link-local, multicast, translated, or nobody's.
        "::/3", "4000::/2", "8000::/1", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
# Never, not even when a person names them: whoever answers there gives out the keys of the machine.
_METADATA: Final[tuple[IPv4Network | IPv6Network, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "224.0.0.0/4",
        "240.0.0.0/4", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128", "ff00::/8",
    )
)  # fmt: skip
_METADATA_NAMES: Final = ("metadata.google.internal", "metadata.goog", "metadata", "instance-data")


class BadHost(ValueError):
    """What was asked for is no host in a notation that everybody reads alike; the text says why."""


def read_host(text: str) -> str:
    """Return a host in its one usual notation: a name in small letters, or an address.

    Everything that a system's resolver would take for an address is one (``2130706433``, ``0x7f.1``, ``0177.0.0.1``),
    and as nobody writes those for good reasons they are refused, as are zones of IPv6 addresses.

    Raises:
        BadHost: it is neither.
    """
    if text.startswith("[") and text.endswith("]"):
        return _read_six(text[1:-1])
    if not text.isascii() or len(text) > _LONGEST_NAME + 1:
        raise BadHost("a host is written in ASCII letters (xn--… for others), at most 253 of them")
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _read_four(name)
    if not all(_LABEL.fullmatch(label) for label in labels) or len(name) > _LONGEST_NAME:
        raise BadHost(f"not the name of a host: {text[:80]!r}")
    return name


def _read_four(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise BadHost(f"an address in an unusual notation: {text[:80]!r}") from None


def _read_six(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BadHost(f"not an IPv6 address: {text[:80]!r}") from None
    if address.scope_id is not None:
        raise BadHost("an IPv6 address with a zone is one of this machine's own networks")
    return str(address)


def as_address(host: str) -> Address | None:
    """Return the address that a host from ``read_host`` is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def is_inward(address: Address) -> bool:
    """Tell whether an address is not on the public internet: loopback, private, link-local, metadata, multicast, …

    Addresses that carry another one in them (mapped, translated, 6to4, Teredo) count as inward: nobody needs them,
    and they are a second notation of what they carry.
    """
    return any(address in network for network in _INWARD if network.version == address.version)


def is_metadata(host: str) -> bool:
    """Tell whether a host is one that may never be named, not even as one of the user's own network."""
    address = as_address(host)
    if address is None:
        return host in _METADATA_NAMES
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in network for network in _METADATA if network.version == address.version)


def read_port(text: str) -> int:
    """Return a port.

    Raises:
        BadHost: it is none.
    """
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise BadHost(f"not a port: {text[:20]!r}")
    return int(text)


def split_port(text: str) -> tuple[str, str]:
    """Return host and port of ``host:port`` or ``[v6]:port`` as text; the port is empty when there is none."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if rest and not rest.startswith(":"):
            raise BadHost(f"not a host and port: {text[:80]!r}")
        return host + bracket, rest[1:]
    host, _, port = text.partition(":")
    if ":" in port:
        raise BadHost(f"an IPv6 address stands in brackets: {text[:80]!r}")
    return host, port
