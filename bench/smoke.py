"""A short benchmark: every figure beside a yardstick taken in the same run.

Usage: ``uv run python bench/smoke.py [--files 2000] [--rounds 7] [--json]``. Times are medians in milliseconds. The goals
are ratios to the yardstick (docs say where they come from); a missed goal is told, and fails only with ``--strict``,
because machines are shared and noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from nightcrew.checkpoint.store import Store
from nightcrew.host import git as host_git
from nightcrew.model.isolation import Level, SandboxSpec
from nightcrew.model.trees import Repository
from nightcrew.sandbox.launcher import Launcher
from nightcrew.shadow.shadows import Shadows

ENV = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@invalid",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@invalid",
}
NIGHTCREW = shutil.which("nightcrew", path=str(Path(sys.executable).parent)) or "nightcrew"


@dataclass(frozen=True)
class Row:
    """One line of the table: ``goal`` is the largest ratio ours/yardstick that is still good."""

    what: str
    ours_ms: float
    yardstick: str
    yardstick_ms: float
    goal: float

    @property
    def ratio(self) -> float:
        return self.ours_ms / self.yardstick_ms


def clock(act: Callable[[], object], rounds: int) -> float:
    """Return the median wall time of ``act`` in milliseconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        act()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def command(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program; its output is dropped, a failure ends the benchmark."""
    subprocess.run(
        argv, cwd=cwd, env=env or ENV, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def make_repository(root: Path, files: int) -> Path:
    """Make a git repository with ``files`` small files in folders of fifty."""
    repository = root / "repository"
    for number in range(files):
        path = repository / f"d{number // 1000}" / f"e{number // 50}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {number}\n" * 20)
    command("git", "init", "-q", "-b", "main", str(repository))
    command("git", "add", "-A", cwd=repository)
    command("git", "commit", "-q", "-m", "base", cwd=repository)
    return repository


class Silence:
    """A session that listens to nothing."""

    def started(self, process: object) -> None:
        """Nothing to write."""

    def feed(self, stream: str, data: bytes) -> None:
        """Nothing to read."""


def measure_command_line(rounds: int, env: dict[str, str]) -> list[Row]:
    """Time ``--version`` and ``ps`` against a bare interpreter."""
    bare = clock(lambda: command(sys.executable, "-c", "pass"), rounds)
    version = clock(lambda: command(NIGHTCREW, "--version", env=env), rounds)
    listing = clock(lambda: command(NIGHTCREW, "ps", env=env), rounds)
    return [
        Row("nightcrew --version", version, "python -c pass", bare, 10),
        Row("nightcrew ps", listing, "python -c pass", bare, 20),
    ]


def measure_sandbox(rounds: int) -> list[Row]:
    """Time a confined ``true`` against fork and exec."""
    spec = SandboxSpec(argv=("/bin/true",), cwd="/", env={"PATH": "/usr/bin:/bin"}, level=Level.S3)
    with Launcher.start() as launcher:
        ours = clock(lambda: launcher.run(spec, Silence(), cancel=threading.Event()), rounds * 3)
    bare = clock(lambda: command("/bin/true"), rounds * 3)
    return [Row("confined true (S3)", ours, "fork + exec", bare, 4)]


def measure_shadow(repository: Path, state: Path, rounds: int) -> list[Row]:
    """Time opening a shadow and a checkpoint of ten changes against git's own ways."""
    known: Repository = host_git.discover(repository, ENV)
    shadows = Shadows(state, known, env=ENV, mode="overlay", environment=())
    store = Store(state / "objects", known, env=ENV)
    started = time.perf_counter()
    base = shadows.export(known.head)
    export_ms = (time.perf_counter() - started) * 1000
    opened = iter(range(10_000))

    def open_one() -> None:
        shadows.discard(shadows.open(f"bench-{next(opened)}", base))

    worktrees = iter(range(10_000))

    def add_worktree() -> None:
        place = repository.parent / f"worktree-{next(worktrees)}"
        command("git", "worktree", "add", "-q", "--detach", str(place), cwd=repository)

    open_ms = clock(open_one, rounds)
    worktree_ms = clock(add_worktree, min(rounds, 3))
    shadow = shadows.open("changes", base)
    rounds_done = iter(range(10_000))
    ours = clock(lambda: _capture(shadows, store, shadow, base.tree, next(rounds_done)), rounds)
    theirs = clock(lambda: _commit_all(repository, next(rounds_done)), rounds)
    shadows.discard(shadow)
    store.close()
    return [
        Row("first export of the base", export_ms, "git worktree add", worktree_ms, 1.2),
        Row("open a shadow", open_ms, "git worktree add", worktree_ms, 0.25),
        Row("checkpoint, 10 changed files", ours, "git add -A; git commit", theirs, 1.0),
    ]


def _capture(shadows: Shadows, store: Store, shadow: object, base_tree: str, mark: int) -> None:
    upper = Path(shadow.path)  # type: ignore[attr-defined]
    for number in range(10):
        path = upper / "d0" / "e0" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"changed = {mark}\n")
    store.capture(base_tree, shadows.scan(shadow))  # type: ignore[arg-type]


