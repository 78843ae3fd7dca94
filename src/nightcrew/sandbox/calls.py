"""Level S1, outside: the thread that does, or refuses, the system calls which a confined program hands on.

Nothing is ever waved through: between our look and the kernel's, another thread of the program could change what it
points at. We read the arguments once, and what stays inside we do ourselves, on the very file or socket we looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Self

from nightcrew.host import kernel, notify
from nightcrew.host.notify import Call
from nightcrew.sandbox.doors import Door, find_door
from nightcrew.sandbox.places import lies_in
from nightcrew.sandbox.supervised import numbers

_AT_FDCWD: Final = -100
_AT_SYMLINK_NOFOLLOW: Final = 0x100
_AT_EMPTY_PATH: Final = 0x1000
_LARGEST_ADDRESS: Final = 128  # sockaddr_storage
_TWO_TIMES: Final = 32  # bytes of struct timespec[2]
_OWN_DESCRIPTOR: Final = re.compile(rb"(?:/proc/(?:self|thread-self)|/dev)/fd/(\d{1,9})")
_CONNECT_S: Final = 2.0  # to a socket on this machine whose owner does not accept
_JOIN_S: Final = 2.0

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """The call fails with this error number."""

    def __init__(self, number: int) -> None:
        super().__init__(number, os.strerror(number))


class Calls:
    """Answers the calls of one tree; a context manager.

    Args:
        listener: where calls arrive; ours to close.
        inside: directories (no links in their paths) that the tree may write to: what lies there may be changed.
        doors: the only places that may be connected to.
    """

    def __init__(self, listener: int, inside: Sequence[str], doors: Mapping[tuple[str, int], Door]) -> None:
        self._listener = listener
        self._inside = tuple(inside)
        self._doors = doors
        self._names = numbers(kernel.MACHINE)
        self._end = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._answer_all, name="nightcrew-calls", daemon=True)
        self._acts: Final[Mapping[str, Callable[[Call], None]]] = {
            "connect": self._connect,
            "listen": self._listen,
            "chmod": self._chmod,
            "fchmod": self._fchmod,
            "fchmodat": self._fchmodat,
            "fchmodat2": self._fchmodat,
            "utimensat": self._utimensat,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        os.eventfd_write(self._end, 1)
        self._thread.join(_JOIN_S)
        if not self._thread.is_alive():  # else it still needs it, and ends with the call it is in
            os.close(self._end)

    def _answer_all(self) -> None:
        """Whatever ends this: with the listener closed, every call that waits or comes fails (ENOSYS)."""
        try:
            self._answer_until_end()
        finally:
            os.close(self._listener)

    def _answer_until_end(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._end, select.POLLIN)
        while True:
            events = dict(poller.poll())
            if self._end in events or events.get(self._listener, 0) & (select.POLLHUP | select.POLLERR):
                return
            call = notify.receive(self._listener)
            if call is not None:
                notify.answer(self._listener, call, self._answer(call))

    def _answer(self, call: Call) -> int:
        """Do what a call asks for; returns the error number it fails with, 0 for none."""
        act = self._acts.get(self._names.get(call.number, ""))
        try:
            if act is None:
                return errno.ENOSYS
            act(call)
        except OSError as problem:
            return problem.errno or errno.EPERM
        except (ValueError, OverflowError):
            return errno.EINVAL  # numbers and names that no system call takes
        return 0

    # -- connections

    def _connect(self, call: Call) -> None:
        fd, place, size = _int(call.arguments[0]), call.arguments[1], _int(call.arguments[2])
        if not 2 <= size <= _LARGEST_ADDRESS:
            raise Refused(errno.EINVAL)
        address = notify.read_memory(call.thread, place, size)
        if len(address) != size:
            raise Refused(errno.EFAULT)
        (family,) = struct.unpack_from("=H", address)
        with self._own_socket(call, fd, family) as taken:
            if taken.family != family:
                raise Refused(errno.EAFNOSUPPORT)
            if family == socket.AF_UNIX:
                self._connect_local(call, taken, address[2:])
            elif family in (socket.AF_INET, socket.AF_INET6):
                self._connect_door(call, taken, address)
            else:
                raise Refused(errno.EAFNOSUPPORT)

    @contextlib.contextmanager
    def _own_socket(self, call: Call, fd: int, family: int) -> Iterator[socket.socket]:
        """Yield the caller's own socket; where nobody may take it (default Docker), a new one that replaces it after."""
        try:
            taken = _take_socket(call, fd)
        except PermissionError:
            flags = notify.read_flags(call.thread, fd)
            if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
                raise Refused(errno.EAFNOSUPPORT) from None
            with socket.socket(family, socket.SOCK_STREAM) as made:
                yield made
                os.set_blocking(made.fileno(), not flags & os.O_NONBLOCK)
                close = bool(flags & os.O_CLOEXEC)
                notify.put_descriptor(self._listener, call, made.fileno(), fd, close_on_exec=close)
            return
        with taken:
            yield taken

    def _connect_local(self, call: Call, taken: socket.socket, name: bytes) -> None:
        """To a socket that the tree itself has made: one that lies where it may write."""
        if not name or name.startswith(b"\0"):
            raise Refused(errno.ECONNREFUSED)  # an abstract name belongs to the whole machine
        found = self._find(call, _AT_FDCWD, name.split(b"\0")[0], follow=True)
        try:
            _finish(taken, lambda: taken.connect(f"/proc/self/fd/{found}"))
        finally:
            os.close(found)

    def _connect_door(self, call: Call, taken: socket.socket, address: bytes) -> None:
        host, port = _read_internet(address)
        door = find_door(self._doors, host, port)
        if door is None:
            raise Refused(
                errno.ECONNREFUSED if host.startswith("127.") or host == "::1" else errno.ENETUNREACH
            )
        if not notify.still_waits(self._listener, call):
            raise Refused(errno.EINTR)
        _finish(taken, lambda: door.admit(taken))

    def _listen(self, call: Call) -> None:
        """On a local socket with a path only: one of the internet would be given a port that the whole network can reach."""
        fd, backlog = _int(call.arguments[0]), _int(call.arguments[1])
        with _take_socket(call, fd) as taken:
            name = taken.getsockname() if taken.family == socket.AF_UNIX else None
            if name is None or isinstance(name, bytes):
                raise Refused(errno.EACCES)  # an abstract name too belongs to the whole machine
            if not notify.still_waits(self._listener, call):
                raise Refused(errno.EINTR)
            taken.listen(max(0, backlog))

    # -- modes and times

    def _chmod(self, call: Call) -> None:
        self._change_mode(call, _AT_FDCWD, call.arguments[0], call.arguments[1])

    def _fchmod(self, call: Call) -> None:
        self._change_mode(call, _int(call.arguments[0]), 0, call.arguments[1])

    def _fchmodat(self, call: Call) -> None:
        flags = _int(call.arguments[3]) if self._names[call.number] == "fchmodat2" else 0
        self._change_mode(call, _int(call.arguments[0]), call.arguments[1], call.arguments[2], flags)

    def _change_mode(self, call: Call, folder: int, path: int, mode: int, flags: int = 0) -> None:
        found = self._find_at(call, folder, path, flags)
        try:
            os.chmod(f"/proc/self/fd/{found}", mode & 0o7777)
        finally:
            os.close(found)

    def _utimensat(self, call: Call) -> None:
        folder, path, place = _int(call.arguments[0]), call.arguments[1], call.arguments[2]
        times = notify.read_memory(call.thread, place, _TWO_TIMES) if place else None
        if times is not None and len(times) != _TWO_TIMES:
            raise Refused(errno.EFAULT)
        found = self._find_at(call, folder, path, _int(call.arguments[3]))
        try:
            if _libc.utimensat(_AT_FDCWD, f"/proc/self/fd/{found}".encode(), times, 0) != 0:
                raise Refused(ctypes.get_errno())
        finally:
            os.close(found)

    # -- what they are about

    def _find_at(self, call: Call, folder: int, path: int, flags: int) -> int:
        if flags & ~(_AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH):
            raise Refused(errno.EINVAL)
        name = notify.read_path(call.thread, path) if path else b""
        if not name and (flags & _AT_EMPTY_PATH or not path):
            return self._open_own(call, f"/proc/{call.thread}/fd/{folder}")
        return self._find(call, folder, name, follow=not flags & _AT_SYMLINK_NOFOLLOW)

    def _find(self, call: Call, folder: int, path: bytes, *, follow: bool) -> int:
        """Return a descriptor of what a path of the caller names, if that lies inside."""
        own = _OWN_DESCRIPTOR.fullmatch(path)
        if own is not None:  # how C libraries reach a file by its descriptor
            return self._open_own(call, f"/proc/{call.thread}/fd/{int(own[1])}")
        start = "cwd" if folder == _AT_FDCWD else f"fd/{folder}"
        base = os.open(f"/proc/{call.thread}/{start}", os.O_PATH | os.O_CLOEXEC)
        try:
            flags = os.O_PATH | (0 if follow else os.O_NOFOLLOW)
            # Without magic links: /proc/self would be ours. What needs them is told that it does not work.
            found = kernel.open_beneath(base, os.fsdecode(path), flags, kernel.RESOLVE_NO_MAGICLINKS)
        except OSError as problem:
            raise Refused(
                errno.EOPNOTSUPP if problem.errno == errno.ELOOP else problem.errno or 1
            ) from problem
        finally:
            os.close(base)
        return self._keep_if_inside(call, found)

    def _open_own(self, call: Call, link: str) -> int:
        try:
            return self._keep_if_inside(call, os.open(link, os.O_PATH | os.O_CLOEXEC))
        except FileNotFoundError:
            raise Refused(errno.EBADF) from None

    def _keep_if_inside(self, call: Call, found: int) -> int:
        where = os.readlink(f"/proc/self/fd/{found}")
        if any(lies_in(where, place) for place in self._inside) and notify.still_waits(self._listener, call):
            return found
        os.close(found)
        raise Refused(errno.EPERM)


