"""Rows: the installed command, against a bare interpreter and against the same work done by hand."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from ground import ENV, Files, Ground, command, make_repository
from rows import Act, Row, interleave

NIGHTCREW = shutil.which("nightcrew", path=str(Path(sys.executable).parent)) or "nightcrew"
TASKS = 4


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    env = ENV | {
        "HOME": str(ground.state / "home"),
        "XDG_STATE_HOME": str(ground.state / "home/state"),
        "XDG_CONFIG_HOME": str(ground.state / "home/config"),
    }
    yield from _answers(ground, rounds, env)
    yield from _hook(ground, rounds, env)
    yield from _night(ground, rounds, env)


def _answers(ground: Ground, rounds: int, env: dict[str, str]) -> Iterator[Row]:
    def answer(*words: str) -> Act:
        return Act(lambda: command(NIGHTCREW, *words, cwd=ground.repository, env=env))

    bare, version, listing = interleave(
        [Act(lambda: command(sys.executable, "-c", "pass")), answer("--version"), answer("ps")], rounds
    )
    yield Row("nightcrew --version", 0, version, "python -c pass", bare, 10)
    yield Row("nightcrew ps", 0, listing, "python -c pass", bare, 20)


def _hook(ground: Ground, rounds: int, env: dict[str, str]) -> Iterator[Row]:
    """What an agent's own hook costs before each tool, answered at once."""
    call = json.dumps({"tool_use_id": "c", "tool_name": "Bash", "tool_input": {"command": "ls"}}).encode()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_say_yes, args=(listening,), daemon=True).start()
        own = env | {"NIGHTCREW_HOOK": f"127.0.0.1:{listening.getsockname()[1]}"}
        words = ("hook", "claude", "PreToolUse")
        bare, hook = interleave(
            [
                Act(lambda: command(sys.executable, "-c", "pass")),
                Act(lambda: command(NIGHTCREW, *words, cwd=ground.repository, env=own, data=call)),
            ],
            rounds,
        )
        listening.shutdown(socket.SHUT_RDWR)
    yield Row("nightcrew hook", 0, hook, "python -c pass", bare, 5)


def _say_yes(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return  # the end of the measurement
        with connection:
            connection.recv(65536)
            connection.sendall(b'{"verdict": "allow"}\n')


def _night(ground: Ground, rounds: int, env: dict[str, str]) -> Iterator[Row]:
    """Four independent instant tasks from plan to review; the goal is five seconds on an idle machine."""
    repository = ground.state / "four"
    make_repository(repository, Files(100))
    tasks = "# four\n" + "".join(
        f"- [ ] {n}. task {n}\n  - Run: `echo {n} > out{n}.txt`\n  - Accept: `test -s out{n}.txt`\n"
        for n in range(1, TASKS + 1)
    )
    (repository / "tasks.md").write_text(tasks)
    bare = "for n in 1 2 3 4; do bash -c 'echo hello > /dev/null'; done"
    ours, theirs = interleave(
        [
            Act(lambda: command(NIGHTCREW, "run", "-f", "tasks.md", "--yes", cwd=repository, env=env)),
            Act(lambda: command("bash", "-c", bare)),
        ],
        rounds,
    )
    yield Row("four instant tasks, plan to review", 0, ours, "five seconds", 5000.0, 1)
    yield Row("four instant tasks, plan to review", 0, ours, "the four commands bare", theirs)
