"""From a spec to the zygote's order, and from its refusals to errors for a person."""

from __future__ import annotations

import errno
import os
import pwd
import stat
from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from nightcrew.host import kernel
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Level, Overlay, SandboxSpec
from nightcrew.sandbox import exits, system
from nightcrew.sandbox.order import BindOrder, ExitOrder, Order, OverlayOrder, portable
from nightcrew.sandbox.places import lies_in, real_path

NOTHING_STARTED: Final = "nothing was started"
_DEFAULT_SCRATCH_BYTES: Final = 2 << 30  # when memory has no limit
_VISIBLE: Final = tuple(system.DIRECTORIES)
_CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
_REFUSED: Final = (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS, errno.ENOSYS)


def make_order(spec: SandboxSpec) -> Order:
    """Turn a spec into the order for the zygote.

    Raises:
        SandboxUnavailable: the level is one this launcher does not build, or the machine one it does not know.
        UsageError: a relative path, a NUL byte, an empty command, a bind that would show sockets or devices.
    """
    confined = spec.level in (Level.S3, Level.S2)
    if not confined and spec.level is not Level.S0:
        raise SandboxUnavailable(
            f"isolation level {spec.level} is not built out of namespaces", code="isolation.level"
        )
    if confined:
        need_filter()
    check(spec)
    limits = spec.limits
    return Order(
        confined=confined,
        proc="fresh" if spec.level is Level.S3 else "any",
        argv=[portable(word) for word in spec.argv],
        cwd=portable(spec.cwd),
        env={portable(name): portable(value) for name, value in spec.env.items()},
        home=_home(spec),
        covered=[portable(path) for path in covered_by_system(spec)] if confined else [],
        hostname=spec.hostname,
        overlays=[_overlay(overlay) for overlay in spec.overlays] if confined else [],
        binds=[_bind(bind) for bind in spec.binds if not _is_visible_anyway(bind)] if confined else [],
        memory_bytes=limits.memory_bytes,
        cpus=limits.cpus,
        processes=limits.processes,
        open_files=limits.open_files,
        file_bytes=limits.file_bytes,
        scratch_bytes=limits.memory_bytes // 2 or _DEFAULT_SCRATCH_BYTES,
        scratch_inodes=limits.inodes,
        attempts={},
        exits=_exits(spec),
        restrict=None,
        inherit=[],
        term="tree",
        cleanup=[],
    )


def make_plain_order(spec: SandboxSpec) -> Order:
    """Turn a spec into an order without namespaces of ours: for a back end that confines in another way.

    Raises:
        UsageError: as ``make_order``.
    """
    _exits(spec)
    check(spec)
    return make_order(replace(spec, level=Level.S0, exits=()))


def need_filter() -> None:
    """Make sure that we know the system calls of this machine.

    Raises:
        SandboxUnavailable: we do not.
    """
    if not kernel.knows_this_machine():
        raise SandboxUnavailable(f"no system call filter for {kernel.MACHINE}", code="isolation.machine")


def check(spec: SandboxSpec) -> None:
    """Refuse what no back end can use.

    Raises:
        UsageError: see make_order.
    """
    words = [*spec.argv, spec.cwd, *spec.env, *spec.env.values()]
    if not spec.argv or not spec.argv[0]:
        raise UsageError("there is no command to run", code="sandbox.command")
    if any("\0" in word for word in words):
        raise UsageError("a command, path or variable has a NUL byte in it", code="sandbox.nul")
    places = [spec.cwd, *(o.target for o in spec.overlays), *(b.target for b in spec.binds)]
    for place in places:
        if not place.startswith("/") or ".." in place.split("/"):
            raise UsageError(f"not an absolute path: {place!r}", code="sandbox.path")
    for bind in spec.binds:
        _check_source(bind)
    for overlay in spec.overlays:
        for folder in (*overlay.lowers, overlay.upper, overlay.work):
            if not os.path.isdir(folder):
                raise UsageError(
                    f"a layer of {overlay.target} is not a directory: {folder}", code="sandbox.layer"
                )


def _check_source(bind: Bind) -> None:
    """A read-only mount does not keep anyone from connecting to a socket in it, so such places are never shown.

    What is writable is a copy made for this task: a socket in it is one that the task itself has left there.
    """
    source, real = bind.source, real_path(bind.source)
    for place in system.NEVER_BOUND:
        if lies_in(real, place) or lies_in(place, real):
            raise UsageError(
                f"{source} cannot be shown inside a sandbox: {place} has sockets or devices of the host"
            )
    try:
        kind = os.lstat(real).st_mode
        sockets = (
            [entry.name for entry in os.scandir(real) if _is_socket(entry)] if stat.S_ISDIR(kind) else []
        )
    except OSError as problem:
        raise UsageError(f"{source} cannot be shown inside a sandbox: {problem.strerror}") from problem
    if (sockets and not bind.writable) or not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
        raise UsageError(f"{source} cannot be shown inside a sandbox: it is or has a socket", where=sockets)


def _is_socket(entry: os.DirEntry[str]) -> bool:
    known = entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False) or entry.is_symlink()
    return not known and stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)


