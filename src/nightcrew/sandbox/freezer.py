"""Holding a whole process tree still for a moment, and letting it go on as if nothing had been.

Where we may make a control group below our own (as root, or where one was delegated to us), a tree that is to be held
is put into one first: the kernel's freezer then stops all of it at once, and nobody inside can tell. That is done only
for trees that will be held (an agent, not an acceptance command): each move into a group waits for the kernel for
milliseconds. Elsewhere every process gets a stop signal, again and again until a look at the whole tree finds nothing
that runs: 5-20 ms for thirty busy processes. What was stopped already stays stopped afterwards.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from nightcrew.host import tokens
from nightcrew.sandbox import cgroups, tree

#: Longest that we wait for a tree to stand still; a process may sit in a system call that does not end.
SETTLE_S: Final = 0.04
_LOOK_S: Final = 0.0003
#: States of a process that does nothing any more: stopped, traced, zombie, dead.
_STILL: Final = frozenset("TtZXx")
#: Ended, or being ended.
_OVER: Final = frozenset("ZXx")


class Freezer:
    """Freezes and thaws the tree below one process; called by one thread at a time.

    Args:
        pid, pidfd: its first process, as this machine numbers it. It is ours and does nothing but reap.
        groups: makes control groups, where that is possible.
        folder: of the control group that it is in already, if that can be frozen.
    """

    def __init__(self, pid: int, pidfd: int, groups: Groups | None, folder: str = "") -> None:
        self._pid = pid
        self._first = select.poll()
        self._first.register(pidfd, select.POLLIN)
        self._groups = groups
        self._group = Group(Path(folder)) if folder else None
        self._lent = bool(folder)
        self._stopped: dict[int, int] = {}

    def prepare(self) -> None:
        """Put the tree into a control group of its own, if there is one to be had."""
        if self._group is None and self._groups is not None:
            self._group = self._groups.make()
            if self._group is not None:
                self._group.adopt(self._pid)

    def freeze(self) -> bool:
        """Stop everything; returns whether all of it stood still within SETTLE_S."""
        if self._group is not None and self._group.usable:
            return self._group.freeze()
        return self._stop_all()

    def thaw(self) -> None:
        """Let everything go on that ``freeze`` has stopped."""
        if self._group is not None and self._group.usable:
            self._group.thaw()
        for pidfd in self._stopped.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGCONT)
            os.close(pidfd)
        self._stopped.clear()

    def close(self) -> None:
        """Give back what it holds; the tree is dead."""
        for pidfd in self._stopped.values():
            os.close(pidfd)
        self._stopped.clear()
        if self._group is not None and not self._lent:
            self._group.remove()

    def _stop_all(self) -> bool:
        end = time.monotonic() + SETTLE_S
        while True:
            below = tree.descendants_of(self._pid)
            family = {self._pid, *below}
            moving = [pid for pid in below if not self._is_still(pid, family)]
            if not moving:
                return True
            if time.monotonic() > end:
                return False
            if all(pid in self._stopped for pid in moving):
                time.sleep(_LOOK_S)

    def _is_still(self, pid: int, family: set[int]) -> bool:
        """Look at one process; one that still moves is told to stop, once."""
        state, parent = _read_state(pid)
        if state in _STILL:
            return True
        if pid in self._stopped or parent not in family:
            return not state
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        # Numbers are given out again: it is ours only if it has its parent among us, and the first of us still lives.
        if _read_state(pid)[1] not in family or self._first.poll(0):
            os.close(pidfd)
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGSTOP)
        self._stopped[pid] = pidfd
        return False


def _read_state(pid: int) -> tuple[str, int]:
    """Return state letter and parent of a process; empty and 0 when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    try:
        fields = os.read(fd, 4096).rpartition(b") ")[2].split(b" ", 2)
    except ProcessLookupError:
        return "", 0
    finally:
        os.close(fd)
    return fields[0].decode(), int(fields[1])


