"""Linux system calls the standard library has no name for: mounts, namespaces, capabilities, seccomp.

Only the standard library is imported, because the sandbox's zygote loads this file with ``-I -S``. Numbers come
from the kernel's own headers (include/uapi, stable ABI). Every function raises OSError with the path it was
working on.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Iterable
from typing import Any, Final

MACHINE: Final = os.uname().machine

# Calls whose number differs between the two machines we know; everything from 424 on is the same everywhere.
_NUMBERS: Final = {
    "x86_64": {"clone": 56, "pivot_root": 155, "capset": 126, "seccomp": 317},
    "aarch64": {"clone": 220, "pivot_root": 41, "capset": 91, "seccomp": 277},
}
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 436, 437, 442

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_ALL: Final = 0x7E020000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

ATTR_RDONLY: Final = 1
ATTR_NOSUID: Final = 2
ATTR_NODEV: Final = 4
ATTR_NOEXEC: Final = 8

AT_FDCWD: Final = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_FD = 0x04
_MOVE_TO_FD = 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6

RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECUREBITS, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 28, 36, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECUREBITS = 0xEF  # NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, not KEEP_CAPS, each locked
_CAPABILITY_VERSION_3 = 0x20080522
_CLOSE_RANGE_CLOEXEC = 4
_LAST_FD = 0xFFFFFFFF
_AF_INET, _DATAGRAMS = 2, 0x80002  # SOCK_DGRAM | SOCK_CLOEXEC
_SIOCSIFFLAGS = 0x8914
_LOOPBACK_UP = struct.pack("16sH22x", b"lo", 0x41)  # struct ifreq: IFF_UP | IFF_RUNNING
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_NEW_LISTENER = 8
_SECCOMP_WAIT_KILLABLE = 32

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Called forty times before a sandbox is ready: with its types known, at a third of the price.
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
_libc.signal.restype = ctypes.c_void_p
_libc.socket.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
_libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p)
# The same function without releasing the interpreter lock: between fork and its aftermath no Python may run.
_raw = ctypes.PyDLL(None, use_errno=True)
_raw.syscall.restype = ctypes.c_long
_raw.syscall.argtypes = (ctypes.c_long,) * 6
# Looked up here: in a child each look-up would be done anew, in memory that has to be copied for it.
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent


def _prototype(*types: type[ctypes._SimpleCData[Any]]) -> Any:
    """Return ``syscall`` for calls with arguments of these types: at half the price of one that finds out each time."""
    function = _libc["syscall"]
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, *types)
    return function


_int, _uint, _text, _size = ctypes.c_int, ctypes.c_uint, ctypes.c_char_p, ctypes.c_size_t
_open_tree = _prototype(_int, _text, _uint)
_move_mount = _prototype(_int, _text, _int, _text, _uint)
_fsopen = _prototype(_text, _uint)
_fsconfig = _prototype(_int, _uint, _text, _text, _int)
_fsmount = _prototype(_int, _uint, _uint)
_mount_setattr = _prototype(_int, _text, _uint, _text, _size)
_close_range = _prototype(_uint, _uint, _int)
_openat2 = _prototype(_int, _text, _text, _size)


def knows_this_machine() -> bool:
    """Tell whether the tables here cover the processor architecture."""
    return MACHINE in _NUMBERS


@functools.cache
def version() -> tuple[int, int]:
    """Return the running kernel's major and minor version; ``(0, 0)`` when it cannot be read."""
    parts = os.uname().release.split(".")
    digits = ["".join(c for c in part if c.isdigit()) for part in parts[:2]]
    return (int(digits[0]), int(digits[1])) if len(digits) == 2 and all(digits) else (0, 0)


def _fail(path: str | bytes | None = None) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), path)


def _call(number: int, *args: object, path: str | bytes | None = None) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        raise _fail(path)
    return result


def _check(result: int, path: str | bytes | None) -> int:
    if result < 0:
        raise _fail(path)
    return result