def _is_visible_anyway(bind: Bind) -> bool:
    same = not bind.writable and os.path.normpath(bind.source) == os.path.normpath(bind.target)
    # Of /opt maybe only a part is shown, see system.visible_paths; a second mount there does no harm.
    return same and any(lies_in(bind.source, directory) for directory in _VISIBLE if directory != "/opt")


def _home(spec: SandboxSpec) -> str:
    home = os.path.normpath(spec.env.get("HOME", ""))
    usable = (
        home.startswith("/") and home != "/" and not any(lies_in(home, directory) for directory in _VISIBLE)
    )
    return portable(home) if usable else ""


def covered_by_system(spec: SandboxSpec) -> list[str]:
    """Return the user's own home if a system directory would show it; a shadow there could not be hidden."""
    for overlay in spec.overlays:
        real = real_path(overlay.upper)
        if any(lies_in(real, directory) for directory in _VISIBLE):
            raise UsageError(
                f"the state directory lies in a directory that every sandbox shows: {overlay.upper}",
                code="sandbox.state_visible",
                hint="put it elsewhere: export XDG_STATE_HOME=~/.local/state",
            )
    return _covered_homes(os.geteuid())


@cache
def _covered_homes(uid: int) -> list[str]:
    try:
        home = os.path.realpath(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        return []  # an account without an entry has no home to hide
    return system.covered_places(uid, home)


def _overlay(overlay: Overlay) -> OverlayOrder:
    return OverlayOrder(
        target=portable(overlay.target),
        lowers=[portable(lower) for lower in overlay.lowers],
        upper=portable(overlay.upper),
        work=portable(overlay.work),
    )


def _exits(spec: SandboxSpec) -> list[ExitOrder]:
    """Return the exits to open; only a sandbox with a network of its own can have any.

    Raises:
        UsageError: level S0, too many, two of one name, or a place that is none.
    """
    if not spec.exits:
        return []
    names = {each.name for each in spec.exits}
    if spec.level is Level.S0:
        raise UsageError(
            "without a sandbox there is no network of its own to have exits", code="sandbox.exits"
        )
    if len(names) < len(spec.exits) or len(names) > exits.MOST:
        raise UsageError("two exits of one name, or too many of them", code="sandbox.exits")
    for each in spec.exits:
        try:
            loopback = ip_address(each.address).is_loopback or each.address == "0.0.0.0"  # noqa: S104 - of a sandbox
        except ValueError:
            loopback = False
        if not loopback or not 0 < each.port < 65536:
            raise UsageError(
                f"not a place for an exit: {each.address} port {each.port}", code="sandbox.exits"
            )
    return [ExitOrder(kind=each.kind, address=each.address, port=each.port) for each in spec.exits]


def _bind(bind: Bind) -> BindOrder:
    return BindOrder(source=portable(bind.source), target=portable(bind.target), writable=bind.writable)


def unavailable(message: dict[str, Any], level: Level) -> SandboxUnavailable:
    """Turn the report of a sandbox that could not be built into an error."""
    step, number, path = message["error"], message["errno"], message["path"]
    reason = f"{message['text']}: {path}" if path else message["text"]
    name = errno.errorcode.get(number, str(number))
    hints = fixes(step, number)
    return SandboxUnavailable(
        f"no sandbox of level {level}: {step} failed ({reason})",
        code=f"isolation.{name.lower()}",
        where=[NOTHING_STARTED, *hints[1:]],
        hint=hints[0] if hints else "nightcrew doctor",
    )


def no_zygote(words: str) -> SandboxUnavailable:
    """The process that builds sandboxes cannot be started or does not answer."""
    return SandboxUnavailable("the sandbox launcher does not start", code="isolation.launcher", where=[words])


def fixes(step: str, number: int) -> list[str]:
    """Return what would help after ``step`` failed with ``number``: commands first; empty when we do not know."""
    if number == errno.EINVAL and step.startswith("the repository"):
        return ["put the state directory on ext4, xfs, btrfs or tmpfs: export XDG_STATE_HOME=/a/volume"]
    if number not in _REFUSED:
        return []
    found = []
    if _reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"):
        found.append("sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0")
        found.append("or an AppArmor profile with 'userns,' for the Python that runs nightcrew")
    if _reads("/proc/sys/kernel/unprivileged_userns_clone", "0"):
        found.append("sudo sysctl kernel.unprivileged_userns_clone=1")
    if _reads("/proc/sys/user/max_user_namespaces", "0"):
        found.append("sudo sysctl user.max_user_namespaces=15000")
    if any(Path(mark).exists() for mark in _CONTAINER_MARKS):
        found.append(
            "start the container with --security-opt seccomp=unconfined (and a volume for the state directory)"
        )
        if step == "/proc":
            found.append("add --security-opt systempaths=unconfined for a private process list")
    return found


def _reads(path: str, wanted: str) -> bool:
    try:
        return Path(path).read_text(encoding="ascii").strip() == wanted
    except OSError:
        return False  # this kernel has no such switch
