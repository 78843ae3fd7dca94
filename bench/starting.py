"""Rows: the start of a confined process, beside those who do the same: bwrap, Codex's sandbox, sandbox-runtime.

bwrap is looked for on PATH; ``codex`` and ``srt`` too, or in the ``bin`` folder that ``BENCH_PEERS`` names (``npm install
@openai/codex @anthropic-ai/sandbox-runtime`` makes one). What is not there is left out.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ground import ENV, Ground, Silence
from rows import Act, Row, interleave

from nightcrew.model.isolation import SandboxSpec
from nightcrew.shadow.shadows import Shadow

TRUE = "/bin/true"
AT_ONCE = 100
BWRAP = ("--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc")
WAIT = ("/bin/sleep", "60")


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    """Ours against each of the others, a hundred at once, and what a waiting one takes of memory."""
    shadow = ground.shadows.open("start", ground.base)
    yield from _against_bare(ground, shadow, rounds)
    peers = ground.place / "peers"
    peers.mkdir(exist_ok=True)
    for what, argv, env, goal in _find_peers(peers):
        yield _against(ground, shadow, rounds, what, argv, env, goal)
    ground.shadows.discard(shadow)
    yield from _at_once(ground, min(rounds, 3))
    yield _memory(ground)


def _against_bare(ground: Ground, shadow: Shadow, rounds: int) -> Iterator[Row]:
    """Fork + exec as a program does it that is written in Python, and the quickest way there is (vfork)."""
    acts = [
        Act(lambda: ground.confined([TRUE], shadow)),
        Act(_fork_and_exec),
        Act(lambda: subprocess.run([TRUE], env=ENV, check=True)),
    ]
    ours, forked, spawned = interleave(acts, rounds * 3)
    yield Row("confined `true` on a shadow", ground.number, ours, "fork + exec", forked, 4)
    yield Row("confined `true` on a shadow", ground.number, ours, "vfork + exec (no goal)", spawned)


def _fork_and_exec() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(TRUE, ["true"])
        finally:
            os._exit(127)
    os.waitpid(pid, 0)


def _find_peers(place: Path) -> Iterator[tuple[str, Sequence[str], dict[str, str], float]]:
    """Yield name, command, environment and goal of each peer that works here."""
    search = os.pathsep.join([os.environ.get("BENCH_PEERS", ""), ENV["PATH"]])
    # Codex does not put its helper below the folder for temporary files, which is where a benchmark lies.
    env = {**ENV, "PATH": search, "HOME": str(place), "CODEX_HOME": str(place), "TMPDIR": "/var/tmp"}
    settings = place / "srt.json"
    settings.write_text(
        json.dumps(
            {
                "network": {"allowedDomains": [], "deniedDomains": []},
                "filesystem": {"denyRead": [], "allowWrite": [str(place)], "denyWrite": []},
            }
        )
    )
    candidates = (
        ("bwrap --unshare-all true", "bwrap", (*BWRAP, TRUE), 1.5),
        ("codex sandbox true", "codex", ("sandbox", "--", TRUE), 1 / 4),
        ("srt true", "srt", ("--settings", str(settings), TRUE), 1 / 40),
    )
    for what, program, arguments, goal in candidates:
        found = shutil.which(program, path=search)
        if found is None:
            continue
        done = subprocess.run([found, *arguments], env=env, cwd=place, capture_output=True, check=False)
        if done.returncode == 0:
            yield what, [found, *arguments], env, goal
        else:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-1:]
            print(f"{what} is left out: it ends with {done.returncode}: {said}", file=sys.stderr)


def _against(
    ground: Ground,
    shadow: Shadow,
    rounds: int,
    what: str,
    argv: Sequence[str],
    env: dict[str, str],
    goal: float,
) -> Row:
    place = Path(env["HOME"])
    ours, theirs = interleave(
        [
            Act(lambda: ground.confined([TRUE], shadow)),
            Act(lambda: subprocess.run(argv, env=env, cwd=place, check=True, capture_output=True)),
        ],
        rounds * 2,
    )
    return Row("confined `true` on a shadow", ground.number, ours, what, theirs, goal)


def _at_once(ground: Ground, rounds: int) -> Iterator[Row]:
    """A hundred confined processes asked for in the same moment, each on a shadow of its own; then a hundred of bwrap's."""
    shadows = [ground.shadows.open(f"at-once-{number}", ground.base) for number in range(AT_ONCE)]
    what, bwrap = f"each of {AT_ONCE} confined `true` at once", shutil.which("bwrap", path=ENV["PATH"])
    specs: list[SandboxSpec] = []
    # A spec is used once; making it is not what is measured.
    acts = [
        Act(
            lambda: _start_all(ground, specs),
            prepare=lambda: specs.extend(ground.spec([TRUE], shadow) for shadow in shadows),
            tidy=specs.clear,
        )
    ]
    if bwrap is not None:
        acts.append(Act(lambda: _spawn_all([bwrap, *BWRAP, TRUE])))
    ours, *theirs = (each / AT_ONCE for each in interleave(acts, rounds))
    for shadow in shadows:
        ground.shadows.discard(shadow)
    yield Row(what, ground.number, ours, "5 ms", 5.0, 1)
    for took in theirs:
        # Without a shadow, limits and a filter: what the kernel alone takes for namespaces at once on this machine.
        yield Row(what, ground.number, ours, f"each of {AT_ONCE} bwrap --unshare-all at once", took)


def _start_all(ground: Ground, specs: Sequence[SandboxSpec]) -> None:
    threads = [
        threading.Thread(
            target=ground.launcher.run, args=(spec, Silence()), kwargs={"cancel": threading.Event()}
        )
        for spec in specs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _spawn_all(argv: list[str]) -> None:
    for pid in [os.posix_spawn(argv[0], argv, ENV) for _ in range(AT_ONCE)]:
        os.waitpid(pid, 0)


class _Waiting:
    """A session whose process is known as soon as it runs."""

    def __init__(self) -> None:
        self.running = threading.Event()

    def started(self, process: object) -> None:
        process.close_stdin()  # type: ignore[attr-defined]
        self.running.set()

    def feed(self, stream: str, data: bytes) -> None:
        """It says nothing."""


def _memory(ground: Ground) -> Row:
    """What one more waiting sandbox takes: its own share of every page of its first process, and of ours."""
    cancel = threading.Event()
    sessions = [_Waiting() for _ in range(20)]
    threads = [
        threading.Thread(
            target=ground.launcher.run, args=(ground.spec(WAIT), each), kwargs={"cancel": cancel}
        )
        for each in sessions
    ]
    before = _own_kib()
    for thread in threads:
        thread.start()
    for each in sessions:
        each.running.wait(30)
    inits = _firsts()
    grown = max(0.0, (_own_kib() - before) / len(sessions))
    shares = [_share_kib(pid) for pid in inits]
    cancel.set()
    for thread in threads:
        thread.join()
    return Row(
        "memory of a waiting sandbox", 0, statistics.median(shares) + grown, "4 MiB", 4096.0, 1, unit="KiB"
    )


def _firsts() -> list[int]:
    """Return the first processes of all sandboxes: the parents of what was started in them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and (entry / "cmdline").read_bytes() == b"\0".join(map(str.encode, WAIT)) + b"\0"
            ):
                found.append(int((entry / "stat").read_text().rpartition(") ")[2].split()[1]))
        except OSError:
            continue
    return found


def _share_kib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _own_kib() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