def _encode(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else os.fsencode(path)


def _number(name: str) -> int:
    return _NUMBERS[MACHINE][name]


def clone(flags: int) -> int:
    """Fork this process into new namespaces; returns 0 in the child, its pid in the parent.

    One call instead of fork + unshare + fork. The caller must have a single thread.
    """
    number = _number("clone")
    _before_fork()
    pid: int = _raw.syscall(number, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        _after_fork_in_child()
        return 0
    failure = _fail() if pid < 0 else None
    _after_fork_in_parent()
    if failure is not None:
        raise failure
    return pid


def unshare(flags: int) -> None:
    """Move this process into new namespaces."""
    if _libc.unshare(flags) != 0:
        raise _fail("unshare")


# -- mounts


def mount(source: str | bytes, target: str | bytes, kind: str, flags: int, data: bytes = b"") -> None:
    """mount(2), the classic call."""
    if _libc.mount(_encode(source), _encode(target), kind.encode(), flags, data or None) != 0:
        raise _fail(target)


def bind(source: str | bytes, target: str | bytes, *, recursive: bool = True) -> None:
    """Show ``source`` and all mounts below it at ``target``: one call, where open_tree and what follows are four."""
    if _libc.mount(_encode(source), _encode(target), b"", MS_BIND | MS_REC if recursive else MS_BIND, None):
        raise _fail(target)


def unmount_lazily(target: str) -> None:
    """Detach a mount now; it goes away when its last user does."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH) != 0:
        raise _fail(target)


def open_tree(path: str) -> int:
    """Return a descriptor of a detached copy of the mount at ``path`` and all below it."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return _check(_open_tree(_OPEN_TREE, AT_FDCWD, os.fsencode(path), flags), path)


def open_tree_of(place: int) -> int:
    """Return a descriptor of a detached copy of the mount at the directory ``place``, without what is below it."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH
    return _check(_open_tree(_OPEN_TREE, place, b"", flags), None)


def set_mount_flags(fd: int, flags: int, *, recursive: bool = True, path: str = "") -> None:
    """Add ``ATTR_*`` flags to a mount given by a descriptor of its root. Linux 5.12."""
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)  # struct mount_attr: set, clear, propagation, userns
    how = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _check(_mount_setattr(_MOUNT_SETATTR, fd, b"", how, attributes, len(attributes)), path)


def change_mount(target: str | bytes, *, add: int, clear: int = 0, recursive: bool = False) -> None:
    """Add and clear ``ATTR_*`` flags of the mount at the path ``target``. Linux 5.12."""
    attributes = struct.pack("=QQQQ", add, clear, 0, 0)  # struct mount_attr, see above
    how = _AT_RECURSIVE if recursive else 0
    size = len(attributes)
    _check(_mount_setattr(_MOUNT_SETATTR, AT_FDCWD, _encode(target), how, attributes, size), target)


def attach(fd: int, target: int, *, path: str = "") -> None:
    """Attach the detached mount ``fd`` on the directory or file that the descriptor ``target`` names."""
    _check(_move_mount(_MOVE_MOUNT, fd, b"", target, b"", _MOVE_FROM_FD | _MOVE_TO_FD), path)


def pivot_root_here() -> None:
    """Make the current directory the root; the old root lies on top of it and must be detached next."""
    _call(_number("pivot_root"), b".", b".", path=".")


class FilesystemContext:
    """A file system being configured (fsopen, fsconfig, fsmount). Linux 5.2."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._fd = _check(_fsopen(_FSOPEN, kind.encode(), 1), kind)

    def set_string(self, key: str, value: str) -> None:
        """Set ``key=value``."""
        self._configure(_FSCONFIG_SET_STRING, key.encode(), os.fsencode(value))

    def set_flag(self, key: str) -> None:
        """Set an option without a value."""
        self._configure(_FSCONFIG_SET_FLAG, key.encode(), None)

    def mount(self, flags: int) -> int:
        """Create the file system and return a descriptor of a detached mount of it."""
        self._configure(_FSCONFIG_CMD_CREATE, None, None)
        return _check(_fsmount(_FSMOUNT, self._fd, 1, flags), self._kind)

    def close(self) -> None:
        """Let go of the context."""
        os.close(self._fd)

    def _configure(self, command: int, key: bytes | None, value: bytes | None) -> None:
        if _fsconfig(_FSCONFIG, self._fd, command, key, value, 0) < 0:
            raise _fail(f"{self._kind} {(key or b'create').decode()}")


def open_beneath(directory: int, path: str, flags: int, resolve: int) -> int:
    """openat2(2): open ``path`` below ``directory`` under ``RESOLVE_*`` rules. Linux 5.6."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)  # struct open_how: flags, mode, resolve
    return _check(_openat2(_OPENAT2, directory, os.fsencode(path), how, len(how)), path)


# -- privileges


def _prctl(option: int, *args: int) -> None:
    if _libc.prctl(option, *(*args, 0, 0, 0, 0)[:4]) != 0:
        raise _fail(f"prctl {option}")


def die_with_parent(signal_number: int) -> None:
    """Ask for ``signal_number`` when the parent *thread* ends; the caller checks that it has not ended before."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def reset_signal(number: int) -> None:
    """Give a signal its default action; unlike ``signal.signal`` without a word to the interpreter, at a tenth of the price."""
    _libc.signal(number, None)


def raise_loopback() -> None:
    """Bring up ``lo``, in a new network namespace the only interface."""
    any_socket = _libc.socket(_AF_INET, _DATAGRAMS, 0)
    if any_socket < 0:
        raise _fail("lo")
    try:
        if _libc.ioctl(any_socket, _SIOCSIFFLAGS, _LOOPBACK_UP) < 0:
            raise _fail("lo")
    finally:
        os.close(any_socket)


def adopt_orphans() -> None:
    """Become the parent of every orphan below this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def hide_from_tracers() -> None:
    """Close /proc/self/{mem,fd,environ,...} to processes of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def give_up_future_privileges() -> None:
    """Make sure no program started from here on gets a capability, whoever it belongs to, uid 0 included.

    What this process holds itself it keeps until ``drop_capabilities``.
    """
    for number in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) != 0:
            break  # EINVAL: the first number this kernel does not know
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _prctl(_PR_SET_SECUREBITS, _SECUREBITS)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def allow_no_new_privileges() -> None:
    """Make sure that no program started from here on gains anything by being set-uid, or by belonging to root."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Empty the inheritable, permitted and effective sets."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _call(_number("capset"), header, bytes(24), path="capset")  # two times effective, permitted, inheritable


def install_filter(program: bytes) -> None:
    """Install a seccomp filter, 8 bytes per instruction; needs no_new_privs. It holds for all descendants."""
    _install(program, 0)


def listen_to_filter(program: bytes) -> int:
    """As ``install_filter``; returns the descriptor at which calls that the filter hands on are answered. Linux 5.19.

    Once a call is looked at, only a deadly signal interrupts it: what was done already would be asked for a second time.
    """
    return _install(program, _SECCOMP_NEW_LISTENER | _SECCOMP_WAIT_KILLABLE)


def _install(program: bytes, flags: int) -> int:
    return _call(_number("seccomp"), _SECCOMP_SET_MODE_FILTER, flags, point_to(program), path="seccomp")


@functools.cache
def point_to(program: bytes) -> bytes:
    """Return a struct sock_fprog; may be made long before the filter is installed."""
    # Where the bytes lie: the kernel only reads them, and a ctypes array would be a type of its own for each length.
    # They stay there: as a key of this function's cache they are never let go.
    instructions = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value
    return struct.pack("@HP", len(program) // 8, instructions)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from ``first`` on close-on-exec. Linux 5.11."""
    _check(_close_range(_CLOSE_RANGE, first, _LAST_FD, _CLOSE_RANGE_CLOEXEC), "fds")


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor from 3 on that is not ``kept``."""
    first = 3
    for fd in sorted(set(kept)):
        if fd > first:
            _check(_close_range(_CLOSE_RANGE, first, fd - 1, 0), "fds")
        first = max(first, fd + 1)
    _check(_close_range(_CLOSE_RANGE, first, _LAST_FD, 0), "fds")
