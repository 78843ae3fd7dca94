"""A night of tasks that take too much or do not end: each ends in a clear state, told in words; the honest one lands. By root and by an
ordinary user, for whom other walls hold than for root (no control group counts for them)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sandbox_world import python_for, users

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay, pytest.mark.timeout(300)]

SOURCE = Path(__file__).resolve().parents[2] / "src"
LIBRARIES = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
PROCESSES = 64
SETTINGS = f"""version: 1
max_parallel: 3
retries: {{attempts: 1}}
limits: {{memory: 256MiB, processes: {PROCESSES}, disk: 64MiB, inodes: 2000, file: 32MiB, output: 1MiB}}
timeouts: {{idle: 6s, hard: 15s, grace: 300ms}}
"""
#: What it does → state of its task, and what a person is told of it.
EXPECTED = {
    "bomb": ("succeeded", ""),
    "memory": ("failed", "more than 268435456 bytes of memory in use"),
    "shared": ("failed", "exit code 1|bytes of memory in use"),
    "disk": ("failed", "more than 64MiB written"),
    "inodes": (
        "failed",
        "more than 2000 files and directories written|files created, above the hard limit of 100",
    ),
    "line": ("succeeded", ""),
    "silent": ("failed", "no output for 6 s"),
    "deaf": ("failed", "still running after 15 s"),
    "daemon": ("succeeded", ""),
    "file": ("failed", "exit code 1"),
    "honest": ("succeeded", ""),
}
PROGRAM = """
import os, signal, sys, time
what, token = sys.argv[1:3]
def bomb():
    count = 0
    for _ in range(600):
        try: pid = os.fork()
        except OSError: break
        if pid == 0:
            time.sleep(60); os._exit(0)
        count += 1
    open("count.txt", "w").write(str(count)); time.sleep(2)
def memory():
    kept = []
    for n in range(64): kept.append(bytearray(b"x") * (16 << 20))
    time.sleep(3)
def shared():
    for place in ("/tmp", "/dev/shm", "/var/tmp", os.environ["HOME"]):
        for n in range(64):
            with open(f"{place}/{n}", "wb") as file: file.write(bytes(16 << 20))
def disk():
    for n in range(64): open(f"d{n}", "wb").write(os.urandom(8 << 20))
    time.sleep(3)
def inodes():
    for n in range(20000): open(f"i{n}", "w").close()
    time.sleep(3)
def line():
    for n in range(256): sys.stdout.write("x" * 65536)
    open("line.txt", "w").write("ok")
def silent():
    time.sleep(600)
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True: print("still here", flush=True); time.sleep(0.2)
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2): os.dup2(null, fd)
            os.execv("/bin/sleep", ["sleep", f"600.{token}"])
        os._exit(0)
    os.wait(); time.sleep(0.3); open("daemon.txt", "w").write("ok")
def file():
    with open("big", "wb") as f: f.truncate(1 << 40)
globals()[what]()
"""


@dataclass(frozen=True)
class Person:
    """Somebody with a repository of their own, who runs the command."""

    uid: int
    home: Path

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        env = {
            "HOME": str(self.home), "TMPDIR": str(self.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
            "PYTHONPATH": f"{SOURCE}:{LIBRARIES}", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.invalid",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.invalid",
        }  # fmt: skip
        user = {} if self.uid == os.getuid() else {"user": self.uid, "group": self.uid, "extra_groups": []}
        return subprocess.run(
            argv,
            cwd=self.home / "repo",
            env=env,
            capture_output=True,
            text=True,
            check=check,
            timeout=240,
            **user,
        )

    def nightcrew(self, *words: str) -> subprocess.CompletedProcess[str]:
        python = sys.executable if self.uid == os.getuid() else python_for(self.uid)
        return self.run(python, "-m", "nightcrew", *words, check=False)


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "user")
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    home = Path(tempfile.mkdtemp(prefix="nightcrew-greedy-", dir="/var/tmp"))
    found = Person(request.param, home)
    (home / ".config/nightcrew").mkdir(parents=True)
    (home / ".config/nightcrew/config.yaml").write_text(SETTINGS)
    (home / "repo").mkdir()
    (home / "repo/greed.py").write_text(PROGRAM)
    for each in (home, *home.rglob("*")):
        os.chown(each, found.uid, found.uid)
    found.run("git", "init", "-q", "-b", "main")
    found.run("git", "add", ".")
    found.run("git", "commit", "-q", "-m", "one")
    yield found
    shutil.rmtree(home, ignore_errors=True)


def find_processes(token: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue  # it has ended meanwhile
        if token.encode() in line and f"\0{token}".encode() not in line:
            found.append(line.decode(errors="replace"))
    return found


def make_tasks(token: str) -> str:
    parts = ["# Greedy\n"]
    for number, what in enumerate(EXPECTED, 1):
        words = "echo fine > fine.txt" if what == "honest" else f"python3 greed.py {what} {token}"
        parts.append(f"- [ ] {number}. {what}\n  - Run: {words}\n")
    return "".join(parts) + "  - Accept: test -s fine.txt\n"


def test_each_ends_in_words_and_the_rest_goes_on(person: Person) -> None:
    token = f"{os.getpid()}{person.uid:05d}7"
    (person.home / "tasks.md").write_text(make_tasks(token))
    done = person.nightcrew("run", "-f", "../tasks.md", "--yes")
    assert done.returncode == 10, done.stdout[-3000:] + done.stderr[-3000:]
    assert find_processes(f"600.{token}") == [], "a daemon outlived its task"
    shown: dict[str, Any] = json.loads(person.nightcrew("show", "R-1", "--json").stdout)
    assert shown["isolation"] == "S3"
    tasks = dict(zip(EXPECTED, shown["tasks"], strict=True))
    assert {what: task["state"] for what, task in tasks.items()} == {
        what: state for what, (state, _) in EXPECTED.items()
    }
    for what, (_, said) in EXPECTED.items():
        assert re.search(said, tasks[what]["reason"]), tasks[what]
    assert tasks["honest"]["verified"] == "verified"
    told = person.nightcrew("why", tasks["shared"]["id"])
    assert "No space left on device" in told.stdout or "memory" in told.stdout, told
    # The bomb stopped by itself at what it was given, and what it counted is all that came of it.
    patch = person.nightcrew("diff", tasks["bomb"]["id"]).stdout
    [count] = re.findall(r"^\+(\d+)$", patch, re.MULTILINE)
    assert 0 < int(count) <= PROCESSES
    # Of the endless line no more was kept than allowed.
    kept = [path.stat().st_size for path in person.home.rglob("runs/R-1/*/*.jsonl")]
    assert 1 << 19 < max(kept) < 2 << 20, kept
    assert person.nightcrew("accept", tasks["honest"]["id"]).returncode == 0
    assert person.nightcrew("promote", "R-1", "--yes").returncode == 0
    assert person.run("git", "status", "--porcelain").stdout == ""
    assert person.run("git", "ls-files").stdout.split() == ["fine.txt", "greed.py"]
