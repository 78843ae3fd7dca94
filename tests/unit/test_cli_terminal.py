"""What a person meets on a terminal: the digest of the plan, a live view, a yes for what changes the repository."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pytest

from nightcrew.model.text import measure
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = "- [ ] 1. one\n  - Run: echo one > one.txt\n  - Accept: test -f one.txt\n  - Scope: one.txt\n"


class Terminal:
    """A command on a terminal of its own; ``say`` types a line, ``until`` waits for words."""

    def __init__(self, crew: Hermetic, *arguments: str, columns: int = 0) -> None:
        self.master, slave = pty.openpty()
        env = {**crew.variables, "TERM": "xterm-256color"}
        if columns:
            env.pop("COLUMNS", None)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        argv = [*crew.program, *arguments]
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=crew.repo, start_new_session=True
        )
        os.close(slave)
        self.text = ""

    def until(self, condition: Callable[[str], bool], timeout_s: float = 40.0) -> str:
        end = time.monotonic() + timeout_s
        while not condition(self.text):
            if time.monotonic() > end:
                raise AssertionError(f"not within {timeout_s} s:\n{self.text}")
            if not self._read():
                break
        assert condition(self.text), self.text
        return self.text

    def say(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\n")

    def end(self, timeout_s: float = 40.0) -> int:
        end = time.monotonic() + timeout_s
        while self._read() and time.monotonic() < end:
            continue
        code = self.process.wait(timeout_s)
        os.close(self.master)
        return code

    def _read(self) -> bool:
        ready, _, _ = select.select([self.master], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)


def ask_digest(terminal: Terminal) -> str:
    text = terminal.until(lambda text: "first 4 digits of the digest: " in text)
    return text.partition("(type ")[2][:4]


def test_a_plan_is_approved_by_its_digits_and_followed_to_the_end(crew: Hermetic) -> None:
    terminal = Terminal(crew, "run", "-f", str(crew.write_plan(PLAN)))
    terminal.say(ask_digest(terminal))
    assert terminal.end() == 0
    assert "in_review" in terminal.text
    assert "T01" in terminal.text.rpartition("in_review")[2]


@pytest.mark.parametrize(("typed", "code"), [("", 5), ("zzzz", 7), ("0", 7)])
def test_enter_and_wrong_digits_approve_nothing(crew: Hermetic, typed: str, code: int) -> None:
    terminal = Terminal(crew, "run", "-f", str(crew.write_plan(PLAN)))
    ask_digest(terminal)
    terminal.say(typed)
    assert terminal.end() == code
    assert crew.show("R-1")["state"] == "awaiting_approval"


def test_interrupting_a_run_says_how_to_go_on(crew: Hermetic) -> None:
    plan = crew.write_plan("- [ ] 1. slow\n  - Run: sleep 60\n")
    terminal = Terminal(crew, "run", "-f", str(plan), "--yes")
    crew.wait_until(
        lambda: crew.run("ps", "--json").json[:1] and crew.show_tasks("R-1")["T01"]["state"] == "running"
    )
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "nightcrew resume R-1" in terminal.text
    assert crew.show("R-1")["state"] == "interrupted"


def test_promote_and_undo_ask_for_a_yes(crew: Hermetic) -> None:
    assert crew.run_tasks(PLAN).code == 0
    assert crew.run("accept", "R-1").code == 0
    before = crew.git("rev-parse", "HEAD")
    for answer in ("", "y", "no"):
        terminal = Terminal(crew, "promote", "R-1")
        terminal.until(lambda text: "type yes: " in text)
        terminal.say(answer)
        assert terminal.end() == 5
    assert crew.git("rev-parse", "HEAD") == before
    terminal = Terminal(crew, "promote", "R-1")
    terminal.until(lambda text: "type yes: " in text)
    terminal.say("yes")
    assert terminal.end() == 0
    assert crew.git("rev-parse", "HEAD") != before
    [promotion] = crew.show("R-1")["promotions"]
    terminal = Terminal(crew, "undo", promotion)
    terminal.until(lambda text: "type yes: " in text)
    terminal.say("yes")
    assert terminal.end() == 0
    assert crew.git("rev-parse", "HEAD") == before


def test_a_risky_action_is_approved_by_its_digits(crew: Hermetic) -> None:
    assert crew.run_tasks("- [ ] 1. push\n  - Run: git push origin main\n").code == 5
    [item] = crew.run("inbox", "--json").json
    assert item["risk"] == "high"
    terminal = Terminal(crew, "approve", item["id"], "--no-start")
    terminal.until(lambda text: "first 4 digits of the digest: " in text)
    assert "git push origin main" in terminal.text
    terminal.say("0000" if not item["digest"].startswith("0000") else "1111")
    assert terminal.end() == 7
    terminal = Terminal(crew, "approve", item["id"], "--no-start")
    terminal.until(lambda text: "first 4 digits of the digest: " in text)
    terminal.say(item["digest"][:4])
    assert terminal.end() == 0
    assert crew.show(item["id"])["state"] == "approved"


def test_no_input_asks_nothing_even_on_a_terminal(crew: Hermetic) -> None:
    terminal = Terminal(crew, "run", "-f", str(crew.write_plan(PLAN)), "--no-input")
    assert terminal.end() == 5
    assert "first 4 digits" not in terminal.text
    assert crew.show("R-1")["state"] == "awaiting_approval"


def test_quiet_leaves_results_warnings_and_errors(crew: Hermetic) -> None:
    done = crew.run("-q", "run", "-f", str(crew.write_plan(PLAN)), "--yes")
    assert done.code == 0
    assert "T01  succeeded" in done.stdout
    assert done.stderr == ""
    missing = crew.run("show", "R-7", "--quiet")
    assert missing.code == 3
    assert "error: no run R-7" in missing.stderr
    assert "hint:" in missing.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_list_of_runs_fits_the_window_and_a_pipe_gets_all_of_it(crew: Hermetic, columns: int) -> None:
    title = "A title that tells what the run is for in so many words that no window at all holds them: " * 2
    assert crew.run_tasks(f"# {title}\n- [x] 1. done already\n").code == 0
    terminal = Terminal(crew, "ps", "--all", columns=columns)
    assert terminal.end() == 0
    heading, line = terminal.text.replace("\r", "").rstrip("\n").split("\n")
    assert heading.endswith("TITLE")
    assert measure(line) <= columns
    assert line.endswith("…")
    assert title.strip() in crew.run("ps", "--all").stdout