class Group:
    """A control group (version 2) of our own for one tree; it limits nothing, it only freezes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.usable = True

    def adopt(self, pid: int) -> None:
        """Take in a process with all that it has started; what it starts later is born here."""
        try:
            with contextlib.suppress(ProcessLookupError):
                self._put(pid)
            # Each one once: what has ended and was not reaped is a descendant still, and never a member.
            tried: set[int] = set()
            while outside := set(tree.descendants_of(pid)) - self._members() - tried:
                tried |= outside
                for each in outside:
                    with contextlib.suppress(ProcessLookupError):
                        self._put(each)
        except OSError:
            # Not ours to fill after all (a delegation that ends above us): signals do the same.
            self.usable = False

    def freeze(self) -> bool:
        """Freeze what is in it; returns whether all of it stood still within SETTLE_S."""
        events = os.open(self._path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _write(self._path / "cgroup.freeze", "1")
            return _wait_frozen(events)
        finally:
            os.close(events)

    def thaw(self) -> None:
        """Let it go on."""
        _write(self._path / "cgroup.freeze", "0")

    def remove(self) -> None:
        """Remove it, once the last of its processes has been reaped; what cannot be is left for ``sweep_groups``."""
        end = time.monotonic() + 0.5
        while True:
            try:
                self._path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > end:
                    return
                time.sleep(0.002)
            else:
                return

    def _members(self) -> set[int]:
        return {int(line) for line in (self._path / "cgroup.procs").read_text("ascii").split()}

    def _put(self, pid: int) -> None:
        _write(self._path / "cgroup.procs", str(pid))


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)


def _wait_frozen(events: int) -> bool:
    """Wait until the kernel says that every process of the group is frozen."""
    poller = select.poll()
    poller.register(events, select.POLLPRI)
    end = time.monotonic() + SETTLE_S
    while b"frozen 1" not in os.pread(events, 4096, 0):
        left = end - time.monotonic()
        if left <= 0:
            return False
        poller.poll(left * 1000)
    return True


class Groups:
    """Makes groups below our own one, as long as that works here."""

    def __init__(self) -> None:
        self._home = find_own_group()
        self._lock = threading.Lock()
        self.homes = cgroups.find_homes()
        self.prefix = f"{cgroups.PREFIX}{os.getpid()}-{tokens.nonce()}"
        self._retired: deque[cgroups.Group] = deque()
        cgroups.sweep(self.homes)
        if self._home is not None:
            sweep_groups(self._home)

    def retire(self, group: cgroups.Group) -> None:
        """Have a group removed whose tree is dead, at a moment when nobody waits: that takes up to a millisecond."""
        self._retired.append(group)

    def remove_retired(self) -> None:
        """Remove what was retired; one whose first process has not gone yet waits for the next time, or for ``close``."""
        for _ in range(len(self._retired)):
            try:
                group = self._retired.popleft()
            except IndexError:
                return  # another thread was quicker
            if not group.remove():
                self._retired.append(group)

    def close(self) -> None:
        """Remove every group of ours; all trees are dead."""
        cgroups.remove_all(self.homes, self.prefix)

    def make(self) -> Group | None:
        """Return a new group, None where we may not have one."""
        with self._lock:
            if self._home is None:
                return None
            path = self._home / f"nightcrew-{os.getpid()}-{tokens.nonce()}"
            try:
                path.mkdir()
                if (path / "cgroup.freeze").exists():
                    return Group(path)
                path.rmdir()
            except OSError:
                # Not delegated to us: the normal case of an ordinary user.
                pass
            self._home = None
            return None


def find_own_group() -> Path | None:
    """Return the directory of this process's group in the version 2 hierarchy, None when there is none."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
        lines = Path("/proc/self/cgroup").read_bytes().splitlines()
    except OSError:
        return None
    points = [line.split(b" ")[4] for line in mounts if b" - cgroup2 " in line]
    paths = [line[3:] for line in lines if line.startswith(b"0::/")]
    if not points or not paths:
        return None
    place = Path(os.fsdecode(points[0])) / os.fsdecode(paths[0].lstrip(b"/"))
    return place if place.is_dir() else None


def sweep_groups(home: Path) -> None:
    """Remove the empty groups that a killed nightcrew has left; one with processes in it does not let itself be.

    One that is empty may also be about to be filled, by a nightcrew that lives.
    """
    for left in home.glob("nightcrew-*"):
        owner = left.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                left.rmdir()
