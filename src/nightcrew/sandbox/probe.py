"""The self-test: builds a throw-away sandbox, tries to get out of it, and says what this host can enforce.

Nothing is believed because a kernel version or a setting says so: each guarantee in the report was tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal

import nightcrew
from nightcrew.host import files
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import (
    Backend,
    Bind,
    Confinement,
    IsolationReport,
    Level,
    Limits,
    Outcome,
    Overlay,
    Process,
    SandboxSpec,
    Session,
)
from nightcrew.sandbox.containers import advise_image
from nightcrew.sandbox.exits import Serve
from nightcrew.sandbox.landlocked import describe_gaps
from nightcrew.sandbox.levels import LEVELS
from nightcrew.sandbox.order import Order, portable
from nightcrew.sandbox.places import lies_in
from nightcrew.sandbox.starting import Builder, Start
from nightcrew.sandbox.supervise import Care
from nightcrew.sandbox.system import DIRECTORIES
from nightcrew.sandbox.translate import NOTHING_STARTED, make_order

Asker = Callable[[SandboxSpec, Session, threading.Event, None], Outcome]

#: Back ends that are tried when ours does not give the strongest level: nothing has to be set up for them.
_UNASKED: Final[tuple[Backend, ...]] = ("bwrap", "landlock")
_PROCESS_LIST: Final = frozenset({"process_list"})
#: Level that was built and what it leaks → level that it is then. Landlock keeps signals in only since Linux 6.12.
_WITH_LEAKS: Final = {
    (Level.S3, _PROCESS_LIST): Level.S2,
    (Level.S2, _PROCESS_LIST): Level.S2,
    (Level.S1, _PROCESS_LIST): Level.S1,
    (Level.S1, frozenset({"process_list", "host_process"})): Level.S1,
}
_SOURCE: Final = str(Path(nightcrew.__file__).parent.parent)
_SOURCE_INSIDE: Final = "/nightcrew-source"
_PROGRAM: Final = (
    "import json, sys; sys.path.append(sys.argv[1]); from nightcrew.sandbox import attempts;"
    "print(json.dumps(attempts.try_all(json.loads(sys.argv[2]))))"
)

_LIMITS: Final = Limits(memory_bytes=256 << 20, spawn_s=5.0, idle_s=5.0, hard_s=10.0, grace_s=0.0)
_INSIDE: Final = "/nightcrew-probe"
_NO_PROGRAM: Final = 127
"""What a shell says where a program is not there."""

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
    errors: bytearray = field(default_factory=bytearray)

    def started(self, process: Process) -> None:
        process.close_stdin()

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if stream == "stdout":
            self.output += data
        else:
            self.errors += data


@dataclass(frozen=True)
class _Bait:
    """Things of the host to reach for."""

    folder: Path
    port: int
    abstract: str

    def arguments(self, inside: str = _INSIDE) -> dict[str, str]:
        """What attempts.try_all wants to know; ``inside`` is the shadow as the sandbox sees it."""
        return {
            "secret": portable(str(self.folder / "secret")),
            "outside": portable(str(self.folder / "outside")),
            "inside": f"{inside}/new",
            "port": str(self.port),
            "abstract": self.abstract,
            "pid": str(os.getpid()),
        }


def probe_host(
    run: Start, builders: Mapping[Backend, Builder], state_dir: Path, confinement: Confinement
) -> IsolationReport:
    """Find the strongest level that works on this host with shadows in ``state_dir``.

    Args:
        run: has an order carried out.
        builders: back ends beside our own.
        state_dir: where shadows will lie.
        confinement: the back end to look at; with ``auto`` ours, and when that does not give the strongest level, those
            of the others that nobody has to set up.
    """
    if confinement.backend == "none":
        return IsolationReport(Level.S0, missing=tuple(_GUARANTEES.values()), backend="none")
    builder = builders.get(confinement.backend) if confinement.backend != "auto" else None
    if builder is not None:
        return probe_builder(run, builder, state_dir, confinement)
    first = probe(run, state_dir)
    if first.level is Level.S3 or confinement.backend == "nightcrew":
        return first
    found = [first]
    found += [probe_builder(run, builders[name], state_dir, Confinement(name)) for name in _UNASKED]
    best = min(found, key=lambda each: list(Level).index(each.level))
    details = {f"{each.backend}: {key}": said for each in found for key, said in each.details.items()}
    # What would make our own better is the better advice, whatever has to do instead.
    return best if best is first else replace(best, fixes=first.fixes or best.fixes, details=details)


def probe_builder(run: Start, builder: Builder, state_dir: Path, confinement: Confinement) -> IsolationReport:
    """Try a back end that is not ours."""
    refused: dict[str, SandboxUnavailable] = {}
    for level in LEVELS[builder.name]:
        try:
            with _lay_bait(state_dir) as bait:
                ask = partial(builder.run, _Substitute(run, builder, bait))
                # None of them can mount an overlay: with all of them shadows are copies.
                spec = _make_spec(bait, level, confinement, overlay=False, builder=builder)
                found = _try_out(ask, bait, spec)
        except SandboxUnavailable as refusal:
            refused[f"{level.value} with copy"] = refusal
            continue
        report = _report(level, found, refused)
        gaps = describe_gaps() if report.level is Level.S1 else ()
        return replace(report, backend=builder.name, missing=(*report.missing, *gaps))
    return replace(_report(Level.S0, {}, refused), backend=builder.name)


@dataclass(frozen=True)
class _Substitute:
    """Starts what a builder has ordered, with the escapes tried by the first process where it confines its children."""

    run: Start
    builder: Builder
    bait: _Bait

    def __call__(
        self,
        order: Order,
        spec: SandboxSpec,
        session: Session,
        cancel: threading.Event,
        serve: Serve | None = None,
        care: Care | None = None,
    ) -> Outcome:
        if self.builder.forks:
            order["attempts"] = self.bait.arguments(spec.cwd)
        return self.run(order, spec, session, cancel, serve, care)


def probe(run: Start, state_dir: Path) -> IsolationReport:
    """Find the strongest level of our own launcher."""
    refused: dict[str, SandboxUnavailable] = {}
    for level in (Level.S3, Level.S2):
        # Where the state directory's file system takes no overlay, shadows are plain copies; the walls are the same.
        for shadow in ("overlay", "copy"):
            try:
                with _lay_bait(state_dir) as bait:
                    spec = _make_spec(bait, level, Confinement(), overlay=shadow == "overlay")
                    found = _try_out(partial(_run_attempts, run, bait), bait, spec)
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
        # The kernel leaves folders with mode 000 in overlay's workdir, which plain removal cannot open without being root.
        with contextlib.suppress(OSError):
            files.remove_tree(folder, inside=folder.parent)


def _make_spec(
    bait: _Bait,
    level: Level,
    confinement: Confinement,
    *,
    overlay: bool,
    builder: Builder | None = None,
) -> SandboxSpec:
    folder = bait.folder
    upper = str((folder / "upper").resolve())
    inside = _INSIDE if level.mounts else upper
    binds = [] if overlay else [Bind(upper, inside, writable=True)]
    argv: tuple[str, ...] = ("probe",)
    if builder is not None and not builder.forks:
        python = "python3" if confinement.image else os.path.realpath(sys.executable)
        argv = (python, "-I", "-S", "-c", _PROGRAM, _SOURCE_INSIDE, json.dumps(bait.arguments()))
        binds += [Bind(_SOURCE, _SOURCE_INSIDE), *([] if confinement.image else _find_python())]
    return SandboxSpec(
        argv=argv,
        cwd=inside,
        env={"HOME": "/home/probe", "PATH": "/usr/local/bin:/usr/bin:/bin"},
        overlays=(Overlay(inside, (str(folder / "lower"),), upper, str(folder / "work")),) if overlay else (),
        binds=tuple(binds),
        limits=_LIMITS,
        level=level,
        confinement=confinement,
    )


def _find_python() -> list[Bind]:
    """Return what makes this interpreter exist inside, where it does not by itself."""
    prefix = os.path.realpath(sys.base_prefix)
    shown = any(lies_in(prefix, directory) for directory in DIRECTORIES)
    return [] if shown else [Bind(prefix, prefix)]


def _run_attempts(
    run: Start, bait: _Bait, spec: SandboxSpec, session: Session, cancel: threading.Event, _serve: None
) -> Outcome:
    order = make_order(spec)
    order["attempts"] = bait.arguments()
    return run(order, spec, session, cancel)


def _try_out(run: Asker, bait: _Bait, spec: SandboxSpec) -> dict[str, str]:
    folder, overlay = bait.folder, bool(spec.overlays)
    collector = _Collector()
    outcome = run(spec, collector, threading.Event(), None)
    if outcome.ending != "exited" or not collector.output:
        said = collector.errors.decode(errors="replace").strip()[-400:]
        image = spec.confinement.image
        raise SandboxUnavailable(
            f"the self-test ended as {outcome.ending}: {outcome.detail or said}",
            hint=advise_image(spec.confinement.backend, image)
            if image and outcome.exit_code == _NO_PROGRAM
            else "",
        )
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


def holds(name: str, result: str, level: Level = Level.S3) -> bool:
    """Tell whether the result of one attempt means that the guarantee holds."""
    if name == "overlay":
        return result == "works"
    if name == "process_list":
        return result.isdigit() and int(result) <= 2  # the sandbox's init and the attempt itself
    if name == "privileges":
        values = dict(pair.split("=") for pair in result.split() if "=" in pair)
        # Without namespaces an ordinary user has a bound that is not empty, which no_new_privs makes worthless.
        sets = ("CapPrm", "CapEff", "CapAmb", *(() if level is Level.S1 else ("CapBnd",)))
        caps = all(int(values.get(key, "1"), 16) == 0 for key in sets)
        return caps and values.get("NoNewPrivs") == "1" and values.get("Seccomp") == "2"
    return result.startswith("blocked")


def _report(
    level: Level, found: Mapping[str, str], refused: Mapping[str, SandboxUnavailable]
) -> IsolationReport:
    kept = {name: holds(name, found.get(name, "not tried"), level) for name in _GUARANTEES}
    leaks = {name for name, good in kept.items() if not good} - {"overlay"}
    if leaks:
        # An open process list is what S2 means; with anything else open, nothing is promised.
        level = _WITH_LEAKS.get((level, frozenset(leaks)), Level.S0)
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
