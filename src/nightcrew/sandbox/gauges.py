"""How much memory and disk a process tree uses, measured from outside."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from nightcrew.model.units import format_size

_ALWAYS_COUNTED: Final = re.compile(rb"^(?:RssAnon|VmSwap|VmPTE):\s+(\d+) kB", re.MULTILINE)
_SHARED: Final = re.compile(rb"^RssShmem:\s+(\d+) kB", re.MULTILINE)
_PROPORTIONAL: Final = re.compile(rb"^Pss_(?:Anon|Shmem):\s+(\d+) kB", re.MULTILINE)
_THREADS: Final = re.compile(rb"^Threads:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Usage:
    """One reading: private memory and shared memory (counted once per process) in bytes, threads."""

    private_bytes: int = 0
    shared_bytes: int = 0
    threads: int = 0


class MemoryGauge:
    """Reads the memory of a tree.

    Args:
        pids: gives the tree's processes now.
        proc: descriptor of the /proc in which those pids are names.
    """

    def __init__(self, pids: Callable[[], list[int]], proc: int) -> None:
        self._pids = pids
        self._proc = proc

    def read(self) -> Usage:
        """Add up private, swapped, page-table and shared memory. About 30 microseconds per process."""
        private = shared = threads = 0
        for pid in self._pids():
            status = self._file(pid, "status")
            private += _sum_kib(_ALWAYS_COUNTED, status)
            shared += _sum_kib(_SHARED, status)
            threads += sum(int(n) for n in _THREADS.findall(status))
        return Usage(private << 10, shared << 10, threads)

    def exceeds(self, usage: Usage, limit_bytes: int) -> bool:
        """Tell whether the tree is over its limit; shared pages are shared out exactly only when that decides."""
        if usage.private_bytes > limit_bytes:
            return True
        if usage.private_bytes + usage.shared_bytes <= limit_bytes:
            return False
        return self._proportional_bytes() > limit_bytes

    def _proportional_bytes(self) -> int:
        return sum(_sum_kib(_PROPORTIONAL, self._file(pid, "smaps_rollup")) for pid in self._pids()) << 10

    def _file(self, pid: int, name: str) -> bytes:
        try:
            fd = os.open(f"{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError:
            return b""  # ended meanwhile
        try:
            return os.read(fd, 8192)
        except OSError:
            return b""  # ended meanwhile
        finally:
            os.close(fd)


def _sum_kib(pattern: re.Pattern[bytes], text: bytes) -> int:
    return sum(int(number) for number in pattern.findall(text))


def listed_in(proc: int) -> list[int]:
    """Return the pids in a /proc of a pid namespace, without its init."""
    try:
        return [int(name) for name in os.listdir(proc) if name.isdigit() and name != "1"]
    except OSError:
        return []  # the namespace is gone


def unlinked_bytes(pids: list[int], proc: int) -> int:
    """Return the space taken by files that these processes have open and that have no name any more."""
    sizes: dict[tuple[int, int], int] = {}
    for pid in pids:
        try:
            folder = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        except OSError:
            continue  # ended meanwhile
        try:
            for name in os.listdir(folder):
                found = _stat_unlinked(folder, name)
                if found is not None:
                    sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
        finally:
            os.close(folder)
    return sum(sizes.values())


def _stat_unlinked(folder: int, name: str) -> os.stat_result | None:
    try:
        found = os.stat(name, dir_fd=folder)
    except OSError:
        return None  # closed meanwhile
    return found if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 else None


class DiskGauge:
    """Measures what lies in writable layers: asks the file system often, walks when space really went.

    And walks from time to time in any case: what one task takes cannot be seen in what is free while another one, or
    anybody else on the machine, gives back.

    Args:
        layers: directories that are added up.
        limit_bytes, limit_inodes: 0 for no limit.
        copies: directories of which only counts what was changed from now on: the rest was there before.
    """

    _SHARE: Final = 8  # of what is left to the limit, the part that may go unseen between two walks
    _STRIDE: Final = 512  # directory entries per step of a walk, a few milliseconds
    _AGAIN_S: Final = 1.0  # between two walks, at least
    _COST: Final = 20  # walking for its own sake may take a twentieth of the time

    def __init__(
        self, layers: tuple[str, ...], limit_bytes: int, limit_inodes: int, copies: tuple[str, ...] = ()
    ) -> None:
        since_ns = _kernel_now_ns() if copies else 0
        self._since_ns = {**dict.fromkeys(copies, since_ns), **dict.fromkeys(layers, 0)}
        self._layers = tuple(self._since_ns) if limit_bytes or limit_inodes else ()
        self._limit_bytes = limit_bytes
        self._limit_inodes = limit_inodes
        self._used_bytes = 0
        self._used_inodes = 0
        self._seen = self._now = self._free()
        self._most_free = self._now[0]
        self._walk: Iterator[None] | None = None
        self._walked_s = 0.0
        self._due = time.monotonic() + self._AGAIN_S
        self.grows = False

    def step(self) -> str:
        """Look, and walk on a little; returns what is exceeded in words, or the empty string."""
        if not self._layers:
            return ""
        before, self._now = self._now, self._free()
        self.grows = before[0] - self._now[0] > self._limit_bytes // 100 or self._walk is not None
        # What is given back by others must not hide what is taken after that.
        self._seen = max(self._seen[0], self._now[0]), max(self._seen[1], self._now[1])
        self._most_free = max(self._most_free, self._now[0] + self._used_bytes)
        began = time.monotonic()
        if self._walk is None and (self._something_went() or began >= self._due):
            self._seen = self._now
            self._walk, self._walked_s = self._measure(), 0.0
        if self._walk is not None:
            done = next(self._walk, "done") == "done"
            self._walked_s += time.monotonic() - began
            if done:
                self._walk = None
                self._due = time.monotonic() + max(self._AGAIN_S, self._walked_s * self._COST)
        return self._excess()

    @property
    def unexplained_bytes(self) -> int:
        """Space that has gone since there was most, and was found by no walk; 0 when bytes have no limit."""
        return max(0, self._most_free - self._now[0] - self._used_bytes) if self._limit_bytes else 0

    def _free(self) -> tuple[int, int]:
        """Free bytes and inodes of the file systems the layers lie on."""
        space = {os.stat(path).st_dev: os.statvfs(path) for path in self._layers}
        return sum(s.f_bfree * s.f_frsize for s in space.values()), sum(s.f_ffree for s in space.values())

    def _something_went(self) -> bool:
        gone_bytes, gone_inodes = self._seen[0] - self._now[0], self._seen[1] - self._now[1]
        step_bytes = max(0, self._limit_bytes - self._used_bytes) // self._SHARE
        step_inodes = max(0, self._limit_inodes - self._used_inodes) // self._SHARE
        too_many_bytes = self._limit_bytes > 0 and gone_bytes > step_bytes
        return too_many_bytes or (self._limit_inodes > 0 and gone_inodes > step_inodes)

    def _measure(self) -> Iterator[None]:
        used = inodes = 0
        for layer in self._layers:
            for size in _walk_sizes(layer, self._since_ns[layer]):
                used += size
                inodes += 1
                if inodes % self._STRIDE == 0:
                    self._used_bytes = max(self._used_bytes, used)
                    self._used_inodes = max(self._used_inodes, inodes)
                    yield
        self._used_bytes, self._used_inodes = used, inodes

    def _excess(self) -> str:
        if self._limit_bytes and self._used_bytes > self._limit_bytes:
            return f"more than {format_size(self._limit_bytes)} written (limits.disk)"
        if self._limit_inodes and self._used_inodes > self._limit_inodes:
            return f"more than {self._limit_inodes} files and directories written (limits.inodes)"
        return ""


def _kernel_now_ns() -> int:
    """Return the time of change that a file gets now: the clock that files are stamped with, not a finer one."""
    fd = os.memfd_create("nightcrew-now", os.MFD_CLOEXEC)
    try:
        return os.fstat(fd).st_ctime_ns
    finally:
        os.close(fd)


def _walk_sizes(top: str, since_ns: int) -> Iterator[int]:
    """Yield the allocated size of everything below ``top`` that was changed since; what vanishes meanwhile is not counted."""
    todo = [top]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    found = _stat_entry(entry, todo)
                    if found is not None and found.st_ctime_ns >= since_ns:
                        yield found.st_blocks * 512
        except OSError:
            continue  # removed meanwhile, or made unreadable by its owner inside


def _stat_entry(entry: os.DirEntry[str], todo: list[str]) -> os.stat_result | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None  # removed meanwhile
    if stat.S_ISDIR(found.st_mode):
        todo.append(entry.path)
    return found
