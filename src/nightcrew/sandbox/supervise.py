"""Watches one process tree from start to end: streams, deadlines, limits, cancellation.

One thread, one poll loop. Nothing it does can block: streams are read in pieces, input is written as far as it
goes, and no more than a tenth of a second passes between two looks at clocks and limits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from nightcrew.host import readiness
from nightcrew.model.isolation import Ending, Level, Outcome, SandboxSpec, Session
from nightcrew.sandbox import cgroups, confine, exits, tree
from nightcrew.sandbox.freezer import Freezer, Groups
from nightcrew.sandbox.gauges import listed_in
from nightcrew.sandbox.live import LiveProcess
from nightcrew.sandbox.watchdog import Watchdog, describe_memory

_TICK_S: Final = 0.1  # longest time between two looks
_CHUNK_BYTES: Final = 1 << 16
_PATIENCE_S: Final = 30.0  # a killed process may sit in the kernel (a dead network file system)

Stream = Literal["stdout", "stderr"]


class LaunchFailed(Exception):
    """The sandbox could not be built; ``message`` is the report of its first process."""

    def __init__(self, message: dict[str, Any]) -> None:
        super().__init__(message)
        self.message = message


class Channels:
    """Our ends of what connects us with a sandbox: three pipes and the report socket."""

    def __init__(self) -> None:
        stdin_theirs, self.stdin = os.pipe()
        self.stdout, stdout_theirs = os.pipe()
        self.stderr, stderr_theirs = os.pipe()
        self.report, report_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = [stdin_theirs, stdout_theirs, stderr_theirs, report_theirs.detach()]

    def close_theirs(self) -> None:
        """Close the other ends, once they have been sent."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = []

    def close(self) -> None:
        """Close our ends but stdin, which belongs to the LiveProcess."""
        self.close_theirs()
        self.report.close()
        os.close(self.stdout)
        os.close(self.stderr)


class Care(NamedTuple):
    """How a tree is looked after that is not built by our own namespaces.

    Attributes:
        plain: there is no pid namespace of ours: the tree is what descends from its first process.
        calls: answers the system calls that are handed on, given their listener; for as long as the tree lives.
    """

    plain: bool = False
    calls: Callable[[int], AbstractContextManager[object]] | None = None


