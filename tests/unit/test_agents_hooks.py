"""The second net: what a hook says when it is asked, when nobody answers, and what the other end knows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nightcrew.agents import hook
from nightcrew.agents.verdicts import MOST, UNKNOWN, Verdicts
from nightcrew.engine.work.hooks import HookDoor
from nightcrew.testing.hermetic import find_program

CALL = {"tool_use_id": "c1", "tool_name": "Bash", "tool_input": {"command": "ls"}, "session_id": "s"}
PROGRAM = Path(hook.__file__)


def run(
    data: str, *words: str, address: str = "", installed: bool = False
) -> subprocess.CompletedProcess[str]:
    argv = [*find_program(), "hook"] if installed else [sys.executable, "-I", "-S", str(PROGRAM)]
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", hook.ADDRESS: address}
    return subprocess.run(
        [*argv, *words], input=data, capture_output=True, text=True, env=env, timeout=60, check=False
    )


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        (json.dumps(CALL), ("claude", "PreToolUse"), "nobody can be asked"),
        ("{", ("claude", "PreToolUse"), "no call of a tool"),
        ("[]", ("gemini", "BeforeTool"), "no call of a tool"),
        ("", ("codex", "PreToolUse"), "no call of a tool"),
        (json.dumps(CALL), ("claude", "SessionStart"), "nobody decides on SessionStart"),
        (json.dumps(CALL), ("nobody", "PreToolUse"), "no hook for the agent nobody"),
    ],
)
def test_without_an_answer_it_denies(installed: bool, data: str, words: tuple[str, str], said: str) -> None:
    done = run(data, *words, installed=installed)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert said in done.stderr


def test_nobody_at_the_address_and_a_silent_one_deny(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(json.dumps(CALL), "claude", "PreToolUse", address="127.0.0.1:1").returncode == 2
    assert run(json.dumps(CALL), "claude", "PreToolUse", address="nonsense").returncode == 2
    monkeypatch.setattr(hook, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(hook.ADDRESS, f"127.0.0.1:{silent.getsockname()[1]}")
        assert hook.decide("claude", "PreToolUse", json.dumps(CALL).encode())[0] == "deny"


@pytest.mark.parametrize("answer", [b"", b"yes\n", b"[]\n", b'{"verdict": "ask"}\n', b'{"verdict": true}\n'])
def test_an_answer_that_is_no_plain_yes_denies(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(hook.ADDRESS, f"127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert hook.decide("claude", "PreToolUse", json.dumps(CALL).encode())[0] == "deny"
        thread.join()


def test_the_other_end_tells_what_was_decided_on_just_this_call(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = Verdicts()
    monkeypatch.setattr(hook, "ANSWER_S", 11.0)

    class Session:
        def recall(
            self, call: str, tool: str, given: dict[str, object], patience_s: float
        ) -> tuple[str, str]:
            return verdicts.recall(call, tool, given, min(patience_s, 0.3))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        door = HookDoor(Session(), address)
        (exit_,) = door.exits
        with door.serve({exit_.name: listening}):
            data = json.dumps(CALL)
            early = threading.Timer(0.1, verdicts.put, ["c1", "Bash", CALL["tool_input"], "allow", ""])
            early.start()
            allowed = run(data, "claude", "PreToolUse", address=address)
            assert (allowed.returncode, json.loads(allowed.stdout)["continue"]) == (0, True)
            other = run(data.replace('"ls"', '"rm -r /"'), "claude", "PreToolUse", address=address)
            assert (other.returncode, UNKNOWN in other.stderr) == (2, True)
            verdicts.put("c1", "Bash", CALL["tool_input"], "deny", "rule x says no")
            denied = run(data, "claude", "PreToolUse", address=address)
            assert (denied.returncode, "rule x says no" in denied.stderr) == (2, True)
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as odd:
                odd.sendall(b'{"call": 3}\n')
                assert json.loads(odd.recv(4096))["verdict"] == "deny"


def test_what_is_remembered_is_bounded() -> None:
    verdicts = Verdicts()
    for number in range(MOST + 5):
        verdicts.put(str(number), "Bash", {}, "allow", "")
    began = time.monotonic()
    assert verdicts.recall("0", "Bash", {}, 0.0) == ("deny", UNKNOWN)
    assert verdicts.recall(str(MOST + 4), "Bash", {}, 0.0) == ("allow", "")
    assert time.monotonic() >= began
