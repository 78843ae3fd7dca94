"""Podman (best without root) and Docker as back ends: level SX.

The command line is built from the spec: read-only root, no capabilities, no new privileges, our filter as a seccomp
profile, no network, bounds for memory, processors and processes, temporary directories that nothing is executed from.
Nothing is ever pulled. Without an image the host's own programs are shown in an empty root, as other levels do; only
podman can do that.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from nightcrew.host import kernel, tokens
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Limits, Outcome, Process, Profile, SandboxSpec, Session
from nightcrew.sandbox import cgroups, system
from nightcrew.sandbox.bubblewrap import refuse_overlays
from nightcrew.sandbox.containermemory import MemoryWatch
from nightcrew.sandbox.content import open_place
from nightcrew.sandbox.exits import Doors, Serve
from nightcrew.sandbox.joining import open_exits
from nightcrew.sandbox.ociprofile import make_profile
from nightcrew.sandbox.order import Order, portable
from nightcrew.sandbox.scratch import private_place
from nightcrew.sandbox.starting import Start
from nightcrew.sandbox.supervise import Care
from nightcrew.sandbox.translate import covered_by_system, make_plain_order, need_filter

_MIB: Final = 1 << 20
_GATE: Final = "/nightcrew-gate"
_NOT_STARTED: Final = (125, 126, 127)  # what podman and docker say when the container could not be started
_KILLED: Final = 137
_NEVER: Final = "0001-01-01"  # when such a container was started
_PATIENCE_S: Final = 20.0
_PLACES_OF_RUNTIMES: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LOOK_S: Final = 0.01
_TAIL_BYTES: Final = 800
_NOT_EXECUTED: Final = "rw,noexec,nosuid,nodev,mode=1777,size=64m"

# The first process of the container: hands a polite signal on, and says as a shell does how the program ended.
_FIRST: Final = (
    'if [ -p {gate} ]; then read -r _ < {gate}; fi; unset {unasked}; exec 3<&0; "$@" <&3 3<&- & child=$!; exec 3<&-; '
    'trap "kill -TERM $child" TERM; wait $child; code=$?; '
    "while kill -0 $child 2>/dev/null; do wait $child; code=$?; done; "
    # Killed, perhaps for want of memory: that stands in the group of this container, which goes when we do.
    "[ $code != 137 ] || sleep 0.5 2>/dev/null; exit $code"
)
#: Variables that runtimes set without being asked.
_UNASKED: Final = ("HOSTNAME", "TERM", "container", "PWD", "OLDPWD", "SHLVL", "HOME")


class Bounds(NamedTuple):
    """How much a container may use."""

    memory_bytes: int
    cpus: float
    processes: int


PROFILES: Final[Mapping[Profile, Bounds]] = {
    "light": Bounds(512 * _MIB, 1, 128),
    "standard": Bounds(2048 * _MIB, 2, 256),
    "heavy": Bounds(4096 * _MIB, 4, 512),
}


class ContainerBackend:
    """Implements ``starting.Builder``.

    Args:
        name: of the program.
        scratch: directory of ours for what it reads.
        variables: the user's own environment as far as podman and docker need it: PATH, HOME, where their daemon is.
    """

    forks: Final = False

    def __init__(
        self, name: Literal["podman", "docker"], scratch: Path, variables: Mapping[str, str]
    ) -> None:
        self.name: Final[Literal["podman", "docker"]] = name
        self._scratch = scratch
        self._variables = variables

    def check(self, spec: SandboxSpec) -> None:
        """Raise SandboxUnavailable when the program, its daemon or the image is missing."""
        need_filter()
        self._find()
        image = spec.confinement.image
        if not image and self.name == "docker":
            raise SandboxUnavailable(
                "docker needs an image: name one that is on this machine",
                code="isolation.image",
                hint="isolation: {backend: docker, image: NAME} in ~/.config/nightcrew/config.yaml",
            )
        asked = ["image", "inspect", "--format", "{{.Id}}", image] if image else ["info"]
        done = self._ask(*asked)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[-_TAIL_BYTES:]
            raise SandboxUnavailable(
                f"{self.name} cannot be used: {said or 'no reason given'}",
                code="isolation.container",
                where=["nothing was started"],
                hint=f"{self.name} pull {image}" if image else f"{self.name} info",
            )

    def run(
        self, start: Start, spec: SandboxSpec, session: Session, cancel: threading.Event, serve: Serve | None
    ) -> Outcome:
        """See ``starting.Builder``."""
        self.check(spec)
        refuse_overlays(spec)
        order = make_plain_order(spec)
        _refuse_words(spec)
        name = f"nightcrew-{os.getpid()}-{tokens.nonce()}"
        bounds = bound(spec.limits, spec.confinement.profile)
        with private_place(self._scratch) as place, contextlib.ExitStack() as stack:
            self._prepare(order, spec, place, name, bounds)
            stack.callback(self._remove, name)
            gate = _Gate(self, name, session, spec, place, serve, stack)
            limits = replace(spec.limits, memory_bytes=bounds.memory_bytes, processes=bounds.processes)
            plain = replace(spec, exits=(), limits=limits)
            care = Care(plain=True)
            outcome = start(order, plain, gate, cancel, care=care)
            return self._judge(outcome, name, gate, spec, bounds)

    def _prepare(self, order: Order, spec: SandboxSpec, place: Path, name: str, bounds: Bounds) -> None:
        (place / "seccomp.json").write_text(make_profile(kernel.MACHINE), "ascii")
        (place / "env").write_bytes(_write_environment(spec.env))
        if spec.exits:
            os.mkfifo(place / "gate", 0o600)
        rootfs = None if spec.confinement.image else _make_root(spec, place / "root")
        words = make_arguments(self.name, spec, place, name, bounds, rootfs)
        order["argv"] = [portable(word) for word in (self._find(), *words)]
        order["env"] = {portable(key): portable(value) for key, value in self._variables.items()}
        # Podman's monitor leaves a file named oom where it was started.
        order["cwd"] = portable(str(place))
        order["term"] = "child"
        order["cleanup"] = [portable(word) for word in (self._find(), "rm", "--force", name)]
        # The runtime itself is not what is to be bounded.
        order["open_files"] = order["file_bytes"] = order["processes"] = 0

    def _judge(self, outcome: Outcome, name: str, gate: _Gate, spec: SandboxSpec, bounds: Bounds) -> Outcome:
        """Tell a program that has ended from a container that never was, and from one that the kernel has ended."""
        if outcome.ending != "exited" or outcome.exit_code not in (*_NOT_STARTED, _KILLED):
            return outcome
        done = self._ask("inspect", "--format", "{{.State.StartedAt}} {{.State.OOMKilled}}", name)
        said = done.stdout.decode(errors="replace").split()
        if outcome.exit_code in _NOT_STARTED and (not said or said[0].startswith(_NEVER)):
            raise SandboxUnavailable(
                f"no container: {gate.words.decode(errors='replace').strip() or 'no reason given'}",
                code="isolation.container",
                where=["nothing was started"],
                hint=_advise(self.name, spec.confinement.image, gate.words),
            )
        if gate.memory_kills or (said and said[-1] == "true"):
            detail = f"more than {bounds.memory_bytes} bytes of memory in use"
            return replace(outcome, ending="memory", exit_code=None, detail=detail)
        if outcome.exit_code == _KILLED:
            # Neither its group could be seen nor did the monitor hear of it: a person should know what is likely.
            return replace(
                outcome, detail=f"killed, perhaps for want of memory: {bounds.memory_bytes} bytes were given"
            )
        return outcome

    def _remove(self, name: str) -> None:
        self._ask("rm", "--force", name)

    def find_pid(self, name: str) -> tuple[int, str]:
        """Return the first process of a container as its machine numbers it, 0 while there is none, and its id."""
        done = self._ask("inspect", "--format", "{{.State.Pid}} {{.Id}}", name)
        number, _, id_ = done.stdout.decode(errors="replace").strip().partition(" ")
        return (int(number), id_) if done.returncode == 0 and number.isdigit() else (0, "")

    def _find(self) -> str:
        found = shutil.which(self.name, path=self._variables.get("PATH", ""))
        if found is None:
            raise SandboxUnavailable(
                f"there is no {self.name} on this machine",
                code="isolation.container",
                hint=f"sudo apt install {'podman runc uidmap' if self.name == 'podman' else 'docker.io'}",
            )
        return found

    def _ask(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                [self._find(), *words],
                env=dict(self._variables),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, b"", b"it does not answer")


def advise_image(program: str, image: str) -> str:
    """Say what an image has to hold, and how to get one that does."""
    without = (
        ", or leave isolation.image out: the host's own programs are shown then"
        if program == "podman"
        else ""
    )
    return (
        f"the image {image} must hold sh, bash and python3: build one that does "
        f"(FROM {image}, then install bash and python3), and name it as isolation.image in config.yaml{without}"
    )


def _advise(program: str, image: str, words: bytes) -> str:
    """Return what helps against a container that was not started, by what its runtime says."""
    absent = any(each in words for each in (b"not found", b"no such file", b"No such file"))
    return advise_image(program, image) if image and absent else f"{program} info"


def bound(limits: Limits, profile: Profile) -> Bounds:
    """Return the smaller of a profile and of the limits of the task, one by one."""
    most = PROFILES[profile]
    return Bounds(
        min(most.memory_bytes, limits.memory_bytes or most.memory_bytes),
        min(most.cpus, limits.cpus or most.cpus),
        min(most.processes, limits.processes or most.processes),
    )


def make_arguments(
    program: Literal["podman", "docker"],
    spec: SandboxSpec,
    place: Path,
    name: str,
    bounds: Bounds,
    rootfs: Path | None,
) -> list[str]:
    """Return the words behind the program's name.

    Args:
        program: whose options to use.
        spec: what to confine.
        place: private directory with ``seccomp.json`` and ``env``, and ``gate`` when there are exits.
        name: of the container.
        bounds: how much it may use.
        rootfs: directory to use as the root; None for the image of the spec.
    """
    words = [*_choose_runtime(program), "run", "--name", name, "--label", "nightcrew=1"]
    words += ["--interactive", "--log-driver", "none"]
    words += ["--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges"]
    words += ["--security-opt", f"seccomp={place / 'seccomp.json'}", "--network", "none"]
    words += ["--memory", str(bounds.memory_bytes), "--memory-swap", str(bounds.memory_bytes)]
    words += ["--cpus", f"{bounds.cpus:g}", "--pids-limit", str(bounds.processes)]
    words += ["--ulimit", f"nofile={spec.limits.open_files}"] if spec.limits.open_files else []
    words += [
        "--ulimit",
        "core=0",
        "--ulimit",
        f"nproc={bounds.processes}:{bounds.processes}",
        "--user",
        f"{os.geteuid()}:{os.getegid()}",
    ]
    words += ["--ulimit", f"fsize={spec.limits.file_bytes}"] if spec.limits.file_bytes else []
    words += ["--hostname", spec.hostname, "--env-file", str(place / "env"), "--workdir", spec.cwd]
    words += ["--tmpfs", f"/tmp:{_NOT_EXECUTED}", "--tmpfs", f"/var/tmp:{_NOT_EXECUTED}"]  # noqa: S108 - inside
    if program == "podman":
        hidden = ":".join(["/sys", *(each.path for each in system.hidden_paths())])
        words += ["--read-only-tmpfs=false", "--security-opt", "label=disable", "--no-hosts"]
        words += ["--security-opt", f"mask={hidden}"]
        words += ["--userns", "keep-id"] if os.geteuid() != 0 else []
    home = spec.env.get("HOME", "")
    if home.startswith("/") and home != "/" and not any(bind.target == home for bind in spec.binds):
        words += ["--tmpfs", f"{home}:rw,nosuid,nodev,mode=0777,size=64m"]
    binds = [*(_show_system(spec) if rootfs else ()), *spec.binds]
    binds += [Bind(str(place / "gate"), _GATE)] if spec.exits else []
    for bind in sorted(binds, key=lambda each: os.path.normpath(each.target).count("/")):
        words += ["--mount", _mount(bind)]
    words += ["--entrypoint", "/bin/sh"]
    words += ["--rootfs", str(rootfs)] if rootfs else ["--pull", "never", spec.confinement.image]
    kept = [each for each in _UNASKED if each not in spec.env]
    return [*words, "-c", _FIRST.format(gate=_GATE, unasked=" ".join(kept)), "sh", *spec.argv]


def _choose_runtime(program: str) -> list[str]:
    """Return the option that names runc where crun, podman's first choice, refuses: both versions of control groups."""
    mixed = {mount.version for mount in cgroups.read_mounts()} == {1, 2}
    runc = program == "podman" and mixed and shutil.which("runc", path=_PLACES_OF_RUNTIMES)
    return ["--runtime", runc] if runc else []