def _take_socket(call: Call, fd: int) -> socket.socket:
    taken = notify.take_descriptor(call.thread, fd)
    try:
        return socket.socket(fileno=taken)
    except BaseException:  # it is something else
        os.close(taken)
        raise


def _finish(taken: socket.socket, connect: Callable[[], None]) -> None:
    """Connect a socket of the caller, and never wait for long, whatever the caller has asked for."""
    blocking = os.get_blocking(taken.fileno())
    taken.setblocking(False)
    try:
        connect()
    except BlockingIOError as begun:
        if not blocking or begun.errno != errno.EINPROGRESS:
            raise
        waiting = select.poll()
        waiting.register(taken, select.POLLOUT)
        if not waiting.poll(_CONNECT_S * 1000):
            raise Refused(errno.ETIMEDOUT) from None
        problem = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise Refused(problem) from None
    finally:
        os.set_blocking(taken.fileno(), blocking)


def _read_internet(address: bytes) -> tuple[str, int]:
    """Return host and port of a struct sockaddr_in or sockaddr_in6; an IPv4 address in IPv6 clothes as what it is."""
    (family,) = struct.unpack_from("=H", address)
    if len(address) < (16 if family == socket.AF_INET else 24):
        raise Refused(errno.EINVAL)
    (port,) = struct.unpack_from("!H", address, 2)
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, address[4:8]), port
    raw = address[8:24]
    if raw.startswith(bytes(10) + b"\xff\xff"):
        return socket.inet_ntop(socket.AF_INET, raw[12:]), port
    return socket.inet_ntop(socket.AF_INET6, raw), port


def _int(word: int) -> int:
    """Return an argument as the C int it is."""
    return ctypes.c_int(word & 0xFFFFFFFF).value
