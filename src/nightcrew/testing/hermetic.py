"""A hermetic place to drive the installed ``nightcrew`` in: own home, own settings, own git, own clock zone.

Nothing of the caller's environment gets in but the way to programs. Everything lies below one folder that the caller
made and removes; ``find_processes`` finds what a test left running there.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from nightcrew.host.clock import SystemClock
from nightcrew.host.procs import Completed, run, start_detached
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.testing import looker

WIDTH: Final = 100
"""Columns of the screen in every test."""
GIT_CONFIG: Final = """[user]
\tname = Hermetic
\temail = hermetic@example.org
[init]
\tdefaultBranch = main
[core]
\tautocrlf = false
[commit]
\tgpgSign = false
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One finished command: what was typed, its exit code and what it wrote."""

    args: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    timed_out: bool

    @property
    def json(self) -> Any:
        """What stdout holds as JSON; a command that wrote none fails here with all that it did write."""
        try:
            return json.loads(self.stdout)
        except ValueError as error:
            raise AssertionError(f"no JSON on stdout\n{self}") from error

    def __str__(self) -> str:
        late = " (killed at its deadline)" if self.timed_out else ""
        return (
            f"$ {' '.join(self.args)}\nexit code {self.code}{late}\n{self.stdout}\n--- stderr\n{self.stderr}"
        )


class Hermetic:
    """One user with one repository on one machine.

    Attributes:
        root: everything lies below it. home: of the user. repo: the repository (made by ``make_repository``).
        state: the state directory of nightcrew. variables: the whole environment of every command.
    """

    def __init__(self, root: Path, *, program: Sequence[str] = ()) -> None:
        self.root = root
        self.home = root / "home"
        self.repo = root / "repo"
        self.state = root / "state" / "nightcrew"
        self.program = tuple(program) or find_program()
        self.variables = self._make_environment()
        self._clock = SystemClock()
        self._asked = 0
        for folder in (self.home, root / "tmp", root / "config"):
            folder.mkdir(parents=True, exist_ok=True)
        (self.home / ".gitconfig").write_text(GIT_CONFIG, encoding="utf-8")

    def _make_environment(self) -> dict[str, str]:
        path = f"{Path(self.program[0]).parent}:{read_environment().path}"
        return {
            "PATH": path,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "TMPDIR": str(self.root / "tmp"),
            "GIT_CONFIG_GLOBAL": str(self.home / ".gitconfig"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": str(WIDTH),
            "TERM": "dumb",
        }

    def make_repository(self, files: Mapping[str, str | bytes], *, message: str = "first") -> Path:
        """Make ``repo`` a git repository with these files committed on ``main``, and return it."""
        self.repo.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.write(files)
        self.commit(message)
        return self.repo

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files into the repository's folder, uncommitted."""
        for name, content in files.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str) -> str:
        """Commit everything in the repository and return the commit id."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *args: str, cwd: Path | None = None) -> str:
        """Run git as the user and return its stdout.

        Raises:
            AssertionError: git failed.
        """
        done = run(["git", *args], env=self.variables, cwd=cwd or self.repo, timeout_s=60)
        if not done.ok:
            raise AssertionError(str(_read(done)))
        return done.stdout.decode("utf-8", "surrogateescape")

    def run(
        self,
        *args: str,
        cwd: Path | None = None,
        timeout_s: float = 60.0,
        extra: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run ``nightcrew`` with these arguments in the repository and return how it went.

        Args:
            args: as typed behind ``nightcrew``.
            cwd: another folder.
            timeout_s: after this the whole process group is killed; ``timed_out`` tells.
            extra: further environment variables.
        """
        self._asked += 1
        env = {**self.variables, **(extra or {})}
        return _read(run([*self.program, *args], env=env, cwd=cwd or self.repo, timeout_s=timeout_s))

    def look(
        self,
        *args: str,
        cwd: Path | None = None,
        timeout_s: float = 60.0,
        extra: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run a command that changes nothing, like ``run`` but in a fork of a process that has loaded ``nightcrew`` already.

        For what a test asks again and again. What decides, changes or starts something goes through ``run``; so does everything
        where the program is not the installed one alone.
        """
        if self.program != find_program():
            return self.run(*args, cwd=cwd, timeout_s=timeout_s, extra=extra)
        self._asked += 1
        env = {**self.variables, **(extra or {})}
        argv = [*self.program, *args]
        return _read(looker.look(argv, env=env, cwd=cwd or self.repo, timeout_s=timeout_s))

    def write_plan(self, text: str, *, scripts: Mapping[str, str] | None = None) -> Path:
        """Write a tasks file (and scripts beside it) outside the repository, and return its path."""
        folder = self.root / "plans"
        folder.mkdir(exist_ok=True)
        for name, content in {"tasks.md": text, **(scripts or {})}.items():
            (folder / name).write_text(content, encoding="utf-8")
        return folder / "tasks.md"

    def run_tasks(
        self,
        text: str,
        *options: str,
        scripts: Mapping[str, str] | None = None,
        timeout_s: float = 90.0,
        extra: Mapping[str, str] | None = None,
    ) -> Ran:
        """Plan, approve and run a tasks file: ``nightcrew run -f … --yes --json``."""
        plan = self.write_plan(text, scripts=scripts)
        return self.run("run", "-f", str(plan), "--yes", "--json", *options, timeout_s=timeout_s, extra=extra)

    def show(self, name: str) -> dict[str, Any]:
        """Return ``nightcrew show NAME --json``.

        Raises:
            AssertionError: it failed.
        """
        done = self.look("show", name, "--json")
        if done.code != 0:
            raise AssertionError(str(done))
        view: dict[str, Any] = done.json
        return view

    def show_tasks(self, run: str) -> dict[str, dict[str, Any]]:
        """Return the tasks of a run by their names (``T01``)."""
        return by_name(self.show(run))

    def start(self, *args: str, log: Path, extra: Mapping[str, str] | None = None) -> int:
        """Start ``nightcrew`` and return its process id at once; what it writes goes to ``log``."""
        env = {**self.variables, **(extra or {})}
        return start_detached([*self.program, *args], env=env, cwd=self.repo, log=log)

    def wait_until(self, condition: Callable[[], Any], *, timeout_s: float = 30.0, what: str = "it") -> Any:
        """Ask ``condition`` until it is true and return its answer.

        A condition that asks ``nightcrew`` itself is asked again when the journal has grown, or after a second: a command
        that answers the same as before takes the processor from what is waited for.

        Raises:
            AssertionError: not within ``timeout_s``.
        """
        end = self._clock.monotonic() + timeout_s
        asked, grown = self._asked, self._measure_journal()
        while not (answer := condition()):
            if self._clock.monotonic() > end:
                raise AssertionError(f"{what} did not happen within {timeout_s:g} s")
            self._clock.sleep(0.05)
            if self._asked > asked:
                self._await_growth(grown, min(end, self._clock.monotonic() + 1.0))
            asked, grown = self._asked, self._measure_journal()
        return answer

    def _await_growth(self, before: int, end: float) -> None:
        while self._measure_journal() == before and self._clock.monotonic() < end:
            self._clock.sleep(0.05)

    def _measure_journal(self) -> int:
        """Return the number of the last event; every change of state has one. 0 where there is no journal (yet)."""
        path = self.state / "nightcrew.db"
        if not path.exists():
            return 0
        try:
            with closing(
                sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)
            ) as database:
                return int(database.execute("SELECT max(seq) FROM nc_events").fetchone()[0] or 0)
        except sqlite3.Error:  # being made, or damaged on purpose
            return 0

    def find_processes(self) -> Iterator[int]:
        """Yield the ids of live processes that were started in this place (they carry its HOME)."""
        wanted = f"HOME={self.home}".encode()
        yield from _find_processes("environ", wanted, whole=True)

    def find_commands(self, token: str) -> list[int]:
        """Return the ids of live processes, sandboxed ones too, that have ``token`` in their command line."""
        return list(_find_processes("cmdline", token.encode(), whole=False))


def by_name(view: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks of a run's JSON by their names (``T01``)."""
    return {task["id"].partition("/")[2]: task for task in view["tasks"]}


def find_program() -> tuple[str, ...]:
    """Return the ``nightcrew`` that is installed beside this interpreter.

    Raises:
        AssertionError: it is not installed; these tests are about the command a user types.
    """
    program = Path(sys.executable).parent / "nightcrew"
    if not program.exists():
        raise AssertionError(f"{program} does not exist: install nightcrew into this environment (uv sync)")
    return (str(program),)


def _read(done: Completed) -> Ran:
    out, err = (data.decode("utf-8", "surrogateescape") for data in (done.stdout, done.stderr))
    return Ran(done.argv, done.code, out, err, done.timed_out)


def _find_processes(name: str, wanted: bytes, *, whole: bool) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            content = (entry / name).read_bytes()
            state = (entry / "stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:  # it ended while we looked, or belongs to somebody else
            continue
        found = wanted in content.split(b"\0") if whole else wanted in content
        if found and state not in (b"Z", b"X"):
            yield int(entry.name)
