"""The first process of a tree: sets the sandbox up, starts the program, adopts and reaps, tells how it ended.

It stays in Python after the fork (no exec), in its own session. In a pid namespace it is pid 1: when it ends, the
kernel kills all the rest. Where there is no such namespace (S1, S0, a program that confines another one) it does the
killing itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn

from nightcrew.host import kernel
from nightcrew.sandbox import attempts, build, cgroups, confine, exits, restrict, tree
from nightcrew.sandbox.order import AT_ONCE_BYTES, Order, decode

NOT_FOUND: Final = 127
NOT_STARTED: Final = 126
_CLEANUP_S: Final = 20  # for a command that ends what is not below us
_LAST_WORDS_S: Final = 2.0
_DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_ANY_CHILD: Final = 0x40000000  # __WALL: also one whose end sends another signal than SIGCHLD, or none
# Plain numbers: members of an enumeration lie all over the memory that a child has to copy.
_DISPOSABLE: Final = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
_SEQPACKET: Final = int(socket.SOCK_SEQPACKET)
_STREAMS_AND_MORE: Final = 5
_NUMBER_BYTES: Final = struct.calcsize("i")
_CONTROL_BYTES: Final = socket.CMSG_SPACE(_STREAMS_AND_MORE * _NUMBER_BYTES)


class Prepared(NamedTuple):
    """What the zygote has worked out once for all sandboxes."""

    host: build.Host
    seccomp_filter: bytes


_actions: dict[int, Callable[[], None]] = {}


def expect_signals() -> None:
    """In the zygote: have the signals that a child acts on handled, so that the child only has to say how."""
    for number in (signal.SIGTERM, signal.SIGIO):
        _actions[number] = _exit_at_once
        signal.signal(number, _handle)


def _handle(number: int, _frame: FrameType | None) -> None:
    action = _actions.get(number)
    if action is not None:
        action()


def _exit_at_once() -> NoReturn:
    os._exit(1)


class Report:
    """Tells the launcher what happens, one JSON message each."""

    def __init__(self, channel: int) -> None:
        #: The tree is in its control group.
        self.grouped = False
        self._channel = socket.socket(socket.AF_UNIX, _SEQPACKET, 0, channel)

    def send(self, descriptors: tuple[int, ...] = (), **message: Any) -> bool:
        """Send a message; False when the launcher does not listen any more."""
        return self._send(json.dumps(message).encode("ascii"), descriptors)

    def tell_ready(self, descriptors: tuple[int, ...]) -> None:
        """Say that the program has been started."""
        self._send(b'{"ready": true, "grouped": %b}' % _WORDS[self.grouped], descriptors)

    def tell_exit(self, code: int, detail: str, *, alone: bool) -> None:
        """Say how the program ended."""
        words = json.dumps(detail).encode("ascii") if detail else b'""'
        self._send(b'{"exit": %d, "detail": %b, "alone": %b}' % (code, words, _WORDS[alone]), ())

    def _send(self, message: bytes, descriptors: tuple[int, ...]) -> bool:
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        try:
            self._channel.sendmsg([message], more)
        except OSError:
            return False
        return True

    def wait_for(self, word: bytes) -> None:
        """Wait until the launcher says ``word``; exits when it goes away or says anything else."""
        if self._channel.recv(16) != word:
            os._exit(1)

    def act_when_unheard(self, action: Callable[[], None]) -> None:
        """Call ``action`` as soon as the launcher's end is closed, for whatever reason: nobody watches us then."""
        _actions[_SIGIO] = lambda: action() if self._is_unheard() else None
        fd = self._channel.fileno()
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
        if self._is_unheard():
            action()

    def _is_unheard(self) -> bool:
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLIN)
        if not poller.poll(0):
            return False
        try:
            return not self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Let go of the channel."""
        self._channel.close()


_WORDS: Final = {False: b"false", True: b"true"}
_SIGIO, _SIGTERM = int(signal.SIGIO), int(signal.SIGTERM)


def run_confined(channel: socket.socket, prepared: Prepared, doors: list[int]) -> NoReturn:
    """In fresh namespaces: get ready, wait for the order, become pid 1 of that sandbox; returns never."""
    _actions.clear()
    _wait_until_mapped(channel)
    grouped = cgroups.enter(doors)
    refusal = _get_ready()
    words, streams, report = _wait_for_order(channel)
    code = 1
    try:
        if refusal is not None:
            raise refusal
        order = decode(words)
        proc = build.build(order, prepared.host)
        _open_exits(order, report)
        _take_streams(streams)
        confine.set_limits(order, own_namespace=True)
        confine.give_up_privileges(prepared.seccomp_filter)
        kernel.die_with_parent(signal.SIGKILL)  # dropping capabilities may have cleared it
        _actions[_SIGTERM] = _end_politely
        report.act_when_unheard(_exit_at_once)
        report.grouped = grouped
        code = _run(order, report, (proc,) if proc >= 0 else (), own_namespace=True)
    except build.BuildError as problem:
        _tell_failure(report, problem.step, problem.cause)
    except OSError as problem:
        _tell_failure(report, "the start", problem)
    except Exception as problem:  # noqa: BLE001 - told outside; in here nobody would ever see it
        _tell_failure(report, "the start", OSError(0, f"a defect: {type(problem).__name__}: {problem}"))
    finally:
        os._exit(code)


def _wait_until_mapped(channel: socket.socket) -> None:
    if not channel.recv(1):
        os._exit(1)  # the zygote has gone, or could not map our ids


def _wait_for_order(channel: socket.socket) -> tuple[bytes, tuple[int, int, int], Report]:
    """Return the order as it came, descriptors of the streams, and the report; exits when there will be no order.

    A long order is in a file: a fifth descriptor, the first.
    """
    words, rights, _flags, _sender = channel.recvmsg(AT_ONCE_BYTES, _CONTROL_BYTES, socket.MSG_CMSG_CLOEXEC)
    channel.close()
    if not words:
        os._exit(0)
    came = rights[0][2]
    *file, stdin, stdout, stderr, report = struct.unpack(f"{len(came) // _NUMBER_BYTES}i", came)
    return _read_all(file[0]) if file else words, (stdin, stdout, stderr), Report(report)


def _get_ready() -> build.BuildError | None:
    """Do all that does not depend on the order; a refusal is told to the first one who asks.

    The mounts are not among it: they would show the host as it is now, and keep what the user unmounts busy.
    """
    try:
        os.setsid()
        confine.volunteer_for_oom()
        kernel.give_up_future_privileges()
        _leave_groups()
        kernel.raise_loopback()
    except OSError as cause:
        return build.BuildError("capabilities in a new user namespace", cause)
    return None


def _leave_groups() -> None:
    if os.getuid() == 0:
        with contextlib.suppress(PermissionError):  # denied where root itself may not change groups
            os.setgroups([])


def run_plain(channel: socket.socket, prepared: Prepared, doors: list[int]) -> NoReturn:
    """Without namespaces of ours: a tree that is kept together; returns never."""
    _actions.clear()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _wait_until_mapped(channel)
    grouped = cgroups.enter(doors)
    words, streams, report = _wait_for_order(channel)
    code, end = 1, _end_tree
    try:
        os.setsid()
        kernel.adopt_orphans()
        kernel.die_with_parent(signal.SIGQUIT)
        _on_signal(signal.SIGQUIT, _end_tree_and_exit)
        order = decode(words)
        end = partial(_end_with, order)
        _on_signal(signal.SIGTERM, partial(_ask_to_end, order))
        _on_signal(signal.SIGQUIT, lambda: _exit_after(end))
        _take_streams(streams)
        kernel.close_on_exec_from(3)
        _open_inherited(order)
        confine.set_limits(order, own_namespace=False)
        report.act_when_unheard(lambda: _exit_after(end))
        report.grouped = grouped
        code = _run(order, report, (), prepared.seccomp_filter)
        end = partial(_let_end, order)
    except build.BuildError as problem:
        _tell_failure(report, problem.step, problem.cause)
    except OSError as problem:
        _tell_failure(report, "the start", problem)
    finally:
        end()
        os._exit(code)


def _open_inherited(order: Order) -> None:
    """Open what a program that confines another reads its orders from; before the limit of open files is set."""
    for item in order["inherit"]:
        flags = os.O_RDWR if item["writable"] else os.O_RDONLY
        fd = os.open(item["path"], flags | os.O_CLOEXEC)
        os.dup2(fd, item["number"], inheritable=True)
        os.close(fd)


def _ask_to_end(order: Order) -> None:
    """Pass a polite signal on to those who can use it: what confines a program would only let go of it."""
    with contextlib.suppress(
        OSError
    ):  # the machine has no descriptor left to list them by; the kill comes anyway
        own = tree.children_of(os.getpid())
        if order["term"] == "child":
            _signal_each(own, signal.SIGTERM)
        else:
            spared = own if order["term"] == "below" else []
            _signal_each(
                [pid for pid in tree.descendants_of(os.getpid()) if pid not in spared], signal.SIGTERM
            )


def _end_with(order: Order) -> None:
    """End the tree, and by a command what is not in it (a container that a daemon has started)."""
    _end_tree()
    if order["cleanup"]:
        argv = order["cleanup"]
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_CLEANUP_S)
        with contextlib.suppress(OSError):  # it is not there any more: then nothing can be ended by it either
            os.waitpid(os.posix_spawn(argv[0], argv, order["env"], setsigdef=_DISPOSABLE), 0)


def _let_end(order: Order) -> None:
    """End the tree of a program that has ended; what watches a container writes down how, and goes by itself."""
    end = time.monotonic() + (_LAST_WORDS_S if order["cleanup"] else 0.0)
    while time.monotonic() < end and tree.children_of(os.getpid()):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.005)
    _end_tree()


def _open_exits(order: Order, report: Report) -> None:
    """Make the exits while we still may use low ports, and wait until somebody answers there."""
    if not order["exits"]:
        return
    try:
        descriptors = exits.open_all(order["exits"])
    except OSError as cause:
        raise build.BuildError("the exits of its network", cause) from cause
    report.send(descriptors, exits=len(descriptors))
    for fd in descriptors:
        os.close(fd)
    report.wait_for(exits.SERVED)


def _read_all(fd: int) -> bytes:
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    os.close(fd)
    return data


def _tell_failure(report: Report, step: str, cause: OSError) -> None:
    path = os.fsdecode(cause.filename) if cause.filename else ""
    report.send(error=step, errno=cause.errno or 0, text=cause.strerror or str(cause), path=path)


def _take_streams(streams: tuple[int, int, int]) -> None:
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)


def _run(
    order: Order,
    report: Report,
    descriptors: tuple[int, ...],
    seccomp_filter: bytes = b"",
    *,
    own_namespace: bool = False,
) -> int:
    """Start the program, reap until it ends, report; returns the exit code for ourselves."""
    starter = _Starter(order, report, seccomp_filter)
    child, problem = (starter.fork_attempts(), "") if order["attempts"] else _spawn(order, starter)
    report.tell_ready(descriptors)
    for fd in descriptors:
        os.close(fd)
    if child < 0:
        report.tell_exit(-child, problem, alone=own_namespace and _is_alone())
        return -child
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    code = _reap_until(child)
    report.tell_exit(code, "", alone=own_namespace and _is_alone())
    return code


def _is_alone() -> bool:
    """Tell whether nothing is left in our pid namespace but ourselves: every orphan in it is a child of ours."""
    try:
        os.waitpid(-1, os.WNOHANG | _ANY_CHILD)
    except ChildProcessError:
        return True
    return False


class _Starter:
    """Starts a program as the order says: as it is, or restricted (level S1)."""

    def __init__(self, order: Order, report: Report, seccomp_filter: bytes) -> None:
        self._order, self._report, self._filter = order, report, seccomp_filter

    def start(self, program: str) -> int:
        """Start the program of the order; returns its pid.

        Raises:
            OSError: it cannot be started.
            BuildError: it cannot be restricted.
        """
        order = self._order
        if order["restrict"] is None:
            return os.posix_spawn(
                program, order["argv"], order["env"], setsid=True, setsigmask=(), setsigdef=_DISPOSABLE
            )
        try:
            return restrict.start(
                order["restrict"], program, order["argv"], order["env"], self._filter, self._hand_over
            )
        except restrict.Unrestricted as cause:
            raise build.BuildError("Landlock and supervised system calls", cause) from cause

    def fork_attempts(self) -> int:
        """Try the escapes of the self-test in a child that is confined like any program."""
        order = self._order
        if order["restrict"] is None:
            return _fork_attempts(order)
        return restrict.run_restricted(
            order["restrict"], self._filter, self._hand_over, lambda: _try_attempts(order)
        )

    def _hand_over(self, listener: int) -> bool:
        return self._report.send((listener,), calls=True)


def _spawn(order: Order, starter: _Starter) -> tuple[int, str]:
    """Start ``argv``; returns its pid, or minus the exit code that a shell would give and why."""
    name = order["argv"][0]
    try:
        os.chdir(order["cwd"])
        program = find_program(name, order["env"].get("PATH", _DEFAULT_PATH))
        child = starter.start(program)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        problem = f"cannot start {name!r} in {order['cwd']!r}: {reason}"
        with contextlib.suppress(OSError):
            os.write(2, os.fsencode(f"nightcrew: {problem}\n"))
        missing = isinstance(cause, FileNotFoundError | NotADirectoryError)
        return (-NOT_FOUND if missing else -NOT_STARTED), problem
    return child, ""


def find_program(name: str, search: str) -> str:
    """Return the path of a program the way a shell does: as it is when it has a slash, else from ``search``.

    Raises:
        FileNotFoundError: nothing executable has that name.
    """
    if "/" in name:
        return name
    for folder in search.split(":"):
        path = f"{folder}/{name}"
        if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise FileNotFoundError(2, f"not found in {search}", name)


def _fork_attempts(order: Order) -> int:
    child = os.fork()
    if child == 0:
        _try_attempts(order)
    return child


def _try_attempts(order: Order) -> NoReturn:
    try:
        os.write(1, json.dumps(attempts.try_all(order["attempts"])).encode())
    except Exception as problem:  # noqa: BLE001 - a self-test that fails says why, to whoever reads it outside
        os.write(1, json.dumps({"failed": f"{type(problem).__name__}: {problem}"}).encode())
    finally:
        os._exit(0)


def _reap_until(child: int) -> int:
    """Reap whatever ends, until ``child`` has; returns its exit code, 128 + n for signal n."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _on_signal(number: signal.Signals, action: Callable[[], None]) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        action()

    signal.signal(number, handle)


def _end_politely() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)  # in a pid namespace: everything in it but ourselves


def _signal_tree(number: signal.Signals) -> None:
    _signal_each(tree.descendants_of(os.getpid()), number)


def _signal_each(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _end_tree() -> None:
    """Kill descendants until there is none; orphans come to us, so no generation is missed."""
    while True:
        try:
            _signal_tree(signal.SIGKILL)
        except OSError:
            time.sleep(0.01)  # the machine has no descriptor left: they are listed again until it has
            continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _end_tree_and_exit() -> None:
    _exit_after(_end_tree)


def _exit_after(act: Callable[[], None]) -> NoReturn:
    act()
    os._exit(1)
