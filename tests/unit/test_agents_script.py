"""The ``script`` adapter: both halves of its protocol, first against recorded lines, then against each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nightcrew.agents import script_peer
from nightcrew.agents.adapter import AgentEnd, Answer
from nightcrew.agents.script import ScriptSession, describe_step
from nightcrew.model.actions import Action
from nightcrew.model.isolation import Outcome
from nightcrew.model.plans import Step

EXITED = Outcome("exited", 0, 0.1)
WRITE = Step("write", "a.txt", "hello")
RUN = Step("run", "", "make")


class FakeDesk:
    """Answers by a table of commands; everything else is allowed."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[Action] = []
        self.done: list[Action] = []
        self.notes: list[str] = []

    def ask(self, action: Action) -> Answer:
        self.asked.append(action)
        return self.answers.get(action.command, Answer("allow"))

    def rest(self) -> bool:
        return True

    def finished(self, action: Action) -> None:
        self.done.append(action)

    def note(self, kind: str, text: str) -> None:
        self.notes.append(text)


class FakeProcess:
    """Keeps what the session sends."""

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []
        self.stopped = ""

    def write(self, data: bytes) -> None:
        self.sent += [json.loads(line) for line in data.splitlines()]

    def close_stdin(self) -> None:
        """Nothing closes it in this protocol."""

    def stop(self, reason: str) -> None:
        self.stopped = reason


def talk(
    desk: FakeDesk, steps: tuple[Step, ...], *lines: object, first: int = 0
) -> tuple[AgentEnd, FakeProcess]:
    """Let a session hear these lines and return how it ended and what it sent."""
    session, process = ScriptSession(steps, first, desk), FakeProcess()
    session.started(process)
    for line in lines:
        text = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
        session.feed("stdout", text)
    return session.conclude(EXITED), process


def test_each_step_is_asked_for_and_reported() -> None:
    desk = FakeDesk()
    end, process = talk(
        desk, (WRITE, RUN), {"ask": 0}, {"done": 0}, {"ask": 1}, {"done": 1}, {"end": "finished"}
    )
    assert end == AgentEnd("finished", "", {"step": 2})
    assert [action.kind for action in desk.asked] == ["write", "exec"]
    assert process.sent[0]["first"] == 0
    assert process.sent[1:] == [{"allow": 0}, {"allow": 1}]


def test_a_denial_is_told_with_its_reason() -> None:
    desk = FakeDesk(make=Answer("deny", "rule no.make, policy.yaml:3"))
    end, process = talk(desk, (RUN,), {"ask": 0}, {"end": "denied", "reason": "rule no.make"})
    assert process.sent[-1] == {"deny": 0, "reason": "rule no.make, policy.yaml:3"}
    assert end.result == "denied"


def test_an_open_question_ends_the_process_at_the_step_that_asked() -> None:
    desk = FakeDesk(make=Answer("wait", "a human must decide"))
    end, process = talk(desk, (WRITE, RUN), {"ask": 0}, {"done": 0}, {"ask": 1}, {"ask": 1})
    assert process.stopped == "a human must decide"
    assert end == AgentEnd("waiting", "a human must decide", {"step": 1})
    assert len(desk.asked) == 2


def test_going_on_begins_at_the_first_unfinished_step() -> None:
    end, process = talk(FakeDesk(), (WRITE, RUN), {"ask": 1}, {"done": 1}, {"end": "finished"}, first=1)
    assert process.sent[0]["first"] == 1
    assert end.result == "finished"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"ask": 0}, {"done": 0}],
        [{"end": "finished"}],
        [{"ask": 0}, {"end": "finished"}],
        [{"ask": 0}, {"done": 0}, {"ask": 1}, {"end": "failed", "reason": "no"}],
    ],
)
def test_exit_code_zero_is_no_success_without_every_step_and_the_last_word(lines: list[object]) -> None:
    assert talk(FakeDesk(), (WRITE, RUN), *lines)[0].result == "failed"


@pytest.mark.parametrize(
    "line",
    [{"ask": 1}, {"done": 0}, {"ask": "0"}, [], {"end": "great"}, b"\xff\n", b"{\n", b"x" * (1 << 16) + b"x"],
)
def test_anything_that_is_not_the_protocol_ends_the_process(line: object) -> None:
    end, process = talk(FakeDesk(), (WRITE, RUN), line)
    assert end.result == "failed"
    assert "protocol" in process.stopped


