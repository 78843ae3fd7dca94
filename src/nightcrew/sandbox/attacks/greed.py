"""Attacks that take more than was given, or do not end: each runs alone, and its end is what is judged."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from nightcrew.model.isolation import Level, Limits, Outcome
from nightcrew.sandbox.attacks.ground import Ground, Listener

_MIB: Final = 1 << 20
_LIMITS: Final = Limits(
    memory_bytes=1 << 30,
    processes=128,
    open_files=256,
    file_bytes=64 * _MIB,
    disk_bytes=32 * _MIB,
    inodes=1000,
    output_bytes=_MIB,
    spawn_s=15.0,
    idle_s=20.0,
    hard_s=25.0,
    grace_s=0.3,
)
_MOST_CPUS: Final = 0.5
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.02
_LINE_BYTES: Final = 8 * _MIB


@dataclass(frozen=True, slots=True)
class Seen:
    """How a greedy run ended.

    Attributes:
        outcome: see there. said: what it printed at last. received: bytes that were passed on to its session.
        left: its processes that were still there afterwards.
    """

    outcome: Outcome
    said: str
    received: int
    left: int

    @property
    def number(self) -> int:
        """The number it printed last; -1 when it printed none."""
        return int(self.said) if self.said.isdigit() else -1


@dataclass(frozen=True, slots=True)
class Greed:
    """One greedy program.

    Attributes:
        code: Python, with MARK for digits that no other command line has.
        limits: that it meets. holds: tells from how it ended whether it was held. harms: not to be run without walls.
    """

    code: str
    limits: Limits
    holds: Callable[[Seen], bool]
    harms: bool = False


def _limits(**changes: float) -> Limits:
    return replace(_LIMITS, **changes)  # type: ignore[arg-type]


def _ended_by(ending: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.outcome.ending == ending and not seen.left


_FILL = """
import os, time
block = os.urandom(1 << 20) * 8
for number in range(24):
    {act}
time.sleep(5)
"""

GREEDY: Final[Mapping[str, Greed]] = {
    "fork_bomb": Greed(
        """
import os, time
count = 0
for _ in range(600):
    try: pid = os.fork()
    except OSError: break
    if pid == 0:
        time.sleep(60); os._exit(0)
    count += 1
time.sleep(0.3)
print(count, flush=True)
""",
        _limits(processes=64),
        lambda seen: not seen.left and (0 <= seen.number <= 64 or "processes" in seen.outcome.detail),
    ),
    "hog_memory": Greed(
        "import time\nkept = []\nfor n in range(60): kept.append(bytearray(b'x') * (16 << 20))\nprint(1); time.sleep(5)",
        _limits(memory_bytes=128 * _MIB),
        lambda seen: seen.outcome.ending == "memory" and not seen.left and seen.number < 0,
    ),
    "hog_memory_shared": Greed(
        """
import os, time
written = 0
with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
    mounts = [line.partition(" - ") for line in file]
found = [left.split()[4] for left, _, right in mounts if right.split()[0] in ("tmpfs", "ramfs", "devtmpfs")]
kept = []
for place in dict.fromkeys(("/tmp", "/dev/shm", "/var/tmp", os.environ["HOME"], "/run", "/dev", *found)):
    try:
        file = open(f"{place}/MARK", "wb", 0)
        kept.append(file)
        while written < 256 << 20: written += file.write(bytes(1 << 20))
    except OSError: pass
print(written, flush=True)
time.sleep(1)
""",
        _limits(memory_bytes=128 * _MIB),
        lambda seen: seen.outcome.ending in ("memory", "disk") or 0 <= seen.number <= 128 * _MIB,
        harms=True,
    ),
    "fill_disk": Greed(
        _FILL.format(act='open(f"fill{number}", "wb").write(block)'), _limits(), _ended_by("disk")
    ),
    "fill_deleted": Greed(
        "kept = []\n" + _FILL.format(
            act='f = open("fill", "wb"); os.remove("fill"); kept.append(f); f.write(block); f.flush()'
        ),
        _limits(),
        _ended_by("disk"),
    ),
    "fill_inodes": Greed(
        "import time\nfor n in range(20000): open(f'f{n}', 'w').close()\ntime.sleep(5)",
        _limits(),
        _ended_by("disk"),
    ),
    "grow_file": Greed(
        """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = 0
with open("big", "wb") as file:
    for power in range(50):
        try: file.truncate(1 << power)
        except OSError: break
        size = 1 << power
print(size, flush=True)
""",
        _limits(),
        lambda seen: 0 <= seen.number <= _LIMITS.file_bytes,
    ),
    "open_files": Greed(
        """
kept = []
try:
    while len(kept) < 5000: kept.append(open("/dev/null", "rb", 0))
