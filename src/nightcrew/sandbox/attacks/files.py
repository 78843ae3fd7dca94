"""Attacks on files: read, write and find what lies outside, by path, link, race, descriptor, device."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from functools import partial
from typing import Final

from nightcrew.sandbox.attacks.trying import (
    Attack,
    Blocked,
    Facts,
    open_and_close,
    reach_first,
    read_some,
    read_status,
)

_UP: Final = "../" * 40
_ROUNDS: Final = 300
_HARMLESS_DEVICES: Final = frozenset({"null", "zero", "full", "random", "urandom", "tty", "ptmx"})


def read_secret(facts: Facts) -> str:
    return f"{len(read_some(facts['secret']))} bytes"


def read_home(facts: Facts) -> str:
    """Of all that lies in it but the interpreter that nightcrew itself shows, if it lies there."""
    seen = []
    for path in facts["in_home"]:
        with contextlib.suppress(OSError):
            open_and_close(path, os.O_RDONLY)
            seen.append(path)
    if not seen:
        raise Blocked(f"none of {len(facts['in_home'])} things in it can be opened")
    return f"{len(seen)} things, such as {seen[0]}"


def write_outside(facts: Facts) -> str:
    with open(f"{facts['outside']}/written", "wb") as file:
        file.write(b"from inside")
    return "a new file"


def change_outside(facts: Facts) -> str:
    with open(facts["target"], "ab") as file:
        file.write(b"changed from inside")
    return "changed"


def write_system(_facts: Facts) -> str:
    """A file without a name, so that nothing stays where this works."""
    places = ("/usr", "/usr/bin", "/etc", "/var", "/boot", "/root", "/opt")
    return reach_first({place: partial(open_and_close, place, os.O_TMPFILE | os.O_RDWR) for place in places})


def remove_outside(facts: Facts) -> str:
    os.remove(facts["removable"])
    return "removed"


def chmod_outside(facts: Facts) -> str:
    return reach_first(
        {
            "mode": lambda: os.chmod(facts["target"], 0o666),  # noqa: S103 - a bait's
            "time": lambda: os.utime(facts["target"], (1, 1)),
            "attribute": lambda: os.setxattr(facts["target"], "user.nightcrew", b"1"),
        }
    )


def stat_outside(facts: Facts) -> str:
    return f"size {os.stat(facts['secret']).st_size}"


def follow_symlink(facts: Facts) -> str:
    os.symlink(facts["secret"], f"{facts['cwd']}/to-secret")
    os.symlink(f"{facts['outside']}/by-link", f"{facts['cwd']}/to-outside")

    def write() -> None:
        with open(f"{facts['cwd']}/to-outside", "wb") as file:
            file.write(b"x")

    return reach_first({"read": lambda: read_some(f"{facts['cwd']}/to-secret"), "written": write})


def link_hard(facts: Facts) -> str:
    os.link(facts["secret"], f"{facts['cwd']}/hard-link")
    return "linked"


def race_symlink(facts: Facts) -> str:
    """A directory that is a link to the outside every other moment, while files are written through it."""
    place = f"{facts['cwd']}/race"
    os.makedirs(f"{place}-real", exist_ok=True)
    os.symlink(facts["outside"], f"{place}-link")
    os.symlink(f"{place}-real", place)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in ("link", "real"):
                with contextlib.suppress(OSError):
                    os.symlink(
                        os.readlink(f"{place}-{target}") if target == "link" else f"{place}-real",
                        f"{place}-next",
                    )
                    os.rename(f"{place}-next", place)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(_ROUNDS):
            with contextlib.suppress(OSError), open(f"{place}/raced-{number}", "wb") as file:
                file.write(b"x")
    finally:
        stop.set()
        swapper.join()
    inside = sum(name.startswith("raced-") for name in os.listdir(f"{place}-real"))
    outside = _count(facts["outside"], "raced-")
    if not outside:
        raise Blocked(f"{inside} of {_ROUNDS} writes stayed inside, the rest failed")
    return f"{outside} files written outside"


def _count(folder: str, prefix: str) -> int:
    try:
        return sum(name.startswith(prefix) for name in os.listdir(folder))
    except OSError:
        return 0  # it is not there, which is what should be


def climb_by_rename(facts: Facts) -> str:
    """Hold a directory while it is moved: ``..`` of what was moved must still end at the root inside."""
    os.makedirs(f"{facts['cwd']}/climb/a/b/c", exist_ok=True)
    held = os.open(f"{facts['cwd']}/climb/a/b/c", os.O_RDONLY | os.O_DIRECTORY)
    os.rename(f"{facts['cwd']}/climb/a/b", f"{facts['cwd']}/moved")
    fd = os.open(_UP + facts["secret"].lstrip("/"), os.O_RDONLY, dir_fd=held)
    return f"{len(os.read(fd, 256))} bytes"


def use_descriptors(facts: Facts) -> str:
    """Any descriptor but the three streams, and any that leads to a directory."""
    found = []
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            kind = os.fstat(fd).st_mode
            if fd not in facts["own_descriptors"]:
                found.append(f"{fd} ({stat.filemode(kind)[0]})")
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.close(os.open(facts["secret"].lstrip("/"), os.O_RDONLY, dir_fd=fd))
            found.append(f"a file through {fd}")
    if not found:
        raise Blocked("only the three streams are open")
    return ", ".join(found)


def read_accounts(_facts: Facts) -> str:
    return reach_first(
        {path: partial(read_some, path) for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers")}
    )


def make_device(facts: Facts) -> str:
    for kind, number in ((stat.S_IFBLK, os.makedev(8, 0)), (stat.S_IFCHR, os.makedev(1, 1))):
        os.mknod(f"{facts['cwd']}/device-{kind}", 0o600 | kind, number)
    return "made"


def make_whiteout(facts: Facts) -> str:
    """What the overlay itself marks deleted files with; without one it is a file like any other."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        mounts = [line.split(" ")[1:3] for line in file]
    if [facts["cwd"], "overlay"] not in mounts:
        raise Blocked("there is no overlay here")
    os.mknod(f"{facts['cwd']}/whiteout", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    return "made"


def use_set_user_id(facts: Facts) -> str:
    if read_status().get("NoNewPrivs") == "1":
        raise Blocked("no program started in here can win anything by it")
    places = (facts["cwd"], "/tmp", "/dev/shm")  # noqa: S108 - inside
    loose = [p for p in places if os.path.isdir(p) and not os.statvfs(p).f_flag & os.ST_NOSUID]
    if not loose:
        raise Blocked("every writable place ignores the bit")
    return f"it counts in {', '.join(loose)}"


def open_devices(_facts: Facts) -> str:
    """Raw disks, memory, /dev/fuse, /dev/kvm: whatever there is beside the harmless ones."""
    found = []
    for name in os.listdir("/dev"):
        path = f"/dev/{name}"
        mode = os.stat(path).st_mode if os.path.exists(path) else 0
        if name in _HARMLESS_DEVICES or not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            continue
        with contextlib.suppress(OSError):
            open_and_close(path, os.O_RDONLY)
            found.append(name)
    if not found:
        raise Blocked("only harmless ones are there")
    return ", ".join(sorted(found)[:5])


def open_fuse(_facts: Facts) -> str:
    open_and_close("/dev/fuse", os.O_RDWR)
    return "opened"


def read_shared_memory(facts: Facts) -> str:
    return f"{len(read_some(facts['shared_file']))} bytes"


def change_git_settings(facts: Facts) -> str:
    """In its own copy that works, which is why nobody outside runs git on it; what counts is the base."""
    with open(f"{facts['base']}/.git/config", "ab") as file:
        file.write(b"[core]\n\tfsmonitor = evil\n")
    return "changed"


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        read_secret, read_home, stat_outside, write_outside, change_outside, remove_outside, chmod_outside,
        write_system, read_accounts, follow_symlink, link_hard, race_symlink, climb_by_rename, use_descriptors,
        change_git_settings, make_device, make_whiteout, use_set_user_id, open_devices, open_fuse,
        read_shared_memory,
    )
}  # fmt: skip