class Supervisor:
    """One run of one tree.

    Args:
        channels: connected to a sandbox that the zygote has been asked for.
        spec, session, cancel: as given to Launcher.run.
        groups: makes control groups to freeze trees by.
        doors: what serves the exits of the tree.
        care: how a tree without our namespaces is looked after.
    """

    def __init__(
        self,
        channels: Channels,
        spec: SandboxSpec,
        session: Session,
        cancel: threading.Event,
        began: float,
        groups: Groups | None = None,
        doors: exits.Doors | None = None,
        care: Care | None = None,
    ) -> None:
        self._doors = doors
        self._care = care or Care(plain=spec.level is Level.S0)
        self._answering = contextlib.ExitStack()
        self._channels = channels
        self._spec = spec
        self._limits = spec.limits
        self._session = session
        self._cancel = cancel
        self._groups = groups
        self._process = LiveProcess(channels.stdin)
        self._poller = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._streams: dict[Stream, int] = {"stdout": channels.stdout, "stderr": channels.stderr}
        self._stdin_polled = -1
        self._group: cgroups.Group | None = None
        self._kept: tuple[str, ...] = ()
        self._memory_kills = 0
        self._pidfd = -1
        self._pidfd_known = False
        self._pid = 0
        self._proc = -1
        self._ready = False
        self._introduced = False
        self._dead = False
        self._alone = False
        self._began = began
        self._active_at = began
        self._killed_at = 0.0
        self._kill_at = 0.0
        self._ending: Ending | None = None
        self._detail = ""
        self._exit: dict[str, Any] | None = None
        self._failure: dict[str, Any] | None = None
        self._output_bytes = 0
        self._dropped_bytes = 0
        self._watchdog: Watchdog | None = None
        #: Called once, when the program has been started.
        self.when_begun: Callable[[], None] | None = None

    def run(self) -> Outcome:
        """Watch until nothing of the tree is left.

        Raises:
            LaunchFailed: the sandbox could not be built.
        """
        try:
            self._watch_channels()
            while not self._dead:
                self._look_once()
            self._drain()
        finally:
            self._leave_nothing()
        if self._failure is not None and self._ending is None:
            raise LaunchFailed(self._failure)
        return self._outcome()

    # -- the loop

    def _watch_channels(self) -> None:
        self._channels.report.setblocking(False)
        self._watch(self._channels.report.fileno(), self._read_report)
        self._watch(self._process.wake_fd, self._process.woken)

    def _watch_streams(self) -> None:
        """Only once its session knows the process: nothing may be fed before ``started``."""
        for name, fd in self._streams.items():
            os.set_blocking(fd, False)
            self._watch(fd, partial(self._read_stream, name))

    def _watch(self, fd: int, handler: Callable[[], None], events: int = select.POLLIN) -> None:
        self._handlers[fd] = handler
        self._poller.register(fd, events)

    def _unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def _look_once(self) -> None:
        self._watch_stdin()
        for fd, _events in self._poller.poll(self._pause_s() * 1000):
            handler = self._handlers.get(fd)
            if handler is not None:
                handler()
        self._check(time.monotonic())

    def _pause_s(self) -> float:
        return self._watchdog.pause_s if self._watchdog is not None and self._ending is None else _TICK_S

    def _watch_stdin(self) -> None:
        """Poll stdin only while there is something for it, or the loop would spin."""
        wanted = self._process.stdin_wanted if self._ready else -1
        if wanted == self._stdin_polled:
            return
        if self._stdin_polled >= 0:
            self._unwatch(self._stdin_polled)
        if wanted >= 0:
            self._watch(wanted, self._write_stdin, select.POLLOUT)
        self._stdin_polled = wanted

    def _write_stdin(self) -> None:
        # Unwatched before it may be closed: a closed number can be another thread's by the next poll.
        self._unwatch(self._stdin_polled)
        self._stdin_polled = -1
        if self._process.flush():
            self._active_at = time.monotonic()

    # -- what comes in

    def _read_stream(self, name: Stream) -> None:
        fd = self._streams[name]
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._unwatch(fd)
            del self._streams[name]
            return
        self._active_at = time.monotonic()
        self._take(name, data)

    def _take(self, name: Stream, data: bytes) -> None:
        limit = self._limits.output_bytes
        room = max(0, limit - self._output_bytes) if limit else len(data)
        self._output_bytes += len(data)
        self._dropped_bytes += max(0, len(data) - room)
        # Once its session has said stop, it is told nothing more: its decision was about what came before.
        if room and self._process.stop_reason is None:
            self._session.feed(name, data[:room])

    def _read_report(self) -> None:
        report = self._channels.report
        while True:
            try:
                data, descriptors, _flags, _sender = socket.recv_fds(
                    report, 65536, exits.MOST, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except ConnectionResetError:
                data, descriptors = b"", []
            if not data:
                self._unwatch(report.fileno())
                self._dead = self._dead or self._pidfd < 0  # nobody is left who could have started it
                return
            self._hear(json.loads(data), descriptors)

    def _hear(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "pid" in message:
            self.meet(message["pid"], descriptors[0], message["group"], message["kept"])
        elif "exits" in message:
            self._serve_exits(descriptors)
        elif "calls" in message:
            self._answer_calls(descriptors)
        elif "ready" in message:
            self._kept = self._kept if message["grouped"] else ()
            self._start_watching(descriptors)
        elif "exit" in message:
            self._exit = message
            self._alone = message["alone"]
            self._dead = self._dead or self._alone  # but for its first process, which exits; see Leaving
        else:
            self._failure = message
            self._dead = self._pidfd < 0

    def meet(self, pid: int, pidfd: int, group: str, kept: Sequence[str]) -> None:
        """Take over the first process of the tree, from now on to be watched.

        Args:
            pid, pidfd: of it.
            group: name of the control group that it enters; empty for none.
            kept: limits that the kernel keeps by it.
        """
        self._pid, self._pidfd = pid, pidfd
        self._pidfd_known = True
        self._watch(self._pidfd, self._note_death)
        self._enter_group(group, kept)
        folder = self._group.freezer if self._group is not None else ""
        self._process.freeze_with(Freezer(self._pid, self._pidfd, self._groups, folder))

    def is_over(self) -> bool:
        """Tell whether it is to end before it has begun."""
        self._check(time.monotonic())
        return self._dead

    @property
    def level(self) -> Level:
        """What was asked for."""
        return self._spec.level

    @property
    def leaving(self) -> int:
        """The pidfd of its first process, when that is all that is left and nobody has waited for it; -1 otherwise."""
        return self._pidfd if self._alone else -1

    def _enter_group(self, name: str, kept: Sequence[str]) -> None:
        """Note the control group of the tree, and which limits the kernel keeps if its first process gets in."""
        if name and self._groups is not None:
            self._group = cgroups.Group(self._groups.homes, name)
            self._kept = tuple(kept)

    def _serve_exits(self, descriptors: list[int]) -> None:
        """Answer at the exits, and only then let the program start."""
        if self._doors is None:
            raise OSError("a sandbox has exits that nobody asked for")
        self._doors.begin(descriptors)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # killed meanwhile; its pidfd tells
            self._channels.report.send(exits.SERVED)

    def _answer_calls(self, descriptors: list[int]) -> None:
        if self._care.calls is None:
            raise OSError("a sandbox hands system calls on that nobody answers")
        self._answering.enter_context(self._care.calls(descriptors[0]))

    def _start_watching(self, descriptors: list[int]) -> None:
        self._ready = True
        plain = self._care.plain
        if descriptors:
            # Its own /proc: every process of its pid namespace and no other.
            self._proc = proc = descriptors[0]
            pids = partial(listed_in, proc)
        else:
            self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            pids = partial(_list_below, self._pid)
        layers = () if plain else tuple(overlay.upper for overlay in self._spec.overlays)
        copies = tuple(bind.source for bind in self._spec.binds if bind.writable)
        bounded = not plain and confine.kernel_bounds_processes(os.geteuid())
        self._watchdog = Watchdog(
            pids,
            self._proc,
            layers,
            self._limits,
            count_processes=not bounded and cgroups.PROCESSES not in self._kept,
            count_kills=self._group.count_memory_kills if self._group is not None else None,
            copies=copies,
        )
        if self._ending is None:
            self._active_at = time.monotonic()
            self._introduced = True
            self._session.started(self._process)
            self._watch_streams()
        if self.when_begun is not None:
            self.when_begun()

    def _note_death(self) -> None:
        self._unwatch(self._pidfd)
        if self._channels.report.fileno() in self._handlers:
            self._read_report()  # its last words
        self._dead = True

    # -- clocks and limits

    def _check(self, now: float) -> None:
        if self._dead:
            return
        if self._ending is None:
            self._check_wishes()
        if self._ending is None:
            self._check_clocks(now)
        if self._ending is None:
            self._check_limits(now)
        if self._ending is not None:
            self._press_on(now)

    def _check_wishes(self) -> None:
        reason = self._process.stop_reason
        if reason is not None:
            self._end("stopped", reason)
        elif self._cancel.is_set():
            self._end("cancelled", "cancelled", gently=self._ready)

    def _check_clocks(self, now: float) -> None:
        limits = self._limits
        if not self._ready and limits.spawn_s and now - self._began > limits.spawn_s:
            self._end("spawn_timeout", f"not started after {limits.spawn_s:g} s")
        elif limits.hard_s and now - self._began > limits.hard_s:
            self._end("hard_timeout", f"still running after {limits.hard_s:g} s", gently=True)
        elif self._ready and limits.idle_s and now - self._active_at > limits.idle_s:
            self._end("idle_timeout", f"no output for {limits.idle_s:g} s", gently=True)

    def _check_limits(self, now: float) -> None:
        excess = self._watchdog.check(now) if self._watchdog is not None else None
        if excess is not None:
            self._end(*excess)

    def _end(self, ending: Ending, detail: str, *, gently: bool = False) -> None:
        """Begin to end the tree; the first reason is the one that is told."""
        self._ending, self._detail = ending, detail
        now = time.monotonic()
        if gently and self._limits.grace_s > 0:
            self._signal(signal.SIGTERM)
            self._kill_at = now + self._limits.grace_s
        else:
            self._kill_at = now
        self._press_on(now)

    def _press_on(self, now: float) -> None:
        if self._killed_at:
            if now - self._killed_at > _PATIENCE_S:
                raise TimeoutError(f"process {self._pid} does not end after SIGKILL: {self._detail}")
            return
        if now >= self._kill_at:
            self._killed_at = now
            self._kill()

    # -- ending it

    def _kill(self) -> None:
        if self._pidfd < 0:
            # We know of no process. Should one be on its way, it sees our end of the report socket close and exits.
            self._dead = True
        elif self._care.plain:
            self._kill_plain()
        else:
            self._signal(signal.SIGKILL)  # of pid 1 of the namespace: the kernel kills the rest

    def _kill_plain(self) -> None:
        """Its first process kills the tree; should that one have been killed itself, we do."""
        for pid in _list_below(self._pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._signal(signal.SIGQUIT)

    def _signal(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _drain(self) -> None:
        """Read what is left in the pipes; every writer is dead, so this ends."""
        for name in tuple(self._streams) if self._introduced else ():
            while name in self._streams and readiness.is_readable(self._streams[name]):
                self._read_stream(name)

    def _leave_nothing(self) -> None:
        """Also on an exception of the session or an interrupt: first the tree, then our descriptors."""
        try:
            if not self._dead:
                self._kill()
                if self._pidfd >= 0:
                    readiness.is_readable(self._pidfd, _PATIENCE_S)
        finally:
            try:
                self._answering.close()
                if self._doors is not None:
                    self._doors.close()
            finally:
                self._close_ours()

    def _close_ours(self) -> None:
        self._channels.close()
        self._process.close()
        self._leave_group()
        for fd in (-1 if self._alone else self._pidfd, self._proc):
            if fd >= 0:
                os.close(fd)

    def _leave_group(self) -> None:
        """Ask the control group what the kernel did, and let go of it."""
        if self._group is not None and self._groups is not None:
            self._memory_kills = self._group.count_memory_kills()
            if self._care.plain:
                self._group.end()  # should its first process have been killed, nobody else knows what it had started
            self._groups.retire(self._group)

    def abandon(self) -> None:
        """Close everything of a run that could not even be asked for."""
        self._dead = True
        self._leave_nothing()

    @property
    def may_have_strays(self) -> bool:
        """Tell whether its first process was killed, in a tree that only this process kept together."""
        return self._care.plain and self._pidfd_known and self._exit is None

    def _outcome(self) -> Outcome:
        ending, detail, code = self._ending, self._detail, None
        if ending is None and self._memory_kills:
            ending, detail = "memory", describe_memory(self._limits)
        if ending is None and self._exit is not None:
            ending, detail, code = "exited", self._exit["detail"], self._exit["exit"]
        if ending is None:
            ending, detail = "lost", "its first process was killed from outside"
        duration_s = time.monotonic() - self._began
        return Outcome(ending, code, duration_s, self._output_bytes, self._dropped_bytes, detail)


def _list_below(pid: int) -> list[int]:
    """Return every process below one; none when they cannot be listed now.

    For the watchdog, which looks again in a moment, and for a kill that the first process of the tree makes as well.
    """
    try:
        return tree.descendants_of(pid)
    except OSError:
        return []
