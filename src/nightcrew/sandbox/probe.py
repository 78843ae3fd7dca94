"""The self-test: builds a throw-away sandbox, tries to get out of it, and says what this host can enforce.

Nothing is believed because a kernel version or a setting says so: each guarantee in the report was tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import (
    Bind,
    IsolationReport,
    Level,
    Limits,
    Outcome,
    Overlay,
    Process,
    SandboxSpec,
    Session,
)
from nightcrew.sandbox.order import Order, portable
from nightcrew.sandbox.translate import NOTHING_STARTED, make_order

Runner = Callable[[Order, SandboxSpec, Session, threading.Event], Outcome]

_LIMITS: Final = Limits(memory_bytes=256 << 20, spawn_s=5.0, idle_s=5.0, hard_s=10.0, grace_s=0.0)
_INSIDE: Final = "/nightcrew-probe"

_GUARANTEES: Final = {
    "read_outside": "files outside the task's copy cannot be read",
    "write_outside": "files outside the task's copy cannot be written",
    "host_loopback": "no network, not even the host's own loopback",
    "host_abstract_socket": "no sockets of the host's programs",
    "host_process": "no signals to the host's processes",
    "process_list": "the host's processes are not visible",
    "privileges": "no capabilities, no new privileges, system calls filtered",
    "overlay": "copy-on-write shadow of the repository",
}


@dataclass
class _Collector:
    """A session that only listens."""

    output: bytearray = field(default_factory=bytearray)

    def started(self, process: Process) -> None:
        process.close_stdin()

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        self.output += data


@dataclass(frozen=True)
class _Bait:
    """Things of the host to reach for."""

    folder: Path
    port: int
    abstract: str

    @property
    def arguments(self) -> dict[str, str]:
        """What attempts.try_all wants to know."""
        return {
            "secret": portable(str(self.folder / "secret")),
            "outside": portable(str(self.folder / "outside")),
            "inside": f"{_INSIDE}/new",
            "port": str(self.port),
            "abstract": self.abstract,
            "pid": str(os.getpid()),
        }


def probe(run: Runner, state_dir: Path) -> IsolationReport:
    """Find the strongest level that works on this host with shadows in ``state_dir``."""
    refused: dict[str, SandboxUnavailable] = {}
    for level in (Level.S3, Level.S2):
        # Where the state directory's file system takes no overlay, shadows are plain copies; the walls are the same.
        for shadow in ("overlay", "copy"):
            try:
                with _lay_bait(state_dir) as bait:
                    found = _try_out(run, bait, level, overlay=shadow == "overlay")
            except SandboxUnavailable as refusal:
                refused[f"{level.value} with {shadow}"] = refusal
                continue
            return _report(level, found, refused)
    return _report(Level.S0, {}, refused)


@contextlib.contextmanager
def _lay_bait(state_dir: Path) -> Iterator[_Bait]:
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = Path(tempfile.mkdtemp(prefix="probe-", dir=state_dir))
    abstract = f"nightcrew-probe-{secrets.token_hex(8)}"
    try:
        for name in ("lower", "upper", "work"):
            (folder / name).mkdir()
        (folder / "lower" / "old").write_text("from the base")
        (folder / "secret").write_text("nobody inside may read this")
        with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as server:
            local.bind("\0" + abstract)
            local.listen()
            yield _Bait(folder, server.getsockname()[1], abstract)
    finally:
        # The kernel leaves overlay's workdir with mode 000; only our own, fresh folder is removed.
        (folder / "work" / "work").chmod(0o700) if (folder / "work" / "work").exists() else None
        shutil.rmtree(folder, ignore_errors=True)


def _try_out(run: Runner, bait: _Bait, level: Level, *, overlay: bool) -> dict[str, str]:
    folder = bait.folder
    upper = str(folder / "upper")
    spec = SandboxSpec(
        argv=("probe",),
        cwd=_INSIDE,
        env={"HOME": "/home/probe"},
        overlays=(Overlay(_INSIDE, (str(folder / "lower"),), upper, str(folder / "work")),)
        if overlay
        else (),
        binds=() if overlay else (Bind(upper, _INSIDE, writable=True),),
        limits=_LIMITS,
        level=level,
    )
    order = make_order(spec)
    order["attempts"] = bait.arguments
    collector = _Collector()
    outcome = run(order, spec, collector, threading.Event())
    if outcome.ending != "exited" or not collector.output:
        raise SandboxUnavailable(f"the self-test ended as {outcome.ending}: {outcome.detail}")
    found: dict[str, str] = json.loads(bytes(collector.output))
    if "failed" in found:
        raise SandboxUnavailable(f"the self-test failed: {found['failed']}")
    found["overlay"] = _judge_overlay(folder) if overlay else "refused here"
    return found


def _judge_overlay(folder: Path) -> str:
    if not (folder / "upper" / "new").exists():
        return "what was written inside did not arrive in the upper layer"
    return (
        "blocked: lower layer changed"
        if [path.name for path in (folder / "lower").iterdir()] != ["old"]
        else "works"
    )


def holds(name: str, result: str) -> bool:
    """Tell whether the result of one attempt means that the guarantee holds."""
    if name == "overlay":
        return result == "works"
    if name == "process_list":
        return result.isdigit() and int(result) <= 2  # the sandbox's init and the attempt itself
    if name == "privileges":
        values = dict(pair.split("=") for pair in result.split() if "=" in pair)
        caps = all(int(values.get(key, "1"), 16) == 0 for key in ("CapPrm", "CapEff", "CapBnd", "CapAmb"))
        return caps and values.get("NoNewPrivs") == "1" and values.get("Seccomp") == "2"
    return result.startswith("blocked")


def _report(
    level: Level, found: Mapping[str, str], refused: Mapping[str, SandboxUnavailable]
) -> IsolationReport:
    kept = {name: holds(name, found.get(name, "not tried")) for name in _GUARANTEES}
    leaks = {name for name, good in kept.items() if not good} - {"overlay"}
    if leaks:
        # An open process list is what S2 means; with anything else open, nothing is promised.
        level = Level.S2 if leaks == {"process_list"} else Level.S0
    return IsolationReport(
        level=level,
        holds=tuple(_GUARANTEES[name] for name, good in kept.items() if good),
        missing=tuple(_GUARANTEES[name] for name, good in kept.items() if not good),
        fixes=_advice(refused.values()),
        overlay=kept["overlay"],
        details={**{what: refusal.message for what, refusal in refused.items()}, **found},
    )


def _advice(refusals: Iterable[SandboxUnavailable]) -> tuple[str, ...]:
    """Return what would help against the first refusal: the one that stands before the strongest level."""
    for refusal in refusals:
        return tuple(line for line in (refusal.hint, *refusal.where) if line and line != NOTHING_STARTED)
    return ()