def _show_system(spec: SandboxSpec) -> list[Bind]:
    if covered := covered_by_system(spec):
        raise SandboxUnavailable(
            f"{covered[0]} lies in a directory that every sandbox shows, and a container cannot hide it",
            code="isolation.visible_home",
            hint="nightcrew doctor",
        )
    return [Bind(each.path, each.path) for each in system.visible_paths() if each.is_directory]


def _make_root(spec: SandboxSpec, root: Path) -> Path:
    """Make an empty root with the host's links and files of /etc, and the places to mount on."""
    for each in ("dev", "etc", "proc", "run", "sys", "tmp", "var/tmp"):
        (root / each).mkdir(parents=True)
    for found in system.visible_paths():
        place = Path(f"{root}{found.path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.link:
            place.symlink_to(found.link)
        elif found.is_directory:
            place.mkdir()
        else:
            place.write_bytes(found.content)
    home = spec.env.get("HOME", "")
    for name, text in system.account_files(os.geteuid(), os.getegid(), home, spec.hostname).items():
        (root / "etc" / name).write_text(text, "utf-8", "surrogateescape")
    _make_places(spec, root)
    return root


def _make_places(spec: SandboxSpec, root: Path) -> None:
    """Make what will be mounted on: what a runtime without root makes belongs to another user, and stays for ever."""
    wanted = [(bind.target, os.path.isdir(bind.source)) for bind in spec.binds]
    wanted += [(spec.env.get("HOME", "/"), True), (spec.cwd, True), (_GATE, False)]
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target, is_directory in wanted:
            with contextlib.suppress(
                OSError
            ):  # a link stands there: then the runtime says what it makes of it
                os.close(open_place(top, target, is_directory=is_directory))
    finally:
        os.close(top)


def _mount(bind: Bind) -> str:
    """Return one value of --mount: fields of a CSV line."""
    fields = ["type=bind", f"source={bind.source}", f"target={bind.target}"]
    fields += [] if bind.writable else ["readonly"]
    return ",".join(
        f'"{each.replace(chr(34), chr(34) * 2)}"' if set(each) & {",", '"'} else each for each in fields
    )


def _write_environment(env: Mapping[str, str]) -> bytes:
    """Return the file of variables; their values must not be seen in a list of processes.

    Raises:
        UsageError: a value with a line break, which this file cannot hold, or one that is not UTF-8.
    """
    for name, value in env.items():
        if "\n" in value or "\n" in name or not _is_text(name + value):
            raise UsageError(
                f"a container cannot be given {name}: there is a line break in it, or what is not UTF-8",
                code="sandbox.env",
            )
    return b"".join(os.fsencode(f"{name}={value}\n") for name, value in env.items())


def _refuse_words(spec: SandboxSpec) -> None:
    """Refuse what cannot be said: a line break would end the line of --mount, and with it that it is read-only."""
    if not all(_is_text(word) for word in (*spec.argv, spec.cwd)):
        raise UsageError("a container cannot be given words that are not UTF-8", code="sandbox.command")
    for path in (path for bind in spec.binds for path in (bind.source, bind.target)):
        if not _is_text(path) or set(path) & {"\n", "\r"}:
            raise UsageError(
                f"a container cannot be shown {path!r}: there is a line break in it, or what is not UTF-8",
                code="sandbox.path",
            )


def _is_text(text: str) -> bool:
    """Tell whether it can stand in JSON, which is what runtimes hand on."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass
class _Gate:
    """A session in front of another: makes the exits before the program may start, and keeps the runtime's last words."""

    backend: ContainerBackend
    name: str
    session: Session
    spec: SandboxSpec
    place: Path
    serve: Serve | None
    stack: contextlib.ExitStack
    words: bytes = field(default=b"")
    _memory: MemoryWatch | None = None

    def started(self, process: Process) -> None:
        self._memory = MemoryWatch(partial(self.backend.find_pid, self.name))
        self.stack.callback(self._memory.close)
        if self.spec.exits:
            self._serve_exits()
        self.session.started(process)

    @property
    def memory_kills(self) -> int:
        """How many processes the kernel was seen to kill for want of memory."""
        return self._memory.kills if self._memory is not None else 0

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        if stream == "stderr":
            self.words = (self.words + data)[-_TAIL_BYTES:]
        self.session.feed(stream, data)

    def _serve_exits(self) -> None:
        if self.serve is None:
            raise UsageError("a sandbox has exits that nothing answers", code="sandbox.exits")
        end = time.monotonic() + _PATIENCE_S
        while not (pid := self.backend.find_pid(self.name)[0]):
            if time.monotonic() > end:
                return  # it did not start: the runtime says why, and its deadline ends it
            time.sleep(_LOOK_S)
        doors = Doors([each.name for each in self.spec.exits], self.serve)
        self.stack.callback(doors.close)
        doors.begin(open_exits(pid, self.spec.exits))
        gate = os.open(self.place / "gate", os.O_RDWR | os.O_CLOEXEC)
        self.stack.callback(os.close, gate)
        os.write(gate, b"go\n")