def test_lines_may_arrive_in_any_pieces() -> None:
    session, process = ScriptSession((WRITE,), 0, FakeDesk()), FakeProcess()
    session.started(process)
    for byte in b'{"ask": 0}\n{"done": 0}\n{"end": "finished"}\n':
        session.feed("stdout", bytes([byte]))
    assert session.conclude(EXITED).result == "finished"


def test_harmless_steps_are_not_asked_for() -> None:
    desk = FakeDesk()
    steps = (Step("say", "", "hi"), Step("sleep", "", "0"))
    talk(desk, steps, {"ask": 0}, {"done": 0}, {"ask": 1}, {"done": 1}, {"end": "finished"})
    assert desk.asked == []
    assert desk.notes == ["say hi", "sleep 0"]


def test_every_kind_of_step_is_a_different_action() -> None:
    steps = [Step(do, "p", "0644") for do in ("write", "append", "delete", "chmod", "symlink", "run", "say")]
    assert len({describe_step(step).digest for step in steps}) == len(steps)


def run_peer(
    tmp_path: Path, steps: list[dict[str, str]], answers: list[dict[str, object]], first: int = 0
) -> tuple[list[dict[str, object]], int]:
    """Run the real inside half in a folder and return what it said and its exit code."""
    order = [{"steps": steps, "first": first}, *answers]
    done = subprocess.run(
        [sys.executable, "-I", "-S", script_peer.__file__],
        input="".join(json.dumps(line) + "\n" for line in order),
        cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def step(do: str, path: str = "", text: str = "", on_denied: str = "stop") -> dict[str, str]:
    return {"do": do, "path": path, "text": text, "on_denied": on_denied}


def test_the_peer_does_what_it_was_allowed(tmp_path: Path) -> None:
    steps = [
        step("write", "a/b.txt", "one\n"), step("append", "a/b.txt", "two\n"), step("symlink", "l", "a/b.txt"),
        step("chmod", "a/b.txt", "755"), step("run", "", "cat a/b.txt > c.txt"), step("write", "l", "plain"),
        step("delete", "a"), step("say", "", "done"),
    ]  # fmt: skip
    said, code = run_peer(tmp_path, steps, [{"allow": number} for number in range(len(steps))])
    assert code == 0
    assert said[-1] == {"end": "finished", "reason": ""}
    assert (tmp_path / "c.txt").read_text() == "one\ntwo\n"
    assert (tmp_path / "l").read_text() == "plain"
    assert not (tmp_path / "a").exists()


def test_the_peer_stops_or_goes_on_after_a_denial(tmp_path: Path) -> None:
    steps = [step("write", "a", "x", "continue"), step("write", "b", "x"), step("write", "c", "x")]
    said, code = run_peer(tmp_path, steps, [{"deny": 0, "reason": "r"}, {"deny": 1, "reason": "never"}])
    assert said[-1] == {"end": "denied", "reason": "never"}
    assert code == 1
    assert list(tmp_path.iterdir()) == []


def test_the_peer_does_nothing_once_nobody_answers(tmp_path: Path) -> None:
    said, code = run_peer(tmp_path, [step("write", "a", "x")], [])
    assert said == [{"ask": 0}]
    assert code != 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (step("run", "", "exit 7"), "`exit 7` ended with exit code 7"),
        (step("delete", "nothing"), "No such file"),
        (step("chmod", ".", "rwx"), "rwx"),
    ],
)
def test_a_failed_step_is_the_end_and_says_which(tmp_path: Path, bad: dict[str, str], reason: str) -> None:
    said, code = run_peer(tmp_path, [step("say"), bad], [{"allow": 0}, {"allow": 1}])
    assert code == 1
    assert said[-1]["end"] == "failed"
    assert "step 2" in str(said[-1]["reason"])
    assert reason in str(said[-1]["reason"])


def test_leaving_early_with_zero_is_finished_and_with_more_is_not(tmp_path: Path) -> None:
    assert run_peer(tmp_path, [step("exit", "", "0")], [{"allow": 0}]) == (
        [{"ask": 0}, {"end": "finished"}],
        0,
    )
    assert run_peer(tmp_path, [step("exit", "", "9")], [{"allow": 0}]) == ([{"ask": 0}], 9)


def test_what_steps_print_never_mixes_with_the_protocol(tmp_path: Path) -> None:
    said, _ = run_peer(tmp_path, [step("run", "", 'echo \'{"end": "finished"}\'')], [{"allow": 0}])
    assert said == [{"ask": 0}, {"done": 0, "ok": True, "text": ""}, {"end": "finished", "reason": ""}]
