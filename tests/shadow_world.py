"""A real repository with shadows, a checkpoint store and a launcher, for the tests of shadow and checkpoint."""

from __future__ import annotations

import functools
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nightcrew.checkpoint.store import Store
from nightcrew.host.repository import discover
from nightcrew.model.isolation import Bind, IsolationReport, Level, Process, SandboxSpec
from nightcrew.model.trees import Captured, Repository
from nightcrew.sandbox.launcher import Launcher
from nightcrew.shadow.ladder import Mode
from nightcrew.shadow.layering import Layering
from nightcrew.shadow.shadows import Shadow, Shadows

Content = bytes | str | tuple[int, bytes]
"""Bytes: a file; text: a symbolic link to it; (mode, bytes): a file with permission bits."""

OPERATIONS = Path(__file__).with_name("shadow_operations.py")


class World:
    """``<root>/repo`` is the user's repository, ``<root>/state`` ours, ``<root>/home`` the user's home.

    ``layered``: every export is a difference to one of a commit that looks quite different.
    """

    layered = False

    def __init__(self, root: Path, repo: str = "repo") -> None:
        self.root = root
        self.repo = root / repo
        self.state = root / "state"
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(root / "home" / ".gitconfig"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }
        self._store: Store | None = None

    @classmethod
    def make(
        cls, root: Path, files: Mapping[str, Content], *, repo: str = "repo", init: Sequence[str] = ()
    ) -> World:
        """Create everything, with one commit that has ``files``."""
        world = cls(root, repo)
        (root / "home").mkdir(parents=True)
        (root / "home" / ".gitconfig").write_text("[user]\n\tname = Dev\n\temail = dev@example.org\n")
        world.repo.mkdir(parents=True)
        world.git("init", "-q", "-b", "main", *init)
        write_files(world.repo, files)
        world.commit("first")
        return world

    @property
    def repository(self) -> Repository:
        return discover(self.repo, self.env)

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(self.state / "objects", self.repository, env=self.env)
        return self._store

    def shadows(
        self,
        mode: Mode = "overlay",
        environment: Sequence[str] = (),
        *,
        own_objects: str = "",
        layering: Layering | None = None,
    ) -> Shadows:
        if self.layered:
            own_objects, layering = str(self.root / "older"), Layering(max_share=1000.0)
        shadows = Shadows(
            self.state,
            self.repository,
            env=self.env,
            mode=mode,
            environment=environment,
            own_objects=own_objects,
            layering=layering,
        )
        if self.layered:
            shadows.export(self._make_older())
        return shadows

    def _make_older(self) -> str:
        """Make a commit that differs from HEAD in every way a layer must undo; the user's repository stays as it is."""
        older = self.root / "older"
        older.mkdir(exist_ok=True)
        paths = {
            "GIT_INDEX_FILE": str(older / "index"),
            "GIT_OBJECT_DIRECTORY": str(older),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": '"' + quote(f"{self.repository.common_dir}/objects") + '"',
        }
        self.env.update(paths)
        try:
            self.git("-c", "core.splitIndex=false", "read-tree", "HEAD")
            blob = self.git("hash-object", "-w", "--stdin", data=b"of old\n").strip()
            listed = self.git("ls-files", "-s", "-z").split("\0")[:-1]
            rows = []
            for number, row in enumerate(listed):
                mode, name = row.partition(" ")[0], row.partition("\t")[2]
                if name.endswith(".gitattributes"):
                    continue
                if number % 3 == 0:
                    rows.append(f"0 {'0' * len(blob)}\t{name}\0")
                    rows.append(f"100644 {blob}\t{name}/in/its/place\0")
                elif number % 3 == 1 and mode != "160000":
                    rows.append(f"100755 {blob}\t{name}\0")
            rows += [f"100644 {blob}\t{name}\0" for name in ("gone", "gone-too/a/b", "-odd \n", "z/\udcff")]
            data = os.fsencode("".join(rows))
            self.git("-c", "core.splitIndex=false", "update-index", "-z", "--index-info", data=data)
            tree = self.git("-c", "core.splitIndex=false", "write-tree", "--missing-ok").strip()
            return self.git("commit-tree", tree, "-m", "older").strip()
        finally:
            for name in paths:
                del self.env[name]

    def commit(self, message: str) -> str:
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *args: str, cwd: Path | None = None, data: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *args], cwd=cwd or self.repo, env=self.env, input=data, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return os.fsdecode(done.stdout)

    def run(self, shadows: Shadows, shadow: Shadow, script: str, *, ok: bool = True) -> str:
        """Run a shell script in the shadow, in a real sandbox, and return its output."""
        return self.run_argv(shadows, shadow, ("sh", "-c", script), ok=ok)

    def run_argv(self, shadows: Shadows, shadow: Shadow, argv: tuple[str, ...], *, ok: bool = True) -> str:
        overlays, binds = shadows.mounts(shadow)
        python = Bind(sys.base_prefix, sys.base_prefix)
        tools = Bind(str(OPERATIONS), "/run/tools/operations.py")
        spec = SandboxSpec(
            argv=argv,
            cwd=str(self.repo),
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "LC_ALL": "C.UTF-8"},
            overlays=overlays,
            binds=(*binds, python, tools),
            level=level(),
        )
        session = _Session()
        outcome = launcher().run(spec, session, cancel=threading.Event())
        output = os.fsdecode(bytes(session.output))
        assert not ok or (outcome.ending, outcome.exit_code) == ("exited", 0), f"{outcome}\n{output}"
        return output

    def operate(self, shadows: Shadows, shadow: Shadow, operations: Sequence[Sequence[object]]) -> None:
        """Apply operations (see shadow_operations.py) inside the sandbox."""
        python = str(Path(sys.base_prefix) / "bin" / "python3")
        text = json.dumps(operations)
        self.run_argv(shadows, shadow, (python, "-I", "-S", "/run/tools/operations.py", str(self.repo), text))

    def capture(self, shadows: Shadows, shadow: Shadow, base_tree: str = "") -> Captured:
        return self.store.capture(base_tree or shadow.base.tree, shadows.scan(shadow))

    def tree_of_directory(self, directory: Path) -> str:
        """Return what git itself makes of a plain directory, ignored files included."""
        scratch = tempfile.mkdtemp(dir=self.root)
        env = {
            "GIT_DIR": str(self.repo / ".git"),
            "GIT_WORK_TREE": str(directory),
            "GIT_INDEX_FILE": f"{scratch}/index",
        }
        for args in (["add", "-A", "-f", "."], ["write-tree"]):
            done = subprocess.run(
                ["git", *args], cwd=directory, env={**self.env, **env}, capture_output=True, check=True
            )
        return done.stdout.decode().strip()

    def close(self) -> None:
        if self._store is not None:
            self._store.close()


