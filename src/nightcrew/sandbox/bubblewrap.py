"""The host's bubblewrap as a back end, for hosts that let it, and not us, make user namespaces (Ubuntu's AppArmor).

It gets what our own launcher builds: the same directories, the same filter, no capabilities, a /proc that cannot be
written to. What it does not get is an overlay (bubblewrap before 0.11 knows none): shadows are copies.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from nightcrew.host import kernel
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Level, Outcome, Process, SandboxSpec, Session
from nightcrew.sandbox import exits, system
from nightcrew.sandbox.exits import Doors, Serve
from nightcrew.sandbox.joining import open_exits
from nightcrew.sandbox.order import InheritOrder, Order, portable
from nightcrew.sandbox.places import lies_in
from nightcrew.sandbox.scratch import private_place
from nightcrew.sandbox.seccomp import compile_filter
from nightcrew.sandbox.starting import Start
from nightcrew.sandbox.supervise import Care
from nightcrew.sandbox.translate import covered_by_system, make_plain_order, need_filter

_ARGUMENTS, _FILTER, _STATUS, _GATE, _FIRST_FILE = 100, 101, 102, 103, 104
_ENV: Final = "/usr/bin/env"
_PATIENCE_S: Final = 10.0
_LOOK_S: Final = 0.002
_TAIL_BYTES: Final = 500
#: Which part of all temporary memory a place may take; a mount of its own cannot share with another one. Home: a quarter.
_SCRATCH: Final = {"/tmp": 2, "/var/tmp": 8, "/dev/shm": 8}  # noqa: S108 - inside, places of its own
_HOME_SHARE: Final = 4
_FOLDERS_BYTES: Final = 1 << 20
#: What bwrap itself says PWD is; nobody asked for that.
_UNASKED_VARIABLE: Final = "PWD"


class BubblewrapBackend:
    """Implements ``starting.Builder``.

    Args:
        scratch: directory of ours for what bwrap reads its orders from.
        search: PATH to find bwrap on.
    """

    name: Final = "bwrap"
    forks: Final = False

    def __init__(self, scratch: Path, search: str) -> None:
        self._scratch = scratch
        self._search = search

    def check(self, _spec: SandboxSpec) -> None:
        """Raise SandboxUnavailable when there is no bwrap."""
        need_filter()
        self._find()

    def run(
        self, start: Start, spec: SandboxSpec, session: Session, cancel: threading.Event, serve: Serve | None
    ) -> Outcome:
        """See ``starting.Builder``."""
        self.check(spec)
        refuse_overlays(spec)
        order = make_plain_order(spec)
        with private_place(self._scratch) as place, contextlib.ExitStack() as stack:
            self._prepare(order, spec, place)
            gate = _Gate(session, spec, place, serve, stack)
            care = Care(plain=True)
            outcome = start(order, replace(spec, exits=()), gate, cancel, care=care)
            _refuse_unbuilt(outcome, place, gate, spec)
        return outcome

    def _find(self) -> str:
        found = shutil.which("bwrap", path=self._search)
        if found is None:
            raise SandboxUnavailable(
                "there is no bwrap on this machine",
                code="isolation.bwrap",
                hint="sudo apt install bubblewrap   (or dnf, pacman, zypper install bubblewrap)",
            )
        return found

    def _prepare(self, order: Order, spec: SandboxSpec, place: Path) -> None:
        """Write down what bwrap reads: nothing of it, the environment least, may be seen in a list of processes."""
        files = _write_accounts(spec, place)
        (place / "filter").write_bytes(compile_filter(kernel.MACHINE))
        words = [*make_arguments(spec, list(files)), *(["--block-fd", str(_GATE)] if spec.exits else [])]
        (place / "arguments").write_bytes(b"".join(os.fsencode(word) + b"\0" for word in words))
        (place / "status").touch(mode=0o600)
        inherited = [(_ARGUMENTS, "arguments", False), (_FILTER, "filter", False), (_STATUS, "status", True)]
        inherited += [(_FIRST_FILE + number, name, False) for number, name in enumerate(files.values())]
        if spec.exits:
            os.mkfifo(place / "gate", 0o600)
            inherited.append((_GATE, "gate", True))
        order["inherit"] = [
            InheritOrder(number=number, path=portable(str(place / name)), writable=writable)
            for number, name, writable in inherited
        ]
        order["argv"] = [portable(self._find()), "--args", str(_ARGUMENTS), "--", *_command(spec)]
        order["env"] = {"PATH": "/usr/bin:/bin"}
        order["cwd"] = "/"
        order["term"] = "below"


def make_arguments(spec: SandboxSpec, files: Sequence[str]) -> list[str]:
    """Return bwrap's arguments for a spec; ``files`` of /etc are read from descriptors from _FIRST_FILE on."""
    words = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--hostname", spec.hostname, "--clearenv"]
    for name, value in spec.env.items():
        words += ["--setenv", name, value]
    for found in system.visible_paths():
        words += (
            ["--symlink", found.link, found.path] if found.link else ["--ro-bind", found.path, found.path]
        )
    for number, path in enumerate(files):
        words += ["--ro-bind-data", str(_FIRST_FILE + number), path]
    words += ["--symlink", "/proc/mounts", "/etc/mtab", "--dev", "/dev", *_show_proc(spec)]
    for path, share in _SCRATCH.items():
        words += ["--perms", "1777", "--size", str(_scratch_bytes(spec) // share), "--tmpfs", path]
    # Without a size each tmpfs may take half of the machine's memory.
    for path in ("/run", *covered_by_system(spec)):
        words += ["--size", str(_FOLDERS_BYTES), "--tmpfs", path]
    words += _show_content(spec)
    for path in ("/run", "/dev", "/"):
        words += ["--remount-ro", path]
    words += ["--chdir", spec.cwd]
    return [*words, "--seccomp", str(_FILTER), "--json-status-fd", str(_STATUS)]


def _scratch_bytes(spec: SandboxSpec) -> int:
    """Return what all temporary places may take together: they are memory, which no control group may count here."""
    return max(spec.limits.memory_bytes // 2, 16 << 20) if spec.limits.memory_bytes else 2 << 30


def _show_proc(spec: SandboxSpec) -> list[str]:
    words = ["--proc", "/proc"] if spec.level is Level.S3 else ["--ro-bind", "/proc", "/proc"]
    for path in system.hidden_paths():
        words += (
            ["--tmpfs", path.path, "--remount-ro", path.path]
            if path.is_directory
            else ["--ro-bind", "/dev/null", path.path]
        )
    # All of it: as root of the host, /proc/sys/kernel/core_pattern is a way out.
    return [*words, "--remount-ro", "/proc"]


def _show_content(spec: SandboxSpec) -> list[str]:
    words: list[str] = []
    home = spec.env.get("HOME", "")
    targets = [bind.target for bind in spec.binds]
    if home.startswith("/") and home != "/" and not any(lies_in(home, target) for target in targets):
        words += ["--size", str(_scratch_bytes(spec) // _HOME_SHARE), "--tmpfs", home]
    for bind in sorted(spec.binds, key=lambda each: os.path.normpath(each.target).count("/")):
        _refuse_links(bind, spec.binds)
        words += ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
    return words


def _refuse_links(bind: Bind, others: Sequence[Bind]) -> None:
    """A link planted by an earlier attempt must not lead what is mounted, or created for it, to another place."""
    for outer in others:
        if not outer.writable or outer is bind or not lies_in(bind.target, outer.target):
            continue
        here = outer.source
        for part in os.path.relpath(bind.target, outer.target).split("/"):
            here = os.path.join(here, part)
            if os.path.islink(here):
                raise UsageError(f"{bind.target} cannot be shown: {here} is a link", code="sandbox.link")


def refuse_overlays(spec: SandboxSpec) -> None:
    """Raise UsageError for a spec with overlays."""
    if spec.overlays:
        raise UsageError(
            f"this back end cannot mount an overlay at {spec.overlays[0].target}: its shadow must be a copy",
            code="sandbox.overlay",
        )


def _command(spec: SandboxSpec) -> list[str]:
    """Return the program behind ``env``, which says 127 and 126 as a shell does where bwrap only says 1."""
    if "=" in spec.argv[0]:
        raise UsageError(
            f"this back end cannot start {spec.argv[0]!r}: there is an = in it", code="sandbox.command"
        )
    drop = [] if _UNASKED_VARIABLE in spec.env else ["-u", _UNASKED_VARIABLE]
    return [_ENV, *drop, "--", *(portable(word) for word in spec.argv)]


def _write_accounts(spec: SandboxSpec, place: Path) -> dict[str, str]:
    """Write the files of /etc that are made anew; returns path inside → name in ``place``."""
    server = exits.find_name_server(
        [{"kind": each.kind, "address": each.address, "port": each.port} for each in spec.exits]
    )
    files = system.account_files(os.geteuid(), os.getegid(), spec.env.get("HOME", ""), spec.hostname, server)
    for name, text in files.items():
        (place / f"etc-{name}").write_bytes(os.fsencode(text))
    return {f"/etc/{name}": f"etc-{name}" for name in files}


@dataclass
class _Gate:
    """A session in front of another: makes the exits before the program may start, and keeps bwrap's last words."""

    session: Session
    spec: SandboxSpec
    place: Path
    serve: Serve | None
    stack: contextlib.ExitStack
    words: bytes = field(default=b"")

    def started(self, process: Process) -> None:
        if self.spec.exits:
            self._serve_exits()
        self.session.started(process)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if stream == "stderr":
            self.words = (self.words + data)[-_TAIL_BYTES:]
        self.session.feed(stream, data)

    def _serve_exits(self) -> None:
        if self.serve is None:
            raise UsageError("a sandbox has exits that nothing answers", code="sandbox.exits")
        pid = _wait_for_child(self.place)
        if pid:
            doors = Doors([each.name for each in self.spec.exits], self.serve)
            self.stack.callback(doors.close)
            doors.begin(open_exits(pid, self.spec.exits))
            (self.place / "gate").write_bytes(b"x")


def _wait_for_child(place: Path) -> int:
    """Return the pid of bwrap's child, 0 when it does not come: then bwrap says why, and is ended by its deadline."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        for document in _read_status(place):
            if "child-pid" in document:
                return int(document["child-pid"])
        time.sleep(_LOOK_S)
    return 0


def _read_status(place: Path) -> Iterator[dict[str, int]]:
    for line in (place / "status").read_text("ascii", "replace").splitlines():
        with contextlib.suppress(ValueError):  # half a line: it is being written
            yield json.loads(line)


def _refuse_unbuilt(outcome: Outcome, place: Path, gate: _Gate, spec: SandboxSpec) -> None:
    """Tell a program that has ended from a sandbox that never was."""
    if outcome.ending == "exited" and not any("exit-code" in each for each in _read_status(place)):
        said = gate.words.decode(errors="replace").strip()
        raise SandboxUnavailable(
            f"no sandbox of level {spec.level}: {said or 'bwrap ended without a word'}",
            code="isolation.bwrap",
            where=["nothing was started"],
            hint="nightcrew doctor",
        )
