"""Level S1, outside: what a program may reach where there are no namespaces, and who answers the calls it hands on.

Nothing can be mounted: the copy of the repository is used where it lies, a second path for it does not exist, and home
and temporary files are private directories of ours, named to the program by HOME and TMPDIR.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from nightcrew.host import landlock
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Level, Outcome, SandboxSpec, Session
from nightcrew.sandbox import system
from nightcrew.sandbox.calls import Calls
from nightcrew.sandbox.doors import Door, serve_doors
from nightcrew.sandbox.exits import Serve
from nightcrew.sandbox.order import Order, RestrictOrder, portable
from nightcrew.sandbox.scratch import private_place
from nightcrew.sandbox.starting import Start
from nightcrew.sandbox.supervise import Care
from nightcrew.sandbox.translate import covered_by_system, make_plain_order, need_filter

_NEEDED: Final = "Landlock of Linux 6.2 or newer, switched on: it must stand in /sys/kernel/security/lsm (boot with lsm=landlock,...)"
# What exists and cannot be read is an error to git, where on other levels it does not exist.
_QUIET: Final = {"GIT_CONFIG_NOSYSTEM": "1"}


class LandlockBackend:
    """Implements ``backends.Builder``.

    Args:
        scratch: directory of ours for homes and temporary files of programs; made when it is needed.
    """

    name: Final = "landlock"
    forks: Final = True

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def check(self, _spec: SandboxSpec) -> None:
        """Raise SandboxUnavailable when this kernel has no Landlock, or one that is too old."""
        need_filter()
        found = landlock.version()
        if found < landlock.NEEDED:
            raise SandboxUnavailable(
                f"no Landlock here that is good enough (version {found}, {landlock.NEEDED} is needed)",
                code="isolation.landlock",
                where=[f"needed: {_NEEDED}"],
                hint="nightcrew doctor",
            )

    def run(
        self, start: Start, spec: SandboxSpec, session: Session, cancel: threading.Event, serve: Serve | None
    ) -> Outcome:
        """See ``backends.Builder``."""
        with self.prepared(spec) as (order, inside), serve_doors(spec.exits, serve) as doors:
            care = make_care(inside, doors)
            # Everything it may write to counts as written by it, its home and temporary files too.
            written = tuple(Bind(path, path, writable=True) for path in inside)
            return start(order, replace(spec, exits=(), binds=written), session, cancel, care=care)

    @contextlib.contextmanager
    def prepared(self, spec: SandboxSpec) -> Iterator[tuple[Order, tuple[str, ...]]]:
        """Yield the order, and the directories that the program may write to, the private ones last.

        Raises:
            SandboxUnavailable: see ``check``.
            UsageError: an overlay, which needs mounts; or something that Landlock would have to hide.
        """
        self.check(spec)
        order = make_plain_order(spec)
        _refuse_mounts(spec)
        _refuse_visible_home(spec)
        with private_place(self._scratch) as place:
            for name in ("home", "tmp"):
                (place / name).mkdir(mode=0o700)
            own = [str(place / name) for name in ("home", "tmp")]
            writable = [os.path.realpath(bind.source) for bind in spec.binds if bind.writable] + own
            readable = [bind.source for bind in spec.binds if not bind.writable]
            order["restrict"] = make_restriction(readable, writable)
            order["env"] = {
                **({} if "GIT_CONFIG_SYSTEM" in order["env"] else _QUIET),
                **order["env"],
                "HOME": portable(own[0]),
                "TMPDIR": portable(own[1]),
            }
            yield order, tuple(writable)


def make_care(inside: Sequence[str], doors: Mapping[tuple[str, int], Door]) -> Care:
    """Return how such a tree is looked after."""
    return Care(plain=True, calls=partial(Calls, inside=inside, doors=doors))


def make_restriction(readable: Sequence[str], writable: Sequence[str]) -> RestrictOrder:
    """Return what is allowed: the system as every level shows it, /proc, and what is asked for."""
    visible = _visible_paths()
    accounts = [f"/etc/{name}" for name in system.ACCOUNTS]
    return RestrictOrder(
        readable=[portable(path) for path in (*visible, *accounts, "/proc", *readable)],
        writable=[portable(path) for path in writable],
        devices=[f"/dev/{name}" for name in system.DEVICES if name != "tty"],
    )


@cache
def _visible_paths() -> tuple[str, ...]:
    return tuple(found.path for found in system.visible_paths())


def describe_gaps() -> tuple[str, ...]:
    """Return what S1 does not hold on this kernel, in words."""
    found = landlock.version()
    gaps = [
        "names, sizes and times of your other files cannot be seen (their content cannot)",
        "a loopback, UDP, terminals and shared memory for programs inside (a test that starts a server fails)",
        "the task's copy at the repository's own path (it is used where it lies)",
    ]
    if found < landlock.WITH_TCP:
        gaps.append("a way to the hosts that are allowed (Linux 6.7 makes it possible)")
    return tuple(gaps)


def find_unheld(found: int) -> Mapping[str, str]:
    """Return the attacks that level S1 cannot hold against with this version of Landlock, and why."""
    if found >= landlock.WITH_SCOPES:
        return {}
    return {"signal_process": "Landlock keeps signals within a sandbox only since Linux 6.12"}


def _refuse_mounts(spec: SandboxSpec) -> None:
    if spec.overlays:
        raise UsageError(
            f"level {Level.S1} cannot mount {spec.overlays[0].target}: its shadow must be a copy",
            code="sandbox.overlay",
        )


def _refuse_visible_home(spec: SandboxSpec) -> None:
    """Landlock has no exceptions: below what everyone may read, nothing can be hidden."""
    if shown := covered_by_system(spec):
        raise SandboxUnavailable(
            f"{shown[0]} lies in a directory that every sandbox shows, and level {Level.S1} cannot hide it",
            code="isolation.visible_home",
            hint="nightcrew doctor",
        )
