"""A small host for sandbox tests: a home with secrets, a repository in it, layers, and a user who may be another one.

Run as a program (``python sandbox_world.py``) it is that user: it reads one job as JSON from stdin, runs it in a
sandbox of its own and writes what came out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

SOURCE = Path(__file__).resolve().parents[1] / "src"
if __name__ == "__main__":
    sys.path.insert(0, str(SOURCE))

from nightcrew.model.isolation import Level, Limits, Outcome, Overlay, Process, SandboxSpec  # noqa: E402
from nightcrew.sandbox.launcher import Launcher  # noqa: E402

PYTHON = "/usr/bin/python3"
ORDINARY_UID = 12345
LIMITS = Limits(memory_bytes=512 << 20, processes=100, idle_s=20.0, hard_s=30.0, grace_s=0.5, spawn_s=15.0)

PRELUDE = """
import ctypes, errno, json, os, platform, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
facts = json.loads(os.environ["FACTS"])
def call(number, *args):
    words = [ctypes.c_ulong(a & (2**64 - 1)) if isinstance(a, int) else a for a in args]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *words, *[ctypes.c_ulong(0)] * (6 - len(words)))
    return errno.errorcode.get(ctypes.get_errno(), "?") if result < 0 else "OK"
def attempt(act, *args):
    try:
        act(*args)
    except OSError as problem:
        return errno.errorcode.get(problem.errno, str(problem.errno))
    return "OK"
def write(path, text="changed"):
    with open(path, "a") as file:
        file.write(text)
def read(path):
    with open(path) as file:
        return file.read()
def tell(**found):
    print(json.dumps(found), flush=True)
"""


@dataclasses.dataclass
class Recorder:
    """A session that keeps everything; ``on_start`` and ``on_data`` may act on the process."""

    stdin: bytes | None = b""
    on_start: Callable[[Process], None] | None = None
    on_data: Callable[[Process, bytes], None] | None = None
    out: bytearray = dataclasses.field(default_factory=bytearray)
    err: bytearray = dataclasses.field(default_factory=bytearray)
    process: Process | None = None

    def started(self, process: Process) -> None:
        self.process = process
        if self.stdin is not None:
            process.write(self.stdin)
            process.close_stdin()
        if self.on_start is not None:
            self.on_start(process)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        (self.out if stream == "stdout" else self.err).extend(data)
        if self.on_data is not None and self.process is not None:
            self.on_data(self.process, data)


@dataclasses.dataclass
class Ran:
    """What came out of one sandboxed command."""

    outcome: Outcome
    out: bytes
    err: bytes

    @property
    def told(self) -> dict[str, Any]:
        """What the attack found out, as it told it on its last line."""
        assert self.out.strip(), (
            f"the attack told nothing: {self.outcome}\n{self.err.decode(errors='replace')}"
        )
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


class World:
    """One user's machine below one directory."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.root = Path(tempfile.mkdtemp(prefix="nightcrew-world-", dir="/tmp"))
        self.home = self.root / "home"
        self.repo = self.home / "project"
        self.state = self.root / "state"
        self.lower = self.state / "base"
        self.upper = self.state / "upper"
        for folder in (self.repo, self.home / ".ssh", self.lower / "sub", self.upper, self.state / "work"):
            folder.mkdir(parents=True)
        (self.home / ".ssh" / "id_ed25519").write_text("PRIVATE KEY")
        (self.home / ".bashrc").write_text("# mine\n")
        (self.repo / "live.txt").write_text("the user's own edit\n")
        (self.lower / "a.txt").write_text("from the base\n")
        (self.lower / "sub" / "b.txt").write_text("also\n")
        self.give(self.root)
        self._works = 0

    def give(self, top: Path) -> None:
        """Make everything below ``top`` belong to the world's user."""
        if self.uid == os.getuid():
            return
        for path in (top, *top.rglob("*")):
            os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def spec(self, *argv: str, **changes: Any) -> SandboxSpec:
        """Return a spec over the repository with a fresh workdir."""
        self._works += 1
        work = self.state / "work" / str(self._works)
        work.mkdir()
        self.give(work)
        level = changes.get("level", Level.S3)
        overlay = Overlay(str(self.repo), (str(self.lower),), str(self.upper), str(work))
        values: dict[str, Any] = {
            "argv": argv,
            "cwd": str(self.repo),
            "env": {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)},
            "overlays": () if level is Level.S0 else (overlay,),
            "limits": LIMITS,
        }
        return SandboxSpec(**{**values, **changes})

    def attack(self, code: str, **facts: Any) -> Ran:
        """Run Python source inside a sandbox of this world's user, in a process of its own.

        ``limits``, ``level`` and ``prefix`` (a command that starts that process) are ours, the rest are facts for
        the attack.
        """
        limits, level = facts.pop("limits", LIMITS), facts.pop("level", Level.S3)
        prefix: list[str] = facts.pop("prefix", [])
        spec = self.spec(PYTHON, "-I", "-S", "-c", PRELUDE + code, limits=limits, level=level)
        env = {**spec.env, "FACTS": json.dumps(facts)}
        job = dataclasses.asdict(dataclasses.replace(spec, env=env))
        secret = os.open(self.home / ".ssh" / "id_ed25519", os.O_RDONLY)
        os.set_inheritable(secret, True)
        try:
            done = subprocess.run(
                [*prefix, python_for(self.uid), "-P", str(Path(__file__).resolve())],
                input=json.dumps(job).encode(),
                capture_output=True,
                timeout=120,
                env={"PATH": "/usr/sbin:/usr/bin:/bin", "SECRET_TOKEN": "sk-live-secret"},
                pass_fds=(secret,),
                user=self.uid if self.uid != os.getuid() else None,
                group=self.uid if self.uid != os.getuid() else None,
                extra_groups=[] if self.uid != os.getuid() else None,
                check=False,
            )
        finally:
            os.close(secret)
        assert done.returncode == 0, done.stderr.decode()
        answer = json.loads(done.stdout)
        outcome = Outcome(**answer["outcome"])
        return Ran(outcome, answer["out"].encode("latin-1"), answer["err"].encode("latin-1"))

    def remove(self) -> None:
        """Take everything away; the kernel leaves overlay's own work folders without permissions."""
        for path in (self.state / "work").glob("*/work"):
            path.chmod(0o700)
        shutil.rmtree(self.root)


