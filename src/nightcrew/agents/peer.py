"""One session for every agent that speaks lines of JSON on its stdin and stdout.

A *dialect* knows the words of one agent: it turns messages into wishes and verdicts into messages. What must hold for
all of them is here: a verdict before every action, in the journal before it is sent; nothing more is said once the
session is over; success only by the agent's own last word; an action that was done without an answer freezes the task.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

from nightcrew.agents.adapter import AgentEnd, Answer, Desk, Job, Reply, Standing
from nightcrew.agents.lines import BrokenProtocol, JsonLines, Message, text
from nightcrew.agents.verdicts import Verdicts
from nightcrew.agents.wishes import wish_other
from nightcrew.host import crash
from nightcrew.model.actions import Action
from nightcrew.model.inquiries import Inquiry
from nightcrew.model.isolation import Outcome, Process

#: Of what an agent says, kept per message in the transcript; its raw output is there anyway.
NOTE_LIMIT: Final = 400
#: Finished actions that are remembered for a new conversation.
DONE_LIMIT: Final = 400
#: After its last word an agent may take so long to leave; what is left of its tree then is killed.
LEAVE_S: Final = 3.0
REMEMBER_S: Final = 0.5
"""So long an agent that must wait may go on writing its own conversation down: Claude Code does so a tenth of a second after it
has spoken, and does again what it does not find there. It stands at its question meanwhile, and nothing more is answered."""
BROKE: Final = "the agent broke its protocol"


class Dialect(Protocol):
    """The words of one kind of agent."""

    def begin(self, peer: Peer) -> None:
        """The process exists: say the first words."""

    def hear(self, peer: Peer, message: Message) -> None:
        """Take one message; fields may lack and types may be wrong. What is not known is ignored."""


class Peer:
    """The outside half of a conversation with one agent; an AgentSession.

    Args:
        dialect: of this agent; one per session, it may keep what it needs to.
        job, desk: of the attempt.
        asks_all: every action must have been asked for; one that was not freezes the task.

    Attributes:
        token: name of the agent's own conversation, once known.
        verdicts: what its dialect answered, where the agent has hooks of its own.
    """

    def __init__(self, dialect: Dialect, job: Job, desk: Desk, *, asks_all: bool) -> None:
        self.job = job
        self.token = ""
        self._dialect = dialect
        self._desk = desk
        self._asks_all = asks_all
        self._lines = JsonLines()
        self._process: Process | None = None
        self._end: AgentEnd | None = None
        self._allowed: dict[str, tuple[Action, ...]] = {}
        self._answered: set[str] = set()
        self._denied: set[str] = set()
        self._done: list[str] = [each for each in job.progress.get("done", ()) if isinstance(each, str)]
        self._asked = ""
        self._spoken = False
        self._leaving: threading.Timer | None = None
        self.verdicts = Verdicts()

    # -- what the engine calls ----------------------------------------------------------------------------------------

    def started(self, process: Process) -> None:
        """Let the dialect begin."""
        self._process = process
        self._dialect.begin(self)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Read messages from stdout; stderr is only for the transcript."""
        if stream != "stdout" or self.is_over():
            return
        try:
            for message in self._lines.feed(data):
                self._dialect.hear(self, message)
                if self.is_over():
                    return
        except BrokenProtocol as broken:
            self.fail(f"{BROKE}: {broken.message}")

    def standing(self) -> Standing:
        """Its conversation is ahead of any checkpoint, so nobody may go on from one with it."""
        return Standing(between=False, progress=self._progress())

    def conclude(self, outcome: Outcome) -> AgentEnd:
        """Only its terminal event counts; exit code 0 without it is a failure."""
        if self._leaving is not None:
            self._leaving.cancel()
        if self._end is not None:
            return self._end
        said = "" if self._spoken else "; it never spoke its protocol"
        reason = f"the agent ended (exit code {outcome.exit_code}) before it said that it was finished{said}"
        return AgentEnd("failed", reason, self._progress())

    # -- what dialects call -------------------------------------------------------------------------------------------

    def is_over(self) -> bool:
        """True once the end is known: nothing more is heard or said."""
        return self._end is not None

    def send(self, message: Mapping[str, Any]) -> None:
        """Say something to the agent."""
        if self._process is not None and not self.is_over():
            self._process.write(json.dumps(message).encode("ascii") + b"\n")

    def ask(self, call: str, *actions: Action) -> Answer | None:
        """Return the verdict on what one call would do; None when the session is over: a human must decide first.

        Args:
            call: the agent's own id of it, by which its end is recognised.
            actions: one, or several that stand or fall together.
        """
        self._spoken = True
        crash.point("agents.asked")
        answer = Answer("deny", "it does not say what it would do")
        for action in actions:
            answer = self._desk.ask(action)
            self._desk.note("step", f"{answer.verdict}: {action.describe()}")
            if answer.verdict == "wait":
                self._asked = action.describe()
                self._stop(AgentEnd("waiting", answer.reason, self._progress()))
                return None
            if answer.verdict == "deny":
                break
        if call:
            self._answered.add(call)
            # An id that is used again stands for what was answered last.
            self._allowed.pop(call, None)
            self._denied.discard(call)
        if call and answer.verdict == "allow":
            self._allowed[call] = actions
        elif call:
            self._denied.add(call)
        return answer

    def inquire(self, call: str, *inquiries: Inquiry) -> tuple[Reply, ...] | None:
        """Return what becomes of the questions that one call puts to the person; None when the session is over: they
        must answer first.
        """
        self._spoken = True
        replies = tuple(self._desk.inquire(each) for each in inquiries)
        for inquiry, reply in zip(inquiries, replies, strict=True):
            self._desk.note("step", f"question {reply.verdict}: {inquiry.text}")
        waiting = next((reply for reply in replies if reply.verdict == "wait"), None)
        if waiting is not None:
            self._asked = ""
            self._stop(AgentEnd("waiting", waiting.text, self._progress()))
            return None
        self.settle(call)
        return replies

    def settle(self, call: str) -> None:
        """Take note that a call needs no verdict of policy, or got one already: it does nothing by itself."""
        self._spoken = True
        if call:
            self._answered.add(call)

    def knows(self, call: str) -> bool:
        """Tell whether a call got an answer."""
        return call in self._answered

    def finished(self, call: str, name: str, given: Any, *, done: bool = True) -> None:
        """An action is over, as the agent says; one that nobody has answered, or that was denied, freezes the task.

        Args:
            call: its id. name, given: the tool and its arguments, to tell of one that was not asked for.
            done: it was carried out. One that was denied is over too, and was not.
        """
        if call in self._allowed:
            for action in self._allowed.pop(call):
                if action.kind != "read":
                    self._done.append(action.describe())
                    del self._done[:-DONE_LIMIT]
                    self._desk.finished(action)
        elif call not in self._answered:
            self._report_unasked(name, given, "before it was answered")
        elif call in self._denied and done:
            self._report_unasked(name, given, "although it was denied")

    def recall(self, call: str, tool: str, given: Mapping[str, Any], patience_s: float) -> tuple[str, str]:
        """Return what was answered to a call, for a hook of the agent's own; see ``engine.hooks``."""
        return self.verdicts.recall(call, tool, given, patience_s)

    def dropped(self, call: str) -> None:
        """A call ended without being carried out, as the agent says: no reason to remember it."""
        self._allowed.pop(call, None)

    def note(self, kind: str, said: str) -> None:
        """Write something to the transcript."""
        if said:
            self._desk.note(kind, said[:NOTE_LIMIT])

    def finish(self) -> None:
        """The agent said that it is done: its terminal event. It may leave by itself, but not stay."""
        if self.is_over():
            return
        self._end = AgentEnd("finished", "", self._progress())
        if self._process is not None:
            self._process.close_stdin()
            self._leaving = threading.Timer(LEAVE_S, self._process.stop, ["it has finished, and stays"])
            self._leaving.daemon = True
            self._leaving.start()

    def fail(self, reason: str) -> None:
        """The agent said that it could not go on, or cannot be understood."""
        self._stop(AgentEnd("failed", reason, self._progress()))

    # -- in here ------------------------------------------------------------------------------------------------------

    def _report_unasked(self, name: str, given: Any, how: str) -> None:
        action = wish_other(f"done without an answer: {name}", given)
        if not self._asks_all:
            self._desk.note("step", f"carried out {how}: {name}")
            return
        self._asked = ""
        reason = f"{name} was carried out {how}: {_shorten(given)}"
        self._stop(AgentEnd("waiting", self._desk.freeze(action, reason).reason, self._progress()))

    def _progress(self) -> Mapping[str, Any]:
        return {"session": self.token, "done": list(self._done), "asked": self._asked}

    def _stop(self, end: AgentEnd) -> None:
        if self.is_over():
            return
        self._end = end
        if self._process is not None:
            if end.result == "waiting" and self.job.memory is not None:
                threading.Event().wait(REMEMBER_S)
            self._process.stop(end.reason)


def find_token(job: Job) -> str:
    """Return the name of the agent's own conversation to take up; empty when there is none that fits the files."""
    return text(job.progress, "session") if job.remembers else ""


def _shorten(given: Any) -> str:
    return str(given)[:NOTE_LIMIT]
