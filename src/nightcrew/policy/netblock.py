"""The block ``network`` of policy.yaml: lists for every task, presets, hosts of one's own network, limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from nightcrew.model.network import Internal
from nightcrew.model.units import parse_size
from nightcrew.model.yamltext import YamlPath
from nightcrew.policy.hosts import BadHost, as_address, is_metadata, read_host, read_port, split_port
from nightcrew.policy.places import PHASES, read_item, read_place, shipped_presets
from nightcrew.policy.reading import Reading
from nightcrew.policy.rules import NetPattern, Openings, Placed

Found = dict[str, Placed[Any]]
_ANY: Final = "*"
GLOB: Final = re.compile(r"(?:\*\.)?[a-z0-9*_-]+(?:\.[a-z0-9*_-]+)*")


def read_network(reading: Reading, found: Found) -> None:
    """Read all of the block but its rules."""
    for phase in PHASES:
        _read_list(reading, ("network", phase), found, read_item)
    for name in reading.names("network", "presets"):
        path: YamlPath = ("network", "presets", name)
        if name in shipped_presets():
            reading.complain(path, "a preset of this name is shipped", "choose another name", key=True)
        _read_list(reading, path, found, read_place)
    _read_internal(reading, found)
    for name in ("rate_per_minute", "connections"):
        _read_count(reading, ("network", "limits", name), found)
    _read_bytes(reading, found)


def _read_list(reading: Reading, path: YamlPath, found: Found, read: Callable[[str], object]) -> None:
    if not isinstance(reading.at(*path), list):
        return
    for index, text in enumerate(reading.texts(*path)):
        _check(reading, (*path, index), text, read)
    reading.put(found, path, Openings(reading.texts(*path)))


def _check(reading: Reading, path: YamlPath, text: str, read: Callable[[str], object]) -> bool:
    try:
        read(text)
    except ValueError as problem:
        reading.complain(path, str(problem))
        return False
    return True


def _read_internal(reading: Reading, found: Found) -> None:
    block = ("network", "internal")
    made = []
    for path, _ in reading.items(*block):
        try:
            made.append(_make_internal(reading, path))
        except ValueError as problem:
            reading.complain(path, str(problem))
    if made:
        reading.put(found, block, Openings(tuple(made)))


def _make_internal(reading: Reading, path: YamlPath) -> Internal:
    host, port = split_port(reading.text(*path, "host"))
    place, place_port = split_port(reading.text(*path, "address"))
    if not port:
        raise BadHost("the host of an internal place is written with its port, such as db.example.org:5432")
    name, address = read_host(host), read_host(place)
    if as_address(name) is not None or as_address(address) is None:
        raise BadHost("an internal place is a name (host) at an address (address)")
    if is_metadata(address) or is_metadata(name):
        raise BadHost("a metadata service gives out the keys of the machine; no task may reach it")
    number = read_port(port)
    reason = reading.text(*path, "reason")
    return Internal(name, number, address, read_port(place_port) if place_port else number, reason)


def _read_count(reading: Reading, path: YamlPath, found: Found) -> None:
    value = reading.at(*path)
    if isinstance(value, int) and not isinstance(value, bool):
        reading.put(found, path, value)


def _read_bytes(reading: Reading, found: Found) -> None:
    path = ("network", "limits", "bytes")
    value = reading.at(*path)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return
    try:
        reading.put(found, path, parse_size(value), name="network.limits.total_bytes")
    except ValueError as error:
        reading.complain(path, str(error))


def read_net_pattern(reading: Reading, path: YamlPath) -> NetPattern:
    """Read the ``when`` of a network rule."""
    hosts = reading.texts(*path, "host")
    for index, host in enumerate(hosts):
        if host != _ANY and not GLOB.fullmatch(host):
            where = (*path, "host", index) if isinstance(reading.at(*path, "host"), list) else (*path, "host")
            reading.complain(where, f"bad glob {host!r}", "write example.org, *.example.org or *")
    ports = reading.at(*path, "port")
    listed = ports if isinstance(ports, list) else [ports]
    numbers = tuple(port for port in listed if isinstance(port, int) and not isinstance(port, bool))
    return NetPattern(host=hosts, port=numbers, method=reading.texts(*path, "method"))
