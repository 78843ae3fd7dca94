"""Where a task may go, as it is written: ``pypi``, ``example.org``, ``*.example.org:8443``, ``install:npm``. Pure.

A word without a dot is the name of a preset; the table of shipped ones is data (``presets.toml``). What is written
holds while the agent works; with ``install:`` before it, while the task's ``Install:`` commands run.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

from nightcrew.model.network import USUAL_PORTS, AllowList, NetRequest
from nightcrew.model.network import Place as NetPlace
from nightcrew.model.text import closest, shown
from nightcrew.policy.hosts import BadHost, as_address, is_inward, read_host, read_port, split_port

TABLE: Final = "presets.toml"
#: Nothing is allowed in advance, but there is a network: every host is a question.
ASK: Final = "ask"
_PRESET: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_PHASE: Final = re.compile(r"(work|install):(?=\D)")

Phase = Literal["work", "install"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


@dataclass(frozen=True, slots=True)
class Preset:
    """Places under one name.

    Attributes:
        name, about: in words.
        places: as read.
    """

    name: str
    about: str
    places: tuple[NetPlace, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list: a place, the name of a preset, or ``ask``; and the phase it holds in."""

    phase: Phase
    place: NetPlace | None = None
    preset: str = ""

    @property
    def asks(self) -> bool:
        """It is ``ask``."""
        return self.place is None and self.preset == ASK


@cache
def shipped_presets() -> Mapping[str, Preset]:
    """Return the table that is shipped.

    Raises:
        ValueError: one of its places cannot be read.
    """
    return read_presets(files("nightcrew.policy").joinpath(TABLE).read_text("utf-8"))


def read_presets(text: str) -> Mapping[str, Preset]:
    """Return the presets of a table."""
    return {
        name: Preset(name, row["about"], tuple(read_place(host, f"preset {name}") for host in row["hosts"]))
        for name, row in tomllib.loads(text).items()
    }


def read_item(text: str, why: str = "", phase: Phase = "work") -> Item:
    """Return one item.

    Raises:
        ValueError: it is none; says why in words.
    """
    if found := _PHASE.match(text):
        phase = "install" if found.group(1) == "install" else "work"
        text = text[found.end() :]
    if _PRESET.fullmatch(text):
        return Item(phase, preset=text)
    return Item(phase, read_place(text, why))


def read_place(text: str, why: str = "") -> NetPlace:
    """Return a place: ``host``, ``host:port``, ``*.host``.

    Raises:
        ValueError: it is none, or an address inside; says why in words.
    """
    if "/" in text:
        raise BadHost(
            f"`{shown(text)}` is a URL; write the host alone, such as example.org or example.org:8443"
        )
    host, port = split_port(text)
    wild = host.startswith("*.")
    name = read_host(host.removeprefix("*."))
    address = as_address(name)
    if wild and (address is not None or name.count(".") < 1):
        raise BadHost(f"`{shown(text)}` is too wide; write `*.` before a name of at least two parts")
    if address is not None and is_inward(address):
        raise BadHost(
            f"`{shown(text)}` is not an address of the public internet; a host of your own network is named"
            " in policy.yaml: network.internal"
        )
    if not wild and address is None and "." not in name and not port:
        raise BadHost(f"`{shown(text)}` is neither a preset nor a host")
    return NetPlace(f"*.{name}" if wild else name, (read_port(port),) if port else (), why)


def make_allow_list(items: Iterable[Item], presets: Mapping[str, Preset], phase: Phase) -> AllowList:
    """Return what may be reached in a phase.

    Raises:
        ValueError: a preset that does not exist.
    """
    places: list[NetPlace] = []
    asks = False
    for item in items:
        if item.phase != phase:
            continue
        if item.asks:
            asks = True
        elif item.place is not None:
            places.append(item.place)
        else:
            places += find_preset(item.preset, presets).places
    return AllowList(tuple(dict.fromkeys(places)), asks)


def find_preset(name: str, presets: Mapping[str, Preset]) -> Preset:
    """Return a preset.

    Raises:
        ValueError: there is none of that name; suggests the nearest.
    """
    found = presets.get(name)
    if found is None:
        near = closest(name, presets)
        raise ValueError(
            f"there is no network preset `{shown(name)}`"
            + (f"; did you mean `{near}`?" if near else "; see: nightcrew policy network")
        )
    return found


def find_place(allowed: AllowList, request: NetRequest) -> NetPlace | None:
    """Return the place that a request goes to; None when it is not on the list."""
    for place in allowed.places:
        if request.port in (place.ports or _usual_ports(request)) and matches_host(place.host, request.host):
            return place
    return None


def _usual_ports(request: NetRequest) -> tuple[int, ...]:
    """A tunnel to port 80 would hide plain requests, their methods among it; who wants one names the port."""
    return (443,) if request.method == "CONNECT" else USUAL_PORTS


@cache
def _compile_glob(glob: str) -> re.Pattern[str]:
    if glob == "*":
        return re.compile(r".*")
    body = re.escape(glob.removeprefix("*.")).replace(r"\*", r"[^.]*")
    return re.compile((r"(?:[^.]+\.)+" if glob.startswith("*.") else "") + body)


def matches_host(glob: str, host: str) -> bool:
    """Tell whether a host is meant: ``*.`` stands for one or more labels, another ``*`` for a part of one, ``*`` for all."""
    return _compile_glob(glob).fullmatch(host) is not None