def quote(path: str) -> str:
    """Quote a path as git wants it in lists of object directories."""
    return path.replace("\\", "\\\\").replace('"', '\\"')


class _Session:
    def __init__(self) -> None:
        self.output = bytearray()

    def started(self, process: Process) -> None:
        process.close_stdin()

    def feed(self, stream: str, data: bytes) -> None:
        self.output += data


@functools.cache
def launcher() -> Launcher:
    return Launcher.start()


@functools.cache
def report() -> IsolationReport:
    """Return what this host can build, found out once."""
    with tempfile.TemporaryDirectory() as place:
        return launcher().probe(Path(place))


def level() -> Level:
    """Return the strongest level that works here; skip when there is none."""
    if report().level not in (Level.S3, Level.S2):
        import pytest  # late: the test as an ordinary user has an interpreter without it

        pytest.skip(f"this host cannot build a sandbox: {'; '.join(report().missing)}")
    return report().level


def needs_overlay(mode: str) -> None:
    """Skip when the host cannot mount an overlay and the test is about one."""
    if mode == "overlay" and not report().overlay:
        import pytest

        pytest.skip("this host cannot mount an overlay in a user namespace")


def write_files(root: Path, files: Mapping[str, Content]) -> None:
    """Write files into a plain directory."""
    for name, content in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            place.symlink_to(content)
        elif isinstance(content, tuple):
            place.write_bytes(content[1])
            place.chmod(content[0])
        else:
            place.write_bytes(content)


def read_files(root: Path) -> dict[str, Content]:
    """Return what is in a directory tree, ``.git`` apart, in the form that ``write_files`` takes."""
    found: dict[str, Content] = {}
    for path in _walk(root):
        name = os.path.relpath(path, root)
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            found[name] = os.readlink(path)
        else:
            content = Path(path).read_bytes()
            found[name] = (0o755, content) if mode & 0o100 else content
    return found


def snapshot(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return everything about a directory tree that must not change: kind, size, times and bytes, by path."""
    rows = {}
    for path in _walk(root, skip=()):
        found = os.lstat(path)
        content = b"" if stat.S_ISLNK(found.st_mode) else Path(path).read_bytes()
        rows[os.path.relpath(path, root)] = (found.st_mode, found.st_size, found.st_mtime_ns, content)
    return rows


def _walk(root: Path, skip: tuple[str, ...] = (".git",)) -> Iterator[str]:
    for directory, names, files in os.walk(root):
        if directory == str(root):
            names[:] = [name for name in names if name not in skip]
        yield from (os.path.join(directory, name) for name in files)
        yield from (p for name in names if os.path.islink(p := os.path.join(directory, name)))
