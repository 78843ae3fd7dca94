"""``script``: a recorded list of steps, done by a small peer inside the sandbox that asks before each one.

It is the same way of working that real agents with a protocol use (ask, wait for the verdict, act, report), without a
model: for demonstrations, for tests, and for work that is already known. Finished steps are counted, so an attempt that
was parked for an approval goes on at the very step that asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from nightcrew.agents.adapter import (
    INSIDE,
    AgentEnd,
    AgentSession,
    Capabilities,
    Desk,
    Job,
    Launch,
    Standing,
)
from nightcrew.model.actions import Action
from nightcrew.model.inquiries import Inquiry
from nightcrew.model.isolation import Bind, Outcome, Process
from nightcrew.model.plans import Step
from nightcrew.model.settings import AgentSetting

PEER: Final = "script_peer.py"
#: Steps without an effect on anything: allowed without a question.
HARMLESS: Final = frozenset({"say", "sleep", "exit"})
#: Longest protocol line; the peer's own lines are below 200 bytes, so more is not our peer speaking.
LINE_LIMIT_BYTES: Final = 1 << 16


def describe_step(step: Step) -> Action:
    """Return the action a step stands for."""
    if step.do == "run":
        return Action(kind="exec", command=step.text, purpose="step")
    if step.do in ("write", "append"):
        content = hashlib.sha256(step.text.encode("utf-8", "surrogateescape")).hexdigest()
        detail = "append" if step.do == "append" else ""
        return Action(kind="write", paths=(step.path,), content_sha256=content, detail=detail)
    if step.do == "question" and step.path:
        return Action(kind="write", paths=(step.path,), detail=f"the answer to: {step.text}")
    if step.do in ("delete", "chmod", "symlink"):
        return Action(kind=step.do, paths=(step.path,), detail=step.text)
    return Action(kind="other", detail=f"{step.do} {step.text}".strip())


class ScriptSession:
    """The outside half of the protocol."""

    def __init__(self, steps: tuple[Step, ...], first: int, desk: Desk) -> None:
        self._steps = steps
        self._desk = desk
        self._next = first
        self._answered = False
        self._process: Process | None = None
        self._pending = b""
        self._end: AgentEnd | None = None

    def started(self, process: Process) -> None:
        """Send the steps."""
        self._process = process
        steps = [{"do": s.do, "path": s.path, "text": s.text, "on_denied": s.on_denied} for s in self._steps]
        self._send({"steps": steps, "first": self._next})

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Read protocol lines from stdout; stderr is only for the transcript."""
        if stream != "stdout":
            return
        self._pending += data
        while not self._ended() and b"\n" in self._pending:
            line, self._pending = self._pending.split(b"\n", 1)
            self._hear(line)
        if self._ended():
            self._pending = b""
        elif len(self._pending) > LINE_LIMIT_BYTES:
            self._stop("failed", "the agent broke its protocol: an endless line")

    def standing(self) -> Standing:
        """Between two steps nothing is answered that is not reported as done."""
        between = not self._answered
        return Standing(between, self._progress())

    def conclude(self, outcome: Outcome) -> AgentEnd:
        """Only the terminal event counts; exit code 0 without it is a failure."""
        if self._end is None:
            return AgentEnd(
                "failed",
                f"the agent ended (exit code {outcome.exit_code}) before it said that it was finished",
                self._progress(),
            )
        return self._end

    def _ended(self) -> bool:
        return self._end is not None

    def _hear(self, line: bytes) -> None:
        message = _read_line(line)
        if message.get("ask") == self._next < len(self._steps) and not self._answered:
            self._answer(self._steps[self._next])
        elif message.get("done") == self._next and self._answered:
            step = self._steps[self._next]
            # In this order: ``standing`` is asked from another thread, and must not see an old number as finished.
            self._next += 1
            self._answered = False
            self._desk.finished(describe_step(step))
        elif message.get("end") in ("finished", "failed", "denied"):
            self._finish(str(message["end"]), str(message.get("reason", "")))
        else:
            self._stop("failed", "the agent broke its protocol")

    def _answer(self, step: Step) -> None:
        number = self._next
        if step.do == "question":
            self._inquire(step)
            return
        if step.do in HARMLESS:
            if not self._desk.rest():
                self._stop("waiting", "the task is paused")
                return
            self._desk.note("step", f"{step.do} {step.text}".strip())
            self._reply({"allow": number})
            return
        self._ask(describe_step(step), {"allow": number})

    def _inquire(self, step: Step) -> None:
        """Put a question to the person; its answer is a step of its own where it is written to a file."""
        number = self._next
        reply = self._desk.inquire(Inquiry(step.text, step.choices))
        self._desk.note("step", f"question {reply.verdict}: {step.text}")
        if reply.verdict == "wait":
            self._stop("waiting", reply.text)
        elif reply.verdict == "refused":
            self._reply({"deny": number, "reason": reply.text})
        elif step.path:
            self._ask(describe_step(step), {"allow": number, "answer": reply.text})
        else:
            self._reply({"allow": number, "answer": reply.text})

    def _ask(self, action: Action, allowed: Mapping[str, Any]) -> None:
        answer = self._desk.ask(action)
        self._desk.note("step", f"{answer.verdict}: {action.describe()}")
        if answer.verdict == "wait":
            self._stop("waiting", answer.reason)
        elif answer.verdict == "deny":
            self._reply({"deny": self._next, "reason": answer.reason})
        else:
            self._reply(allowed)

    def _reply(self, message: Mapping[str, Any]) -> None:
        # Before it is sent: from now on the step may be under way.
        self._answered = True
        self._send(message)

    def _finish(self, how: str, reason: str) -> None:
        """Believe ``finished`` only when every step was reported, or its last one was a wanted ``exit``."""
        left = self._next < len(self._steps)
        if how == "finished" and left and self._steps[self._next].do != "exit":
            self._end = AgentEnd("failed", "the agent ended before its last step", self._progress())
        elif how == "finished":
            self._end = AgentEnd("finished", "", self._progress())
        else:
            self._end = AgentEnd("denied" if how == "denied" else "failed", reason, self._progress())

    def _stop(self, result: Literal["failed", "waiting"], reason: str) -> None:
        self._end = AgentEnd(result, reason, self._progress())
        if self._process is not None:
            self._process.stop(reason)

    def _progress(self) -> Mapping[str, Any]:
        return {"step": self._next}

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is not None:
            self._process.write(json.dumps(message).encode("ascii") + b"\n")


class ScriptAdapter:
    """See the module's own words."""

    name: Final = "script"
    capabilities: Final = Capabilities(
        approvals="all",
        fail_closed=True,
        deny_continues=True,
        resume="exact",
        deterministic=True,
        needs_network=False,
        note="asks before every step; goes on at the step that asked",
        asks_person=True,
    )

    def find_program(self, setting: AgentSetting) -> str:
        """None: its peer is a file of ours, run by our own interpreter."""
        return ""

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Nothing beforehand: every step asks when its turn comes."""
        return ()

    def prepare(self, job: Job) -> Launch:
        """Return the interpreter and the peer's one file."""
        source = str(Path(__file__).with_name(PEER))
        if not job.mounted:
            return Launch(argv=(job.python, "-I", "-S", source), binds=(Bind(source, source),))
        inside = f"{INSIDE}/{PEER}"
        return Launch(argv=(job.python, "-I", "-S", inside), binds=(Bind(source, inside),))

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session, beginning at the first step that is not finished."""
        return ScriptSession(job.task.steps, int(job.progress.get("step", 0)), desk)


def _read_line(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
