"""The launcher: from a SandboxSpec to an Outcome."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import nightcrew
from nightcrew.host import readiness
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Backend, Confinement, IsolationReport, Outcome, SandboxSpec, Session
from nightcrew.sandbox import cgroups, confine, probe
from nightcrew.sandbox.backends import make_builders
from nightcrew.sandbox.exits import Doors, Serve
from nightcrew.sandbox.freezer import Groups
from nightcrew.sandbox.leaving import Leaving
from nightcrew.sandbox.levels import pick
from nightcrew.sandbox.order import AT_ONCE_BYTES, Order, encode
from nightcrew.sandbox.spares import NoSpare, Spare, Spares, ZygoteGone, drop
from nightcrew.sandbox.supervise import Care, Channels, LaunchFailed, Supervisor
from nightcrew.sandbox.translate import make_order, no_zygote, unavailable
from nightcrew.sandbox.zygote import SWEEP

_SOURCE: Final = str(Path(nightcrew.__file__).parent.parent)
_START: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from nightcrew.sandbox import zygote; zygote.main(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])"
)
_SEARCH: Final = "/usr/local/bin:/usr/bin:/bin"
_SEND_PATIENCE_S: Final = 15.0
_CLOSE_PATIENCE_S: Final = 5.0
_SWEEP_PATIENCE_S: Final = 5.0
_IN_FILE: Final = b"r"
_GONE: Final = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)


class _Zygote:
    """A running zygote process and our end of its socket."""

    def __init__(self, python: str, groups: str) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(_SEND_PATIENCE_S)
        ready, spares = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.spares = Spares(self.control, ready)
        self.log = os.memfd_create("nightcrew-zygote", os.MFD_CLOEXEC)
        fds = (theirs.fileno(), spares.fileno())
        words = [_SOURCE, *map(str, fds), str(os.getpid()), groups]
        command = [python, "-I", "-S", "-X", "utf8", "-c", _START, *words]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            pass_fds=fds,
            env={
                "LD_BIND_NOW": "1"
            },  # once for all, not in each child that calls a function for the first time
            start_new_session=True,  # Ctrl-C on a terminal is for us to handle, not for it to die of
        )
        theirs.close()
        spares.close()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def last_words(self) -> str:
        return os.pread(self.log, 4096, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """End it, and with it every sandbox it has started."""
        self.control.close()
        self.spares.close()
        try:
            self.process.wait(_CLOSE_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.log)


class _Keeper(threading.Thread):
    """Starts zygotes, and lives as long as the launcher.

    The kernel sends the parent-death signal when the *thread* that started a process ends, so a zygote must not
    be started by a worker thread that comes and goes.
    """

    def __init__(self, python: str, groups: str) -> None:
        super().__init__(name="nightcrew-zygote-keeper", daemon=True)
        self._python = python
        self._groups = groups
        self._wanted: queue.SimpleQueue[queue.SimpleQueue[_Zygote | OSError] | None] = queue.SimpleQueue()

    def run(self) -> None:
        while (answer := self._wanted.get()) is not None:
            try:
                answer.put(_Zygote(self._python, self._groups))
            except OSError as problem:
                answer.put(problem)

    def new_zygote(self) -> _Zygote:
        answer: queue.SimpleQueue[_Zygote | OSError] = queue.SimpleQueue()
        self._wanted.put(answer)
        result = answer.get()
        if isinstance(result, OSError):
            raise result
        return result

    def finish(self) -> None:
        self._wanted.put(None)
        self.join()


class Launcher:
    """Runs confined processes; safe to use from many threads."""

    def __init__(
        self,
        python: str,
        groups: Groups | None = None,
        *,
        scratch: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._groups = groups or Groups()
        self._leaving = Leaving()
        place = scratch or Path(tempfile.gettempdir(), f"nightcrew-{os.geteuid()}")
        self._builders = make_builders(place, variables or {"PATH": _SEARCH})
        self._keeper = _Keeper(python, json.dumps([self._groups.prefix, self._groups.homes]))
        self._keeper.start()
        self._lock = threading.Lock()
        self._closed = False
        self._zygote: _Zygote | None = self._keeper.new_zygote()

    @classmethod
    def start(
        cls,
        *,
        python: str = sys.executable,
        groups: Groups | None = None,
        scratch: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Launcher:
        """Start the zygote with the interpreter ``python``; it and all sandboxes die with this process.

        Args:
            groups: makes the control groups that trees are frozen by; by default below our own, where that is allowed.
            scratch: directory of ours for what back ends need on disk; by default one for temporary files.
            variables: the user's own environment, as far as bwrap, podman and docker need it.
        """
        return cls(python, groups, scratch=scratch, variables=variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        spec: SandboxSpec,
        session: Session,
        *,
        cancel: threading.Event,
        serve: Serve | None = None,
    ) -> Outcome:
        """Run one confined process to its end and return when nothing of its tree is left.

        Args:
            spec: what to confine.
            session: what drives it.
            cancel: ends it when set.
            serve: answers at the exits of ``spec``: begun before the program starts, ended when its tree is gone.

        Raises:
            SandboxUnavailable: this host cannot build ``spec.level``, or one of its mounts; nothing ran.
            UsageError: the spec itself cannot be used (a relative path, a NUL byte, a bind of a socket directory).
        """
        builder = self._builders.get(pick(spec))
        if builder is not None:
            return builder.run(self.run_order, spec, session, cancel, serve)
        return self.run_order(make_order(spec), spec, session, cancel, serve)

    def run_order(
        self,
        order: Order,
        spec: SandboxSpec,
        session: Session,
        cancel: threading.Event,
        serve: Serve | None = None,
        care: Care | None = None,
    ) -> Outcome:
        """As ``run``, with the zygote's order already made (back ends and the self-test ask for more than a spec)."""
        began = time.monotonic()
        doors = _make_doors(spec, serve)
        channels = Channels()
        supervisor = Supervisor(channels, spec, session, cancel, began, self._groups, doors, care)
        supervisor.when_begun = self._replace_spares
        self._leaving.wait_for(spec)
        try:
            self._request(order, channels, supervisor)
        except BaseException:
            supervisor.abandon()
            raise
        self._groups.remove_retired()  # while the sandbox is being built
        outcome: Outcome | None = None
        try:
            outcome = supervisor.run()
        except LaunchFailed as failure:
            raise unavailable(failure.message, spec.level) from failure
        finally:
            if supervisor.leaving >= 0:
                self._leaving.add(supervisor.leaving, spec)
            if outcome is None:
                self._leaving.wait_for_all()
            if supervisor.may_have_strays:
                self._sweep()
            self._replace_spares()  # when it never began
        return replace(outcome, detail=self._explain_loss()) if outcome.ending == "lost" else outcome

    def probe(self, state_dir: Path, confinement: Confinement | None = None) -> IsolationReport:
        """Build a throw-away sandbox over ``state_dir``, try to escape, and report; under 100 ms where ours works.

        Args:
            state_dir: where shadows will lie.
            confinement: which back end; by default the strongest that works without being set up.
        """
        return probe.probe_host(self.run_order, self._builders, state_dir, confinement or Confinement())

    def describe_limits(self, backend: Backend = "nightcrew") -> dict[str, str]:
        """Return limit → who keeps it on this host with a back end: the kernel, exactly, or we, by looking often."""
        bounded = backend == "nightcrew" and confine.kernel_bounds_processes(os.geteuid())
        return cgroups.describe_limits(self._groups.homes, backend, processes_bounded=bounded)

    def close(self) -> None:
        """End the zygote and every sandbox that still runs (their outcome is ``lost``)."""
        with self._lock:
            self._closed = True
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()
            self._keeper.finish()
            self._leaving.wait_for_all()
            self._groups.close()

    def _explain_loss(self) -> str:
        """Say why a run was lost; the zygote's own last words help when it died of a defect."""
        with self._lock:
            if self._zygote is not None and self._zygote.is_alive():
                return "its first process was killed from outside"
            words = self._zygote.last_words() if self._zygote is not None else "it was closed"
        return f"the launcher's process ended: {words or 'it was killed'}"

    def _request(self, order: Order, channels: Channels, supervisor: Supervisor) -> None:
        words = encode(order)
        at_once = order["confined"] and len(words) <= AT_ONCE_BYTES
        payload = [] if at_once else [_memory_file(words)]
        try:
            descriptors = [*payload, *channels.theirs]
            if order["confined"]:
                self._hand_over(order, words if at_once else _IN_FILE, descriptors, supervisor)
            else:
                self._send([_write_request(order)], descriptors)
        finally:
            for fd in payload:
                os.close(fd)
            channels.close_theirs()

    def _hand_over(self, order: Order, words: bytes, descriptors: list[int], supervisor: Supervisor) -> None:
        """Give the order to a spare; to none when the run is over before there is one."""
        while (spare := self._take_spare(supervisor)) is not None:
            kept: tuple[str, ...] = ()
            if spare.group:
                # Before there is anything in it that could exceed them.
                kept = cgroups.Group(self._groups.homes, spare.group).limit(
                    spare.pid,
                    memory_bytes=order["memory_bytes"],
                    processes=order["processes"],
                    cpus=order["cpus"],
                )
            if spare.order(words, descriptors):
                supervisor.meet(spare.pid, spare.pidfd, spare.group, kept)
                return
            drop(spare)  # it was killed while it waited

    def _take_spare(self, supervisor: Supervisor) -> Spare | None:
        for attempt in (1, 2):
            zygote = self._living_zygote()
            try:
                return zygote.spares.take(supervisor.is_over)
            except NoSpare as refusal:
                failure = {
                    "error": "new namespaces",
                    "errno": refusal.number,
                    "text": refusal.text,
                    "path": "",
                }
                raise unavailable(failure, supervisor.level) from refusal
            except ZygoteGone as problem:
                if attempt == 2:
                    raise no_zygote(zygote.last_words() or "it is gone") from problem
                zygote.process.wait(_CLOSE_PATIENCE_S)
        return None

    def _replace_spares(self) -> None:
        zygote = self._zygote
        if zygote is not None:
            zygote.spares.replace()

    def _send(self, message: list[bytes], descriptors: list[int]) -> None:
        for attempt in (1, 2):
            zygote = self._living_zygote()
            try:
                socket.send_fds(zygote.control, message, descriptors)
            except OSError as problem:
                if attempt == 2 or problem.errno not in _GONE:
                    raise no_zygote(zygote.last_words() or str(problem)) from problem
                zygote.process.wait(_CLOSE_PATIENCE_S)
            else:
                return

    def _sweep(self) -> None:
        """Have the zygote end what a killed first process has left, and wait until nothing is."""
        with self._lock:
            zygote = self._zygote
        done, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            with contextlib.suppress(
                OSError
            ):  # it is gone itself: then nothing of it is left that could be asked
                if zygote is not None:
                    socket.send_fds(zygote.control, [SWEEP], [theirs])
        finally:
            os.close(theirs)
        readiness.is_readable(done, _SWEEP_PATIENCE_S)
        os.close(done)

    def _living_zygote(self) -> _Zygote:
        """Return the zygote; when it has died unexpectedly, start another one."""
        with self._lock:
            if self._closed or self._zygote is None:
                raise UsageError("the launcher is closed", code="sandbox.closed")
            if not self._zygote.is_alive():
                with contextlib.suppress(OSError):
                    self._zygote.close()
                try:
                    self._zygote = self._keeper.new_zygote()
                except OSError as problem:
                    raise no_zygote(str(problem)) from problem
            return self._zygote


def _write_request(order: Order) -> bytes:
    """Return the line for the zygote; see there."""
    return f"plain {order['memory_bytes']} {order['processes']} {order['cpus']}".encode("ascii")


def _make_doors(spec: SandboxSpec, serve: Serve | None) -> Doors | None:
    if not spec.exits:
        return None
    if serve is None:
        raise UsageError("a sandbox has exits that nothing answers", code="sandbox.exits")
    return Doors([each.name for each in spec.exits], serve)


def _memory_file(data: bytes) -> int:
    """Return a descriptor of an anonymous file with ``data``; any length fits."""
    fd = os.memfd_create("nightcrew-order", os.MFD_CLOEXEC)
    if os.write(fd, data) < len(data):
        os.close(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "an order for the launcher's process")
    return fd