except OSError: pass
print(len(kept), flush=True)
""",
        _limits(),
        lambda seen: 0 <= seen.number <= _LIMITS.open_files,
    ),
    "print_endless_line": Greed(
        f"import sys\nfor _ in range({_LINE_BYTES >> 16}): sys.stdout.write('x' * 65536)",
        _limits(),
        # A container's own program may say something besides.
        lambda seen: seen.outcome.output_bytes >= _LINE_BYTES and seen.received == _LIMITS.output_bytes,
    ),
    "ignore_term": Greed(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nfor _ in range(99): print(flush=True); time.sleep(0.1)",
        _limits(hard_s=1.0),
        _ended_by("hard_timeout"),
    ),
    "stay_silent": Greed("import time\ntime.sleep(60)", _limits(idle_s=1.0), _ended_by("idle_timeout")),
    "leave_daemon": Greed(
        """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        os.execv("/bin/sleep", ["sleep", "MARK"])
    os._exit(0)
os.wait()
time.sleep(0.3)
""",
        _limits(),
        lambda seen: seen.outcome.ending == "exited" and not seen.left,
    ),
}  # fmt: skip


def run_greedy(ground: Ground, name: str) -> tuple[bool, str]:
    """Run one; returns whether it was held, and how it ended in words."""
    greed = GREEDY[name]
    if greed.harms and ground.level is Level.S0:
        return False, "not tried: without walls it would fill your memory"
    mark = make_mark()
    listener = Listener()
    spec = ground.spec("-c", greed.code.replace("MARK", mark) + f"\n# {mark}", limits=greed.limits)
    outcome = ground.run(spec, listener)
    said = bytes(listener.said[-64:]).decode("utf-8", "replace").strip()
    seen = Seen(outcome, said, listener.received, count_processes_with(mark))
    ended = f"exit code {outcome.exit_code}" if outcome.ending == "exited" else outcome.ending
    told = ", ".join(
        word for word in (outcome.detail, f"{seen.left} processes left" if seen.left else "") if word
    )
    return greed.holds(seen), f"{ended}: {told}" if told else _explain(name, seen, ended)


def _explain(name: str, seen: Seen, ended: str) -> str:
    kept = f"{seen.received} of {seen.outcome.output_bytes} bytes kept"
    counted = f"stopped at {seen.number}" if seen.number >= 0 else ended
    return {"print_endless_line": kept, "leave_daemon": "gone with the rest"}.get(name, counted)


def burn_cpu(ground: Ground) -> tuple[bool, str]:
    """Keep every processor busy for a second under a limit of half a one; judged by the time they got."""
    code = """
import os, resource, time
end = time.monotonic() + 1.5
pids = []
for _ in range((os.cpu_count() or 1) + 1):
    pid = os.fork()
    if pid == 0:
        while time.monotonic() < end: pass
        os._exit(0)
    pids.append(pid)
for pid in pids: os.waitpid(pid, 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(int(1000 * (used.ru_utime + used.ru_stime) / 1.5), flush=True)
"""
    listener = Listener()
    ground.run(ground.spec("-c", code, limits=_limits(cpus=_MOST_CPUS)), listener)
    said = bytes(listener.said).decode("utf-8", "replace").strip()
    used = int(said) / 1000 if said.isdigit() else float("inf")
    # A period of the scheduler at either end may count in full.
    return used <= _MOST_CPUS * 1.3, f"{used:.2f} of a processor, {_MOST_CPUS:g} were given"


def outlive_runtime(ground: Ground) -> tuple[bool, str]:
    """Kill a nightcrew of our own that has a tree under it with ``kill -9``, and look for what is left."""
    mark = make_mark()
    code = GREEDY["leave_daemon"].code.replace("MARK", mark) + "print('ready', flush=True)\ntime.sleep(60)"
    spec = ground.spec("-c", code, limits=_limits(hard_s=60.0, idle_s=60.0))
    job = json.dumps(
        {
            "path": sys.path,
            "spec": asdict(spec),
            "scratch": str(ground.folder / "scratch"),
            "variables": dict(ground.variables),
        }
    )
    holder = subprocess.Popen(
        [sys.executable, "-I", "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
    )
    try:
        if holder.stdin is None or holder.stdout is None:
            return False, "it could not be started"
        holder.stdin.write(job.encode())
        holder.stdin.close()
        if holder.stdout.readline() != b"ready\n":
            return False, "the nightcrew that was to be killed did not start anything"
        there = count_processes_with(mark)
    finally:
        holder.kill()
        holder.wait()
    began = time.monotonic()
    left = there
    while left and time.monotonic() - began < _PATIENCE_S:
        left = count_processes_with(mark)
        time.sleep(_LOOK_S)
    if not there:
        return False, "nothing of it was ever seen"
    took_ms = (time.monotonic() - began) * 1000
    return not left, f"{left} processes left" if left else f"{there} processes gone within {took_ms:.0f} ms"


_HOLD: Final = """
import json, sys
job = json.load(sys.stdin)
sys.path[:0] = job["path"]
from nightcrew.sandbox.attacks.holder import hold
hold(job["spec"], job["scratch"], job["variables"])
"""


def make_mark() -> str:
    """Return a number of seconds that no other process sleeps for."""
    return f"8{time.monotonic_ns() % 10**14:014d}"


def count_processes_with(mark: str) -> int:
    """Return how many processes of this machine have ``mark`` in their command line; ours never has."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found += mark.encode() in (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended meanwhile
    return found
