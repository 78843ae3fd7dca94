"""The whole self-check: every attack at one level, judged by what it says and by what happened outside."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import Bind, Confinement, Level, Limits, Outcome
from nightcrew.sandbox.attacks import greed, inside, proxied
from nightcrew.sandbox.attacks.bait import Bait, lay_bait
from nightcrew.sandbox.attacks.catalogue import ENTRIES, NOT_PROMISED, Entry
from nightcrew.sandbox.attacks.ground import PACKAGE, Ground, Listener, Runs
from nightcrew.sandbox.attacks.trying import BLOCKED, GOT
from nightcrew.sandbox.attacks.wayout import open_way_out
from nightcrew.sandbox.egress.egress import Egress

_LIMITS: Final = Limits(
    memory_bytes=512 << 20, processes=100, open_files=512, idle_s=30.0, hard_s=60.0, grace_s=0.0, spawn_s=15.0
)
_AT_ONCE: Final = 3
#: Variables that an interpreter or a back end sets by itself inside; none has a value from outside.
_SET_BY_US: Final = ("LC_CTYPE", "TMPDIR", "GIT_CONFIG_NOSYSTEM", "PWD", "container", "HOSTNAME", "TERM")


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack that was made.

    Attributes:
        name, group, tried: see catalogue.Entry.
        promised: this level is to hold against it. held: it did.
        said: what came of it. why: why it is not promised, empty where it is.
    """

    name: str
    group: str
    tried: str
    promised: bool
    held: bool
    said: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to attack.

    Attributes:
        state_dir: where shadows lie. home: the user's. overlay: shadows can be mounted there.
        python: interpreter that exists inside by ``binds``. confinement: the back end to attack.
        variables: what that needs of the user's environment.
    """

    state_dir: Path
    home: Path
    overlay: bool
    python: str
    binds: tuple[Bind, ...]
    confinement: Confinement = Confinement()
    variables: Mapping[str, str] = field(default_factory=dict)


def attack(launcher: Runs, place: Place, level: Level, unlimited: Mapping[str, str]) -> tuple[Finding, ...]:
    """Make every attack of the catalogue; takes some seconds.

    Args:
        launcher, place: see there. level: to attack.
        unlimited: attack → why this host cannot hold against it at all, though the level could.

    Raises:
        SandboxUnavailable: the level cannot be built here; nothing was attacked.
    """
    shown = [*(bind.source for bind in place.binds), str(PACKAGE.parent)]
    with lay_bait(place.state_dir, place.home, shown) as bait:
        ground = Ground(
            launcher,
            bait.folder,
            level,
            place.overlay,
            place.python,
            place.binds,
            place.confinement,
            place.variables,
        )
        results = dict(_try_inside(ground, bait))
        results |= _try_greed(ground)
    return tuple(_judge(entry, *results[entry.name], level, unlimited) for entry in ENTRIES)


def _judge(entry: Entry, held: bool, said: str, level: Level, unlimited: Mapping[str, str]) -> Finding:
    why = NOT_PROMISED.get(level, {}).get(entry.name, "") or unlimited.get(entry.name, "")
    return Finding(entry.name, entry.group, entry.tried, not why, held, said, why)


def _try_inside(ground: Ground, bait: Bait) -> Iterator[tuple[str, tuple[bool, str]]]:
    """Make the attacks that one program can make, with no network at all; then those on the way out."""
    names = [name for name in inside.ATTACKS if name not in proxied.ATTACKS]
    yield from _judge_said(names, _run_inside(ground, bait, names, None), bait.look())
    if ground.level is Level.S0:
        yield from ((name, (False, "not tried: without walls there is no proxy")) for name in proxied.ATTACKS)
        return
    with open_way_out() as way:
        said = _run_inside(ground, bait, list(proxied.ATTACKS), way)
    happened = bait.look()
    if "reach_loopback" in happened:  # by which of them, nobody can tell
        happened = dict.fromkeys(proxied.ATTACKS, happened["reach_loopback"])
    yield from _judge_said(list(proxied.ATTACKS), said, happened)


def _run_inside(ground: Ground, bait: Bait, names: Sequence[str], way: Egress | None) -> dict[str, str]:
    """Run attacks by name and return what each says.

    Raises:
        SandboxUnavailable: the program that makes them could not be started.
    """
    spec = ground.spec(*ground.program(inside.__name__), limits=_LIMITS)
    if way is not None:
        spec = replace(spec, env={**spec.env, **way.env}, exits=way.exits)
    facts = {
        **bait.facts(spec.cwd),
        "attacks": names,
        "filtered": ground.level is not Level.S0,
        "open_files": _LIMITS.open_files,
        "file_bytes": _LIMITS.file_bytes,
        "variables": [*spec.env, *_SET_BY_US],
    }
    listener = Listener(json.dumps(facts).encode())
    outcome = ground.run(spec, listener, way.serve if way is not None else None)
    said = _read_results(bytes(listener.said))
    if not said:
        raise SandboxUnavailable(_describe_silence(outcome, listener), code="isolation.attack")
    end = f"{GOT}nothing is known: the attacks ended as {outcome.ending}, {outcome.detail}"
    return {name: said.get(name, end) for name in names}


def _judge_said(
    names: Sequence[str], said: Mapping[str, str], happened: Mapping[str, str]
) -> Iterator[tuple[str, tuple[bool, str]]]:
    for name in names:
        if name in happened:
            yield name, (False, happened[name])
        else:
            words = said[name].removeprefix(BLOCKED).removeprefix(GOT)
            yield name, (said[name].startswith(BLOCKED), words)


def _read_results(data: bytes) -> dict[str, str]:
    lines = [json.loads(line) for line in data.splitlines() if line.endswith(b"}")]
    return {line["attack"]: line["result"] for line in lines}


def _describe_silence(outcome: Outcome, listener: Listener) -> str:
    last = bytes(listener.complained).decode("utf-8", "replace").strip().splitlines()[-1:]
    words = [f"{outcome.ending} {outcome.exit_code}", outcome.detail, *last]
    return f"the attacks could not be started: {', '.join(word for word in words if word)}"


def _try_greed(ground: Ground) -> dict[str, tuple[bool, str]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        greedy = {name: pool.submit(greed.run_greedy, ground, name) for name in greed.GREEDY}
        greedy["burn_cpu"] = pool.submit(greed.burn_cpu, ground)
        greedy["outlive_runtime"] = pool.submit(greed.outlive_runtime, ground)
        return {name: future.result() for name, future in greedy.items()}