def run(launcher: Launcher, spec: SandboxSpec, session: Recorder | None = None, **kwargs: Any) -> Ran:
    """Run a spec with a recorder."""
    session = session or Recorder()
    cancel = kwargs.pop("cancel", None) or threading.Event()
    outcome = launcher.run(spec, session, cancel=cancel)
    return Ran(outcome, bytes(session.out), bytes(session.err))


def python_for(uid: int) -> str:
    """Return an interpreter that ``uid`` can start and that is new enough; empty when there is none."""
    if uid == os.getuid():
        return sys.executable
    for candidate in (sys.executable, PYTHON):
        check = [candidate, "-c", f"import sys; assert sys.version_info >= (3, 11); open({str(__file__)!r})"]
        with_user = {"user": uid, "group": uid, "extra_groups": []}
        try:
            if subprocess.run(check, capture_output=True, check=False, **with_user).returncode == 0:  # type: ignore[call-overload]
                return candidate
        except OSError:
            continue
    return ""


def users() -> list[int]:
    """Return the users a test can be: oneself, and an ordinary one when oneself is root."""
    return [os.getuid(), ORDINARY_UID] if os.getuid() == 0 and python_for(ORDINARY_UID) else [os.getuid()]


def processes_with(mark: str) -> list[int]:
    """Return the processes of this machine whose command line or environment has ``mark`` in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                text = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in text:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], patience_s: float = 5.0) -> bool:
    """Poll until ``condition`` holds; tells whether it did in time."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def worlds(uid: int) -> Iterator[World]:
    """Yield a world and remove it."""
    world = World(uid)
    try:
        yield world
    finally:
        world.remove()


def main() -> None:
    job = json.load(sys.stdin)
    spec = SandboxSpec(
        argv=tuple(job["argv"]),
        cwd=job["cwd"],
        env=job["env"],
        overlays=tuple(
            Overlay(o["target"], tuple(o["lowers"]), o["upper"], o["work"]) for o in job["overlays"]
        ),
        limits=Limits(**job["limits"]),
        level=Level(job["level"]),
    )
    with Launcher.start() as launcher:
        ran = run(launcher, spec)
    answer = {
        "outcome": dataclasses.asdict(ran.outcome),
        "out": ran.out.decode("latin-1"),
        "err": ran.err.decode("latin-1"),
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
