"""Where it is measured: a repository of a given size, the same every time, and everything of ours for it."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path

from nightcrew.checkpoint.store import Store
from nightcrew.host import repository as host_repository
from nightcrew.model.isolation import Bind, Level, Limits, Overlay, SandboxSpec
from nightcrew.model.trees import Repository
from nightcrew.sandbox.launcher import Launcher
from nightcrew.shadow.export import Base
from nightcrew.shadow.shadows import Shadow, Shadows

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "bench",
    "GIT_AUTHOR_EMAIL": "bench@invalid",
    "GIT_COMMITTER_NAME": "bench",
    "GIT_COMMITTER_EMAIL": "bench@invalid",
    "GIT_AUTHOR_DATE": "@1700000000 +0000",
    "GIT_COMMITTER_DATE": "@1700000000 +0000",
}
SANDBOX_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
NEXT_FILES = 200
"""Files that the commit after the base changes."""


def command(*argv: str, cwd: Path | None = None, data: bytes | None = None, env: dict[str, str] = ENV) -> str:
    """Run a program and return what it prints; a failure ends the benchmark."""
    done = subprocess.run(argv, check=False, cwd=cwd, env=env, input=data, capture_output=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(argv)}: exit {done.returncode}\n{done.stderr.decode(errors='replace')[:2000]}"
        )
    return os.fsdecode(done.stdout).strip()


class Files:
    """Names and contents of a repository of ``number`` files, and of one folder with a hundredth of them in it.

    Contents are text with few repetitions, of 200 bytes to 60 kB, 4 kB on average, as in ordinary source trees.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        dice = random.Random(7)
        words = [
            "".join(dice.choices("abcdefghijklmnopqrstuvwxyz_", k=dice.randint(2, 12))) for _ in range(4000)
        ]
        lines = (" ".join(dice.choices(words, k=dice.randint(1, 12))) for _ in range(40_000))
        self._text = ("\n".join(lines) + "\n").encode()
        self.paths = [f"p{n // 1000:03}/m{n // 25:05}/f{n:06}.py" for n in range(number - number // 100)]
        self.paths += [f"wide/w{n:06}.txt" for n in range(number // 100)]

    def content(self, at: int, mark: int = 0) -> bytes:
        """Return the bytes of the file number ``at``; with a mark, one line of its middle is another."""
        dice = random.Random(at)
        size = int(min(60_000, max(200, dice.lognormvariate(7.8, 1.0))))
        start = dice.randrange(len(self._text) - 60_000)
        text = self._text[start : start + size]
        if not mark:
            return text
        middle = text.index(b"\n", size // 2) if b"\n" in text[size // 2 :] else size
        return text[:middle] + b"\nchanged = %d\n" % (mark * 1_000_003 + at) + text[middle + 1 :]

    def spread(self, number: int, seed: int = 1) -> list[int]:
        """Return that many files from all over the repository."""
        return sorted(random.Random(seed).sample(range(self.number), number))

    def write(self, root: Path, chosen: Sequence[int], mark: int) -> None:
        """Write changed files below a directory."""
        for at in chosen:
            place = root / self.paths[at]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.content(at, mark))


class Silence:
    """A session that keeps what the process says."""

    def __init__(self) -> None:
        self.said = bytearray()

    def started(self, process: object) -> None:
        process.close_stdin()  # type: ignore[attr-defined]

    def feed(self, stream: str, data: bytes) -> None:
        self.said += data


class Ground:
    """One repository and our parts for it.

    Attributes:
        repository: the user's; ``main`` is checked out and clean.
        other: a working tree of the same commit, where the yardsticks do their work.
        fresh: numbers that none had before, for names and contents.
        worktree_ms: what ``git worktree add`` took in this run, 0 when nobody has measured it yet.
    """

    def __init__(self, place: Path, files: int) -> None:
        self.place = place
        self.files = Files(files)
        self.repository = place / "repository"
        self.other = place / "other"
        self.fresh = count(1)
        self.worktree_ms = 0.0
        self._launcher: Launcher | None = None
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            make_repository(self.repository, self.files)
            command("git", "worktree", "add", "-q", "--detach", str(self.other), "main", cwd=self.repository)
            (place / "complete").touch()
        self._alone = (place / "complete").open()
        try:
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another benchmark works in {place}") from None
        self.state = place / f"state-{os.getpid()}"
        self.state.mkdir()

    @property
    def number(self) -> int:
        return self.files.number

    @cached_property
    def known(self) -> Repository:
        return host_repository.discover(self.repository, ENV)

    @cached_property
    def head(self) -> str:
        return command("git", "rev-parse", "main", cwd=self.repository)

    @cached_property
    def later(self) -> str:
        return command("git", "rev-parse", "next", cwd=self.repository)

    @cached_property
    def shadows(self) -> Shadows:
        return self.new_shadows(self.state)

    def new_shadows(self, state: Path) -> Shadows:
        own = str(state / "objects/objects")
        return Shadows(state, self.known, env=ENV, mode="overlay", environment=(), own_objects=own)

    @cached_property
    def base(self) -> Base:
        return self.shadows.export(self.head)

    @cached_property
    def store(self) -> Store:
        return Store(self.state / "objects", self.known, env=ENV)

    @property
    def launcher(self) -> Launcher:
        if self._launcher is None:
            self._launcher = Launcher.start()
        return self._launcher

    def spec(
        self, argv: Sequence[str], shadow: Shadow | None = None, binds: Sequence[Bind] = ()
    ) -> SandboxSpec:
        overlays: tuple[Overlay, ...] = ()
        if shadow is not None:
            overlays, more = self.shadows.mounts(shadow)
            binds = (*more, *binds)
        return SandboxSpec(
            argv=tuple(argv),
            cwd=str(self.repository) if shadow else "/",
            env=SANDBOX_ENV,
            overlays=overlays,
            binds=tuple(binds),
            limits=Limits(disk_bytes=0, inodes=0, output_bytes=1 << 20),
            level=Level.S3,
        )

    def confined(
        self, argv: Sequence[str], shadow: Shadow | None = None, binds: Sequence[Bind] = ()
    ) -> bytes:
        """Run a program in a sandbox and return what it says; a failure ends the benchmark."""
        session = Silence()
        outcome = self.launcher.run(self.spec(argv, shadow, binds), session, cancel=threading.Event())
        if outcome.exit_code != 0:
            raise SystemExit(f"{argv}: {outcome} {bytes(session.said).decode(errors='replace')[:2000]}")
        return bytes(session.said)

    def close(self) -> None:
        if self._launcher is not None:
            self._launcher.close()
        self.store.close()
        shutil.rmtree(self.state, ignore_errors=True)
        command("git", "checkout", "-q", "-f", "--detach", "main", cwd=self.other)
        command("git", "clean", "-qfdx", cwd=self.other)
        self._alone.close()


def make_repository(repository: Path, files: Files) -> None:
    """Make a repository with ``main`` checked out, and ``next`` one commit later."""
    command("git", "init", "-q", "-b", "main", str(repository))
    for setting in ("gc.auto 0", "core.compression 1"):
        command("git", "config", *setting.split(), cwd=repository)
    argv = ["git", "fast-import", "--quiet", "--force", "--depth=1"]
    with subprocess.Popen(argv, cwd=repository, env=ENV, stdin=subprocess.PIPE) as loader:
        assert loader.stdin is not None
        for piece in _stream(files):
            loader.stdin.write(piece)
    if loader.returncode:
        raise SystemExit(f"git fast-import: exit {loader.returncode}")
    command("git", "reset", "-q", "--hard", "main", cwd=repository)


def _stream(files: Files) -> Iterator[bytes]:
    yield _commit("main", b"base")
    for at in range(files.number):
        yield _file(files.paths[at], files.content(at))
    yield _commit("next", b"next") + b"from refs/heads/main\n"
    for at in files.spread(min(NEXT_FILES, files.number // 5)):
        yield _file(files.paths[at], files.content(at, mark=1))


def _commit(branch: str, message: bytes) -> bytes:
    head = f"commit refs/heads/{branch}\ncommitter bench <bench@invalid> 1700000000 +0000\n".encode()
    return head + b"data %d\n%b\n" % (len(message), message)


def _file(path: str, content: bytes) -> bytes:
    return b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content)
