"""Control groups: the kernel itself bounds memory, processes and processor time of a tree.

Every sandbox gets a group of its own in each hierarchy in which this user may make one; where there is none, the
watchdog looks from outside instead. Version 2 is used where the controllers are already handed down to children of
our own group or of its parent (a session below systemd's user manager, a container with a group of its own);
version 1 where we may write in it (root). Nothing is remounted, and no process but our own trees is ever moved.

The zygote loads this file, so only the standard library is imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

MEMORY, PROCESSES, CPUS = "memory", "pids", "cpu"
_LIMITING: Final = (MEMORY, PROCESSES, CPUS)
PREFIX: Final = "nightcrew-"
_COUNTERS: Final = {1: "memory.oom_control", 2: "memory.events"}
_WATCHED: Final = "watched (looked at every 20 to 100 ms, so it can be passed for that long)"
_EACH: Final = "exact (kernel: 64 MiB for each of /tmp, /var/tmp, /dev/shm and home); how many files lie there is not bounded"
_SCRATCH: Final = {
    "bwrap": "exact (kernel: /tmp, /var/tmp, /dev/shm and home have a part each); how many files lie there is not bounded",
    "landlock": "watched (home and temporary files lie on the disk, and count as disk)",
    "podman": _EACH,
    "docker": _EACH,
    "none": "not kept: nothing is of its own",
}
"""Who keeps the temporary places, where it is not our own launcher."""
_PERIOD_US: Final = 100_000
_LEAST_QUOTA_US: Final = 1000  # what the kernel takes at least
_COUNTER_BYTES: Final = 4096
_PATIENCE_S: Final = 1.0
_LOOK_S: Final = 0.005


class Home(NamedTuple):
    """A folder in which groups may be made, and the version of its hierarchy."""

    path: str
    version: int


Homes = Mapping[str, Home]


class Mount(NamedTuple):
    """One hierarchy as it is mounted: folder, version, controllers, and the group we are in, from its root."""

    path: str
    version: int
    controllers: tuple[str, ...]
    own: str


def find_homes(mounts: Iterable[Mount] | None = None) -> dict[str, Home]:
    """Return where groups can be made: by what they do. Tried by making one, not believed."""
    homes: dict[str, Home] = {}
    for mount in read_mounts() if mounts is None else mounts:
        found = _find_in_v2(mount) if mount.version == 2 else _find_in_v1(mount)
        for what, home in found.items():
            homes.setdefault(what, home)
    return homes


def _find_in_v1(mount: Mount) -> dict[str, Home]:
    wanted = [name for name in _LIMITING if name in mount.controllers]
    folder = mount.path + mount.own.rstrip("/")
    if not wanted or not _can_make(folder):
        return {}
    return {name: Home(folder, 1) for name in wanted}


def _find_in_v2(mount: Mount) -> dict[str, Home]:
    """Only a group that hands controllers down is of use: our own (the machine's root), or the one ours is in."""
    own = mount.path + mount.own.rstrip("/")
    for folder in (own, os.path.dirname(own)) if mount.own.strip("/") else (own,):
        handed_down = _read(f"{folder}/cgroup.subtree_control").split()
        wanted = [name for name in _LIMITING if name in handed_down]
        if wanted and _can_make(folder):
            return {name: Home(folder, 2) for name in wanted}
    return {}


def _can_make(folder: str) -> bool:
    """Tell whether a group can be made there and a process be moved into it from where we are."""
    probe = f"{folder}/{PREFIX}{os.getpid()}-probe-{os.urandom(6).hex()}"
    if not os.access(f"{folder}/cgroup.procs", os.W_OK):
        return False
    try:
        os.mkdir(probe)
    except OSError:
        return False  # read-only (a container), or another user's
    with contextlib.suppress(OSError):
        os.rmdir(probe)
    return True


class Group:
    """The control group of one tree: the same name in every hierarchy that is of use.

    Args:
        homes: see find_homes.
        name: begins with PREFIX and the number of the process that is told how the tree ends.
    """

    def __init__(self, homes: Homes, name: str) -> None:
        self.name = name
        self._folders = {what: f"{home.path}/{name}" for what, home in homes.items()}
        self._versions = {what: home.version for what, home in homes.items()}

    @property
    def folders(self) -> list[str]:
        """Its folders, each once: without one for the processor alone (version 1), which is made when that is limited."""
        wanted = [f for what, f in self._folders.items() if what != CPUS or self._versions[what] == 2]
        return list(dict.fromkeys(wanted))

    def make(self) -> None:
        """Make it. Raises OSError."""
        for folder in self.folders:
            os.mkdir(folder)

    def open_doors(self) -> list[int]:
        """Return descriptors: whoever writes ``0`` to each of them is in it, and so is what it starts later.

        They are for the first process of a tree itself: moving takes the kernel up to 20 ms, and nobody waits for it.
        Raises OSError.
        """
        opened: list[int] = []
        try:
            opened.extend(
                os.open(f"{folder}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders
            )
        except OSError:
            for fd in opened:
                os.close(fd)
            raise
        return opened

    def limit(self, pid: int, *, memory_bytes: int, processes: int, cpus: float) -> tuple[str, ...]:
        """Set limits (0 for none) and return which of them the kernel now keeps."""
        wishes = {MEMORY: memory_bytes, PROCESSES: processes + 1 if processes else 0, CPUS: cpus}
        return tuple(what for what, value in wishes.items() if value and self._set(what, value, pid))

    def _set(self, what: str, value: float, pid: int) -> bool:
        if what not in self._folders:
            return False
        folder, version = self._folders[what], self._versions[what]
        try:
            if folder not in self.folders:
                os.mkdir(folder)
            for name, text in _settings(what, value, version):
                _write(f"{folder}/{name}", text)
            if what == CPUS and version == 1:
                _write(f"{folder}/cgroup.procs", str(pid))
        except OSError:
            return False  # less than the tree has already, or a switch this kernel was built without: it is watched
        return True

    def count_memory_kills(self) -> int:
        """Return how many of its processes the kernel has killed for want of memory."""
        folder = self._folders.get(MEMORY, "")
        return read_memory_kills(f"{folder}/{_COUNTERS[self._versions[MEMORY]]}") if folder else 0

    @property
    def freezer(self) -> str:
        """The folder by which it can be held still; empty in version 1."""
        return next((self._folders[what] for what, version in self._versions.items() if version == 2), "")

    def end(self) -> None:
        """Kill what is in it, until there is nothing; gives up after a second."""
        end = time.monotonic() + _PATIENCE_S
        while (members := self._members()) and time.monotonic() < end:
            for pid in members:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    self._kill(pid)
            time.sleep(_LOOK_S)

    def _kill(self, pid: int) -> None:
        pidfd = os.pidfd_open(pid)
        try:
            if pid in self._members():  # numbers are given out again
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)

    @property
    def _every_folder(self) -> list[str]:
        return list(dict.fromkeys(self._folders.values()))

    def _members(self) -> set[int]:
        return {
            int(line) for folder in self._every_folder for line in _read(f"{folder}/cgroup.procs").split()
        }

    def remove(self) -> bool:
        """Remove it; False as long as a process in it has not been reaped."""
        gone = True
        for folder in self._every_folder:
            try:
                os.rmdir(folder)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def read_memory_kills(counter: str) -> int:
    """Return how many processes of a group the kernel has killed for want of memory, by its file of counts."""
    try:
        fd = os.open(counter, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, _COUNTER_BYTES)  # a dozen short lines; the end of every run waits for them
    except OSError:
        return 0
    finally:
        os.close(fd)
    for line in text.splitlines():
        if line.startswith(b"oom_kill "):
            return int(line.split()[1])
    return 0


def find_memory_counter(pid: int) -> str:
    """Return the file of counts of the group that bounds the memory of any process; empty where none can be seen."""
    own = dict(_groups_of(str(pid)))
    for mount in read_mounts():
        name = MEMORY if mount.version == 1 else ""
        if name in own and (mount.version == 2 or MEMORY in mount.controllers):
            counter = f"{mount.path}{own[name].rstrip('/')}/{_COUNTERS[mount.version]}"
            if os.path.exists(counter):
                return counter
    return ""


def _settings(what: str, value: float, version: int) -> tuple[tuple[str, str], ...]:
    """Return the files to write for one limit, in order."""
    if what == PROCESSES:
        return (("pids.max", str(int(value))),)
    if what == CPUS:
        quota = max(_LEAST_QUOTA_US, int(value * _PERIOD_US))
        if version == 2:
            return (("cpu.max", f"{quota} {_PERIOD_US}"),)
        return (("cpu.cfs_period_us", str(_PERIOD_US)), ("cpu.cfs_quota_us", str(quota)))
    if version == 2:
        return (("memory.max", str(int(value))), ("memory.oom.group", "1"))
    return (("memory.limit_in_bytes", str(int(value))),)


def enter(doors: Iterable[int]) -> bool:
    """Move this process into the group whose doors these are; False when the kernel refuses."""
    entered = False
    for door in doors:
        try:
            os.write(door, b"0")
            entered = True
        except OSError:
            entered = False
            break
        finally:
            os.close(door)
    return entered


def sweep(homes: Homes) -> None:
    """Remove the empty groups that a killed nightcrew has left; one with processes in it does not let itself be."""
    for folder in {home.path for home in homes.values()}:
        for name in _list(folder):
            owner = name.removeprefix(PREFIX).split("-")[0]
            if name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                with contextlib.suppress(OSError):
                    os.rmdir(f"{folder}/{name}")


def remove_all(homes: Homes, prefix: str) -> None:
    """Remove what is empty of the groups whose names begin with ``prefix``."""
    for folder in {home.path for home in homes.values()}:
        for name in _list(folder):
            if name.startswith(prefix):
                with contextlib.suppress(
                    OSError
                ):  # its processes are not reaped yet: swept at the next start
                    os.rmdir(f"{folder}/{name}")


def describe_limits(homes: Homes, backend: str, *, processes_bounded: bool) -> dict[str, str]:
    """Return limit → who keeps it, in words for a person.

    Args:
        homes: see find_homes.
        backend: what builds the sandboxes.
        processes_bounded: the kernel bounds processes also without a group.
    """
    exact = {what: f"exact (kernel, control group version {home.version})" for what, home in homes.items()}
    processes = "exact (kernel, RLIMIT_NPROC)" if processes_bounded else _WATCHED
    return {
        "memory": exact.get(MEMORY, _WATCHED),
        "processes": exact.get(PROCESSES, processes),
        "cpus": exact.get(CPUS, "not kept: no control group may be made here"),
        "open_files": "exact (kernel, per process)",
        "file": "exact (kernel)",
        "scratch": _SCRATCH.get(backend, "exact (kernel: size of /tmp, /dev/shm and home together)"),
        "disk": _WATCHED,
        "inodes": _WATCHED,
        "output": "exact (counted as it is read)",
    }


def read_mounts() -> list[Mount]:
    """Return the hierarchies of this machine, as this process sees them; version 2 last when both are there.

    Where memory and the like still belong to version 1, version 2 has no controllers and is good for freezing only.
    """
    own = dict(_groups_of("self"))
    found = []
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, options = after.split(" ")[0], after.split(" ")[-1].split(",")
        place, root = before.split(" ")[4], before.split(" ")[3]
        if kind == "cgroup2" and "" in own:
            found.append(Mount(place, 2, (), _below(own[""], root)))
        elif kind == "cgroup":
            names = tuple(name for name in options if name in own)
            if names:
                found.append(Mount(place, 1, names, _below(own[names[0]], root)))
    return found


def _groups_of(process: str) -> Iterable[tuple[str, str]]:
    """Yield controller, group for each line of a process's membership; the empty name is version 2."""
    for line in _read(f"/proc/{process}/cgroup").splitlines():
        _number, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path


def _below(path: str, root: str) -> str:
    """Return a group's path as seen below a mount whose root is ``root`` (a container's is not the machine's)."""
    if root != "/" and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path if root == "/" else "/"


def _list(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
