"""Which parts of the host are visible inside every sandbox, as data.

Left out on purpose: /home, /root, /run, /var, /srv, /mnt, /media, /boot, /sys (other people's files, sockets of
daemons) and everything of /etc that may hold a secret or name the machine.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final, NamedTuple

from nightcrew.sandbox.places import lies_in

DIRECTORIES: Final = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store",
)  # fmt: skip

# Enough for compilers, interpreters, TLS, names and locales; each costs 20 to 30 microseconds of every start.
ETC: Final = (
    "alternatives", "bash.bashrc", "crypto-policies", "fonts", "inputrc", "java", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "locale.conf", "localtime", "lsb-release", "mime.types", "os-release",
    "pki/ca-trust/extracted", "pki/tls/certs", "profile", "protocols", "services", "shells", "ssl/certs",
    "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_ETC_PREFIXES: Final = ("java-", "php")

# What programs look names up in; other levels write their own, S1 can only show the host's.
ACCOUNTS: Final = (
    "passwd",
    "group",
    "hosts",
    "host.conf",
    "nsswitch.conf",
    "resolv.conf",
    "hostname",
    "mtab",
)

DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")

_HOMES_OF_DAEMONS: Final = (*DIRECTORIES, "/usr/bin", "/usr/sbin", "/usr/games")
_EVERYONE_ENTERS: Final = stat.S_IROTH | stat.S_IXOTH
_LARGEST_COPY: Final = 1 << 20

# Absolute paths that no bind may give, contain or lie in: sockets of daemons, devices, kernel interfaces.
NEVER_BOUND: Final = ("/run", "/var/run", "/dev", "/proc", "/sys", "/tmp/.X11-unix")  # noqa: S108 - named to be refused

# Below /proc: what only root of the host can read or write, and root is who may be running us.
PROC_HIDDEN: Final = (
    "acpi", "asound", "dynamic_debug", "fs", "iomem", "ioports", "kallsyms", "kcore", "keys",
    "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "sched_debug", "scsi", "slabinfo",
    "sysrq-trigger", "timer_list", "timer_stats", "vmallocinfo",
)  # fmt: skip


class SystemPath(NamedTuple):
    """A path to show or hide: a directory is bound, a link made anew, a file copied (cheaper than a mount)."""

    path: str
    is_directory: bool
    link: str
    content: bytes


def look_up(path: str) -> SystemPath | None:
    """Describe a host path; None when it is absent, special, large, or not for everyone to read."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            return SystemPath(path, False, os.readlink(path), b"")
        if stat.S_ISDIR(found.st_mode):
            return (
                SystemPath(path, True, "", b"")
                if found.st_mode & _EVERYONE_ENTERS == _EVERYONE_ENTERS
                else None
            )
        if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IROTH and found.st_size <= _LARGEST_COPY:
            with open(path, "rb") as file:
                return SystemPath(path, False, "", file.read())
    except OSError:
        pass  # not on this host, or not for us
    return None


def visible_paths() -> tuple[SystemPath, ...]:
    """Return what of this host is shown; looked up once per zygote."""
    names = list(ETC)
    with contextlib.suppress(OSError):  # a host whose /etc cannot be listed has no extra ones to offer
        names += sorted(name for name in os.listdir("/etc") if name.startswith(_ETC_PREFIXES))
    directories = [shown for path in DIRECTORIES for shown in _of_the_system(path)]
    wanted = [*directories, *(f"/etc/{name}" for name in names)]
    return tuple(found for path in wanted if (found := look_up(path)) is not None)


def _of_the_system(path: str) -> list[str]:
    """Return ``path``, or those things in it that belong to root when people keep theirs beside them (``/opt``)."""
    try:
        owners = {entry.path: entry.stat(follow_symlinks=False).st_uid for entry in os.scandir(path)}
    except OSError:
        return [path]  # absent, or not for us to see; look_up decides
    return (
        [path] if not any(owners.values()) else sorted(path for path, owner in owners.items() if owner == 0)
    )


def covered_places(uid: int, home: str) -> list[str]:
    """Return the user's real home when it lies in a directory that is shown (``/opt/ci``): it must not show."""
    if not any(lies_in(home, directory) for directory in DIRECTORIES):
        return []
    try:
        own = os.stat(home).st_uid == uid
    except OSError:
        return []  # no such directory: nothing to show
    return [home] if own and home not in _HOMES_OF_DAEMONS else []


def hidden_paths() -> tuple[SystemPath, ...]:
    """Return what of /proc must be covered: only what this user could read or write at all."""
    paths = [f"/proc/{name}" for name in PROC_HIDDEN]
    return tuple(SystemPath(path, os.path.isdir(path), "", b"") for path in paths if os.access(path, os.R_OK))


def account_files(uid: int, gid: int, home: str, hostname: str, name_server: str = "") -> dict[str, str]:
    """Return the files of /etc that are written anew: one user, one group, our name server or none."""
    users = {0: "root", 65534: "nobody"}
    groups = {0: "root", 65534: "nogroup"}
    homes = {0: "/root", 65534: "/nonexistent"}
    users.setdefault(uid, "agent")
    groups.setdefault(gid, "agent")
    homes[uid] = home or "/"
    passwd = "".join(
        f"{name}:x:{n}:{gid if n == uid else n}::{homes[n]}:/bin/sh\n" for n, name in users.items()
    )
    group = "".join(f"{name}:x:{n}:\n" for n, name in groups.items())
    return {
        "passwd": passwd,
        "group": group,
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
        "resolv.conf": f"nameserver {name_server}\n" if name_server else "# no network\n",
    }