def _commit_all(repository: Path, mark: int) -> None:
    for number in range(10):
        (repository / "d0" / "e0" / f"f{number}.py").write_text(f"changed = {mark}\n")
    command("git", "add", "-A", cwd=repository)
    command("git", "commit", "-q", "-m", str(mark), cwd=repository)


def measure_run(root: Path, env: dict[str, str], rounds: int) -> list[Row]:
    """Time four independent instant tasks from plan to review; the goal is five seconds on an idle machine."""
    repository = make_repository(root / "four", 20)
    tasks = "# four\n" + "".join(
        f"- [ ] {n}. task {n}\n  - Run: `echo {n} > out{n}.txt`\n  - Accept: `test -s out{n}.txt`\n"
        for n in range(1, 5)
    )
    (repository / "tasks.md").write_text(tasks)
    ours = clock(
        lambda: command(NIGHTCREW, "run", "-f", "tasks.md", "--yes", cwd=repository, env=env), rounds
    )
    bare = "for n in 1 2 3 4; do bash -c 'echo hello > /dev/null'; done"
    theirs = clock(lambda: command("bash", "-c", bare), rounds)
    return [
        Row("four instant tasks, plan to review", ours, "five seconds", 5000.0, 1),
        Row("  the same", ours, "the four commands bare", theirs, 1e9),
    ]


def main() -> int:
    """Measure, print the table, and tell which goals were missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--strict", action="store_true")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="nightcrew-bench-", dir=Path.home()))
    env = ENV | {
        "HOME": str(root / "home"),
        "XDG_STATE_HOME": str(root / "state"),
        "XDG_CONFIG_HOME": str(root / "config"),
    }
    try:
        repository = make_repository(root, options.files)
        rows = measure_command_line(options.rounds, env)
        rows += measure_sandbox(options.rounds)
        rows += measure_shadow(repository, root / "shadows", options.rounds)
        rows += measure_run(root, env, min(3, options.rounds))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if options.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows]))
    else:
        show(rows, options.files)
    missed = [row for row in rows if row.ratio > row.goal]
    return 1 if missed and options.strict else 0


def show(rows: list[Row], files: int) -> None:
    """Print the table, both numbers and the goal of each row."""
    print(f"medians in ms; repository of {files} files")
    print(f"{'what':<38}{'ours':>10}  {'yardstick':<26}{'':>10}{'ratio':>9}{'goal':>8}")
    for row in rows:
        goal = "-" if row.goal >= 1e9 else f"{row.goal:g}x"
        mark = "  MISSED" if row.ratio > row.goal else ""
        print(
            f"{row.what:<38}{row.ours_ms:>10.2f}  {row.yardstick:<26}{row.yardstick_ms:>10.2f}{row.ratio:>8.2f}x{goal:>8}{mark}"
        )


if __name__ == "__main__":
    sys.exit(main())
