"""Renames that decide, paths that stay inside, a flush of many files: renameat2(2), openat2(2), syncfs(2).

A plain rename replaces whatever is at the target; these either exchange two names or refuse to replace, in one step
that no other program can come between. ``openat2`` resolves a path without ever following a link or leaving its
starting directory, however the tree is changed meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

from nightcrew.host import kernel
from nightcrew.model.errors import NightcrewError

_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
_RENAMEAT2: Final = {"x86_64": 316, "aarch64": 276, "riscv64": 276}
"""System call numbers (include/uapi/asm/unistd of each machine); a C library without the wrapper still gets there."""

_BENEATH: Final = kernel.RESOLVE_BENEATH | kernel.RESOLVE_NO_SYMLINKS | kernel.RESOLVE_NO_MAGICLINKS
_TRIES: Final = 128
"""The kernel answers EAGAIN when a directory was renamed during the look-up; each try takes microseconds."""

_libc = ctypes.CDLL(None, use_errno=True)


class HostLacks(NightcrewError):
    """The kernel or the file system cannot do what an all-or-nothing change needs; nothing was changed."""

    default_code = "host.lacks"


def exchange(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Let two existing names change places, in one step. Directories are given as descriptors.

    Raises:
        HostLacks: the kernel (before 3.15) or the file system has no such rename.
        OSError: ENOENT (one is missing), EXDEV (two file systems), EACCES, EROFS, EBUSY ...
    """
    _rename(old_directory, old, new_directory, new, _RENAME_EXCHANGE)


def move_unless_taken(old_directory: int, old: str, new_directory: int, new: str) -> None:
    """Rename, but never over something that exists.

    Raises:
        FileExistsError: the new name is taken; nothing happened.
        HostLacks: the kernel or the file system has no such rename.
        OSError: as in ``exchange``.
    """
    _rename(old_directory, old, new_directory, new, _RENAME_NOREPLACE)


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open an existing path below ``directory`` without following any symbolic link, the last part included.

    Args:
        directory: descriptor of the starting directory.
        path: relative; ``.`` for the directory itself.
        flags: of ``open(2)``; the descriptor is never inherited.

    Raises:
        HostLacks: the kernel has no openat2 (before 5.6), or a seccomp filter hides it.
        OSError: ELOOP for a link on the way, EXDEV for a way out, ENOENT, ENOTDIR, ...
    """
    for _ in range(_TRIES):
        try:
            return kernel.open_beneath(directory, path, flags, _BENEATH)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                raise HostLacks(
                    "this kernel has no openat2(2): a path cannot be opened without the danger of leaving the tree",
                    hint="Linux 5.6 or newer is needed; inside a container its seccomp profile must allow openat2",
                ) from error
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, "the directories on this path are being renamed all the time", path)


def sync_file_system(directory: int) -> None:
    """Make everything written to the file system that holds ``directory`` survive a power loss.

    One call instead of one per file: 0.04-0.1 s where 1000 calls of fsync took 2.7 s (ext4). It also waits for what
    other programs have written there, so for a few files fsync is the better one.

    Raises:
        OSError: EIO, ENOSPC, EDQUOT.
    """
    if _libc.syncfs(ctypes.c_int(directory)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _rename(old_directory: int, old: str, new_directory: int, new: str, flags: int) -> None:
    number = _RENAMEAT2.get(kernel.MACHINE)
    if number is None:
        raise HostLacks(f"renameat2(2) has no known number on {kernel.MACHINE}")
    failed = _libc.syscall(
        ctypes.c_long(number),
        ctypes.c_int(old_directory),
        os.fsencode(old),
        ctypes.c_int(new_directory),
        os.fsencode(new),
        ctypes.c_uint(flags),
    )
    if failed == 0:
        return
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        # EINVAL is how a file system says that it does not know the flag; our names never are each other's parents.
        raise HostLacks(
            "the kernel or this file system cannot exchange two files in one step (renameat2)",
            where=[f"{old} and {new}: {os.strerror(code)}"],
            hint="the repository must lie on a local file system such as ext4, xfs, btrfs or tmpfs",
        )
    raise OSError(code, os.strerror(code), old, None, new)
