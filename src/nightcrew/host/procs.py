"""The door to processes: every one has a deadline, an output bound, and a group that dies with it."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from nightcrew.model.errors import NightcrewError, NotFound

_GRACE_S: Final = 0.3
"""Between TERM and KILL at the deadline: enough for git to remove its lock files."""
_CHUNK_BYTES: Final = 1 << 16
_PIPE_BYTES: Final = 1 << 20
"""Most that a pipe can hold (fs.pipe-max-size); more than that was not written by the process itself."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that has ended, and every process of its group with it.

    Attributes:
        argv: what was run.
        code: exit code, or minus the signal number.
        stdout, stderr: at most ``max_output_bytes`` each.
        timed_out: it was killed at its deadline.
        truncated: it wrote more than was kept; the rest was read and dropped.
    """

    argv: tuple[str, ...]
    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False
    truncated: bool = False

    @property
    def ok(self) -> bool:
        """True when it ended by itself with exit code 0."""
        return self.code == 0 and not self.timed_out


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path | None = None,
    input: bytes = b"",  # noqa: A002  (the word of the standard library)
    timeout_s: float = 60.0,
    max_output_bytes: int = 64 << 20,
    stdin: int = -1,
    stdout: int = -1,
) -> Completed:
    """Run a program to its end and return what it wrote.

    It gets a session of its own. When it exits, or at the deadline, its whole process group is killed, so a
    grandchild that keeps a pipe open cannot hold us up; what such a grandchild writes later is lost. (One that
    calls ``setsid`` leaves the group. Programs that are not ours run in a sandbox, where it cannot.)

    Args:
        argv: program and arguments; the program is looked up on the PATH of ``env``.
        env: the whole environment.
        input: bytes for its stdin; none means an empty stdin.
        timeout_s: wall time; then TERM, and KILL 0.3 s later.
        max_output_bytes: kept of stdout and of stderr each.
        stdin, stdout: descriptors of files that it reads in place of ``input``, and writes to in place of being read.

    Raises:
        NotFound: there is no such program or directory.
        NightcrewError: it cannot be started.
    """
    started = time.monotonic()
    source = stdin if stdin >= 0 else subprocess.PIPE if input else subprocess.DEVNULL
    sink = stdout if stdout >= 0 else subprocess.PIPE
    process = _start(argv, env=env, cwd=cwd, stdin=source, stdout=sink, stderr=subprocess.PIPE)
    try:
        watch = _Watch(process, input, max_output_bytes)
        timed_out = watch.until_exit(started + timeout_s)
    finally:
        # The leader is not reaped yet, so its group id cannot belong to strangers.
        _kill_group(process.pid, signal.SIGKILL)
        code = process.wait()
    out, err = watch.close()
    return Completed(tuple(argv), code, out, err, timed_out, watch.truncated)


def _start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path | None,
    stdin: int,
    stderr: int,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            bufsize=0,
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        missing = cwd if cwd is not None and str(error.filename) == str(cwd) else argv[0]
        raise NotFound(f"cannot start {argv[0]}: {missing} does not exist", code="program.missing") from error
    except OSError as error:
        raise NightcrewError(f"cannot start {argv[0]}: {error.strerror}", code="program.unusable") from error


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        # Gone already, or what is left of it changed its user (sudo): not ours to kill.
        return


class _Watch:
    """Feeds stdin, collects stdout and stderr, and notices the exit, without ever blocking on a pipe."""

    def __init__(self, process: subprocess.Popen[bytes], data: bytes, limit: int) -> None:
        self.process = process
        self.limit = limit
        self.truncated = False
        self.kept: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self.left = memoryview(data)
        self.pidfd = os.pidfd_open(process.pid)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.pidfd, selectors.EVENT_READ, "exit")
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr), ("stdin", process.stdin)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                wanted = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
                self.selector.register(pipe, wanted, name)

    def until_exit(self, deadline: float) -> bool:
        """Watch until the process has exited; return whether it had to be killed for being late."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._until(deadline):
                return number is signal.SIGKILL
            _kill_group(self.process.pid, number)
            deadline = time.monotonic() + _GRACE_S
        # Killed. A process in uninterruptible sleep (a hung disk) is waited for by nobody else either.
        while not self._until(time.monotonic() + 1.0):
            continue
        return True

    def _until(self, deadline: float) -> bool:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            events = self.selector.select(left)
            for key, _ in events:
                if key.data != "exit":
                    self._serve(key.data, key.fileobj)
            if any(key.data == "exit" for key, _ in events):
                return True

    def _serve(self, name: str, pipe: object) -> None:
        stream: IO[bytes] = pipe  # type: ignore[assignment]  # registered by us, always a pipe
        try:
            more = self._feed(stream) if name == "stdin" else self._take(name, stream)
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It does not read its stdin to the end: its right.
            more = False
        if not more:
            self.selector.unregister(stream)
            stream.close()

    def _feed(self, stream: IO[bytes]) -> bool:
        self.left = self.left[os.write(stream.fileno(), self.left[:_CHUNK_BYTES]) :]
        return len(self.left) > 0

    def _take(self, name: str, stream: IO[bytes]) -> bool:
        data = os.read(stream.fileno(), _CHUNK_BYTES)
        kept = self.kept[name]
        room = self.limit - len(kept)
        kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        return bool(data)

    def close(self) -> tuple[bytes, bytes]:
        """Take what the dead left in the pipes, close them, and return all that was kept."""
        for name, pipe in (("stdout", self.process.stdout), ("stderr", self.process.stderr)):
            if pipe is not None and not pipe.closed:
                self._drain(name, pipe)
                pipe.close()
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        self.selector.close()
        os.close(self.pidfd)
        return bytes(self.kept["stdout"]), bytes(self.kept["stderr"])

    def _drain(self, name: str, pipe: IO[bytes]) -> None:
        try:
            for _ in range(_PIPE_BYTES // _CHUNK_BYTES):
                if not self._take(name, pipe):
                    return
        except BlockingIOError:
            # Somebody outside the group still holds the pipe. All that the process itself wrote has been read.
            return


def start_detached(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: str | Path | None = None, log: Path
) -> int:
    """Start a program that goes on when we end, in a session of its own, its output appended to ``log`` (0600).

    Returns:
        Its process id.

    Raises:
        NotFound: there is no such program or directory.
    """
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise NotFound(
            f"cannot start {argv[0]}: {error.filename} does not exist", code="program.missing"
        ) from error
    finally:
        os.close(fd)
    # Should it end before us, somebody must take its exit code, or it stays in the process table as a zombie.
    threading.Thread(target=process.wait, name=f"reaper-{process.pid}", daemon=True).start()
    return process.pid


def process_identity(pid: int) -> str:
    """Return a name for a live process that is never used again, or the empty string when it is dead.

    Process ids are reused; id, start time (clock ticks since boot) and boot id together are not.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The program's name stands in brackets and may hold anything, brackets and spaces too.
    fields = text[text.rindex(b")") + 2 :].split()
    state, start = fields[0], fields[19]
    if state in (b"Z", b"X"):
        return ""
    return f"{pid}.{start.decode('ascii')}.{boot[:8]}"


class Conversation:
    """A program that stays and answers questions on its stdin, one at a time: ask inside a ``with`` block.

    Safe to share between threads. When a question is left half answered the program is ended, because what comes
    next on the pipe would be the rest of the old answer.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str | Path | None = None) -> None:
        self._process = _start(argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._argv = tuple(argv)
        self._rest = b""
        self._turn = threading.Lock()
        self._open = True

    def __enter__(self) -> Self:
        self._turn.acquire()
        if not self._open:
            self._turn.release()
            raise NightcrewError(f"{self._argv[0]} has ended", code="program.ended")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and not issubclass(kind, LookupError):
                self._end()
        finally:
            self._turn.release()

    def send(self, data: bytes) -> None:
        """Write a question.

        Raises:
            NightcrewError: the program has ended.
        """
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(data)
        except (BrokenPipeError, ValueError) as error:
            raise NightcrewError(f"{self._argv[0]} has ended", code="program.ended") from error

    def receive_line(self, *, timeout_s: float) -> bytes:
        """Return the next line of the answer without its end.

        Raises:
            NightcrewError: the program has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            self._rest += self._more(deadline)
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def receive(self, size: int, *, timeout_s: float) -> bytes:
        """Return exactly ``size`` bytes of the answer.

        Raises:
            NightcrewError: the program has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        parts = [self._rest]
        have = len(self._rest)
        while have < size:
            parts.append(self._more(deadline))
            have += len(parts[-1])
        data = b"".join(parts)
        self._rest = data[size:]
        return data[:size]

    def receive_until(self, end: bytes, *, timeout_s: float) -> bytes:
        """Return the answer up to ``end``, which is taken off.

        Raises:
            NightcrewError: the program has ended, or does not answer in time.
        """
        deadline = time.monotonic() + timeout_s
        data, looked = bytearray(self._rest), 0
        while (position := data.find(end, looked)) < 0:
            looked = max(0, len(data) - len(end))
            data += self._more(deadline)
        self._rest = bytes(data[position + len(end) :])
        return bytes(data[:position])

    def end(self) -> None:
        """Kill the program, if it still runs, and wait for it."""
        with self._turn:
            self._end()

    def _end(self) -> None:
        if self._open:
            self._open = False
            _kill_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()

    def _more(self, deadline: float) -> bytes:
        pipe = self._process.stdout
        if pipe is None:
            raise NightcrewError(f"{self._argv[0]} has no output", code="program.ended")
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        ready = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
        data = os.read(pipe.fileno(), _PIPE_BYTES) if ready else b""
        if not data:
            why = "has ended" if ready else "does not answer"
            raise NightcrewError(f"{self._argv[0]} {why}", code="program.ended")
        return data
