"""A real repository, a real store and a promoter on them, for the tests of promotion.

Run as a program it is the process that gets killed: ``python promote_world.py <root> <what> <pickled prepared> [crash point [hit]]``.
"""

from __future__ import annotations

import os
import pickle
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nightcrew.host import crash
from nightcrew.host.clock import SystemClock
from nightcrew.host.repository import discover
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.promoter import Promoter

Content = Mapping[str, bytes | str | tuple[str, bytes] | None]
"""Path to new content: bytes (a file), text (a link to it), (mode, bytes), or None (deleted)."""


class World:
    """``<root>/repo`` is the user's repository, ``<root>/store`` ours, ``<root>/home`` the user's home."""

    def __init__(self, root: Path, repo: str = "repo") -> None:
        self.root = root
        self.repo = root / repo
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(root / "home"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(root / "home" / ".gitconfig"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }

    @classmethod
    def make(cls, root: Path, files: Content, repo: str = "repo") -> World:
        """Create everything, with one commit that has ``files``."""
        world = cls(root, repo)
        (root / "home").mkdir(parents=True)
        (root / "home" / ".gitconfig").write_text("[user]\n\tname = Dev\n\temail = dev@example.org\n")
        world.repo.mkdir(parents=True)
        world.git("init", "-q", "-b", "main")
        world.git("config", "gc.auto", "0")
        world.write(files)
        world.git("add", "-A")
        world.git("commit", "-q", "-m", "first")
        world.make_store()
        return world

    def make_store(self, *options: str) -> None:
        store = self.root / "store"
        subprocess.run(["git", "init", "-q", "--bare", *options, str(store)], env=self.env, check=True)
        objects = self.git_raw("rev-parse", "--path-format=absolute", "--git-path", "objects").rstrip(b"\n")
        (store / "objects" / "info" / "alternates").write_bytes(objects + b"\n")

    def git_raw(
        self, *args: str, cwd: Path | None = None, data: bytes = b"", env: Mapping[str, str] | None = None
    ) -> bytes:
        done = subprocess.run(
            ["git", *args],
            check=False,
            cwd=cwd or self.repo,
            env={**self.env, **(env or {})},
            input=data,
            capture_output=True,
        )
        if done.returncode:
            raise AssertionError(f"git {args}: {done.stderr[:2000]!r}")
        return done.stdout

    def git(self, *args: str) -> str:
        return os.fsdecode(self.git_raw(*args)).strip("\n")

    def write(self, files: Content) -> None:
        """Make the working tree so."""
        for path, content in files.items():
            write_one(self.repo, path, content)

    def tree(self, files: Content, base: str = "HEAD") -> str:
        """Return a tree in the store: that of ``base`` with ``files`` changed."""
        index = {"GIT_INDEX_FILE": str(self.root / "tree.index")}
        store = self.root / "store"
        commit = self.git("rev-parse", base)
        self.git_raw("--git-dir", str(store), "read-tree", commit, env=index)
        lines = []
        for path, content in files.items():
            if content is None:
                lines.append(b"0 " + b"0" * len(commit) + b"\t" + os.fsencode(path) + b"\0")
        for path, content in files.items():
            if content is None:
                continue
            mode, data = split_content(content)
            blob = self.git_raw("--git-dir", str(store), "hash-object", "-w", "--stdin", data=data).strip()
            lines.append(mode.encode() + b" " + blob + b"\t" + os.fsencode(path) + b"\0")
        self.git_raw(
            "--git-dir", str(store), "update-index", "-z", "--index-info", data=b"".join(lines), env=index
        )
        return os.fsdecode(self.git_raw("--git-dir", str(store), "write-tree", env=index)).strip()

    def promoter(self, state: Path | None = None) -> Promoter:
        return Promoter(
            discover(self.repo, self.env),
            store_git_dir=str(self.root / "store"),
            state_dir=state or self.root / "state",
            env=self.env,
            clock=SystemClock(),
        )

    def prepare(self, files: Content, id: str = "M-1", base: str = "HEAD", **more: object) -> Prepared:  # noqa: A002
        return self.prepare_with(self.promoter(), files, id, base, **more)

    def prepare_with(
        self,
        promoter: Promoter,
        files: Content,
        id: str = "M-1",  # noqa: A002
        base: str = "HEAD",
        **more: object,
    ) -> Prepared:
        commit = self.git("rev-parse", base)
        return promoter.prepare(
            id, base_commit=commit, tree=self.tree(files, commit), message="work\n\nRun: R-1\n", **more
        )

    def promote(self, files: Content, id: str = "M-1", base: str = "HEAD") -> PromotionRecord:  # noqa: A002
        """Promote as the command does it: who prepares also publishes."""
        promoter = self.promoter()
        prepared = self.prepare_with(promoter, files, id, base)
        promoter.publish(prepared)
        return record_of(prepared)

    def undo(self, record: PromotionRecord, id: str = "M-2") -> PromotionRecord:  # noqa: A002
        promoter = self.promoter()
        prepared = promoter.undo(record, id=id, message="undo")
        promoter.publish(prepared)
        return record_of(prepared)

    def snapshot(self, *, refs: bool = True) -> dict[str, object]:
        """Return everything of the user's that must be exactly old or exactly new."""
        found: dict[str, object] = {
            "status": self.git_raw("status", "--porcelain=v2", "--branch", "-z", "-uall", "--ignored"),
            "index": self.git_raw("ls-files", "-s", "-v", "-z"),
            "stash": self.git_raw("stash", "list"),
            "config": (self.repo / ".git" / "config").read_bytes() if (self.repo / ".git").is_dir() else b"",
            "files": walk(self.repo),
            "lock": (Path(self.git("rev-parse", "--absolute-git-dir")) / "index.lock").exists(),
        }
        if refs:
            listed = self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
            found["refs"] = [line for line in listed if not line.startswith("refs/nightcrew/")]
            found["head"] = self.git("rev-parse", "HEAD"), self.git("symbolic-ref", "-q", "HEAD")
        return found

    def run_killed(
        self, what: str, prepared: Prepared, point: str = "", hits: int = 1
    ) -> subprocess.Popen[bytes]:
        """Start a process that publishes and dies at ``point``."""
        place = self.root / "prepared.pickle"
        place.write_bytes(pickle.dumps(prepared))
        argv = [sys.executable, __file__, str(self.root), str(self.repo), what, str(place), point, str(hits)]
        return subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def record_of(prepared: Prepared, state: str = "published") -> PromotionRecord:
    return PromotionRecord(
        id=prepared.id,
        run="R-1",
        state=state,
        tasks=(),
        branch=prepared.branch,
        old_commit=prepared.old_commit,
        new_commit=prepared.new_commit,
        tree=prepared.tree,
        paths=prepared.paths,
        actor="dev",
        created_at="",
        transaction=prepared.transaction,
        undo_of=prepared.undo_of,
        place=prepared.place,
        start=prepared.start,
        commits=prepared.commits,
    )


def split_content(content: bytes | str | tuple[str, bytes]) -> tuple[str, bytes]:
    if isinstance(content, tuple):
        return content
    if isinstance(content, str):
        return "120000", os.fsencode(content)
    return "100644", content


def write_one(repo: Path, path: str, content: bytes | str | tuple[str, bytes] | None) -> None:
    place = repo / path
    if place.is_symlink() or place.is_file():
        place.unlink()
    if content is None:
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    mode, data = split_content(content)
    if mode == "120000":
        place.symlink_to(os.fsdecode(data))
        return
    place.write_bytes(data)
    place.chmod(0o755 if mode == "100755" else 0o644)


def walk(repo: Path) -> dict[str, tuple[object, ...]]:
    """Return path → (kind, mode, content) for everything in a working tree but its git directory."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(repo):
        if ".git" in folders:
            folders.remove(".git")
        for name in [*folders, *files]:
            place = Path(folder) / name
            status = place.lstat()
            mode = stat.S_IMODE(status.st_mode)
            path = str(place.relative_to(repo))
            if stat.S_ISLNK(status.st_mode):
                found[path] = ("link", mode, os.readlink(place))
            elif stat.S_ISDIR(status.st_mode):
                found[path] = ("directory", mode)
            elif not stat.S_ISREG(status.st_mode):
                found[path] = ("other", mode)
            elif path != ".git":
                found[path] = ("file", mode, place.read_bytes())
    return found


EFFECTS = (
    "os.rename",
    "os.link",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.symlink",
    "subprocess.Popen",
)


def die_before_effect(number: int) -> None:
    """Kill this process before its n-th file operation or process start, named point or not."""
    left = number

    def audit(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if event in EFFECTS or writes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)


def main(argv: list[str]) -> None:
    root, repo, what, place, point, hits = argv
    world = World(Path(root), str(Path(repo).relative_to(root)))
    prepared = pickle.loads(Path(place).read_bytes())
    if point == "effect":
        die_before_effect(int(hits))
    elif point:
        crash.arm(point, int(hits))
    if what == "publish":
        world.promoter().publish(prepared)
    else:
        world.promoter().recover()


if __name__ == "__main__":
    main(sys.argv[1:])
