"""What an agent says at its end, in full: for questions whose answer is a text and not a change of files.

The sessions of the adapters keep of an agent's words what a transcript needs. Here every byte that it prints is read beside
them, in the words of its protocol; of an agent without one, what it prints is the answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Literal

from nightcrew.agents.adapter import AgentEnd, AgentSession, Standing
from nightcrew.agents.lines import BrokenProtocol, JsonLines, Message, mapping, take, text
from nightcrew.model.isolation import Outcome, Process

#: Longest answer that is kept; its end, because that is where an answer stands.
LIMIT: Final = 1 << 20


def _read_claude(message: Message, said: str) -> str:
    if text(message, "type") == "result":
        shaped = message.get("structured_output")
        return json.dumps(shaped) if isinstance(shaped, dict) else text(message, "result") or said
    return said


def _read_codex(message: Message, said: str) -> str:
    item = mapping(message, "params", "item")
    finished = text(message, "method") == "item/completed" and text(item, "type") == "agentMessage"
    return text(item, "text") or said if finished else said


def _read_acp(message: Message, said: str) -> str:
    update = mapping(message, "params", "update")
    spoken = (
        text(message, "method") == "session/update" and text(update, "sessionUpdate") == "agent_message_chunk"
    )
    return said + text(update, "content", "text") if spoken else said


def _read_api(message: Message, said: str) -> str:
    found = take(message, "answer")
    return json.dumps(found) if isinstance(found, dict) else found if isinstance(found, str) else said


#: Adapter → reads one message: takes what was said before, returns what is said by now.
_READERS: Final[Mapping[str, Callable[[Message, str], str]]] = {
    "claude": _read_claude,
    "codex": _read_codex,
    "acp": _read_acp,
    "gemini": _read_acp,
    "opencode": _read_acp,
    "api": _read_api,
}


#: Adapters without a protocol that can be asked: what they print is the answer.
_PRINTING: Final = frozenset({"aider"})


class Listening:
    """A session that another one drives, and whose words are kept.

    Args:
        session: drives the agent. adapter: name of its adapter.

    Attributes:
        answer: what it has said by now.
    """

    def __init__(self, session: AgentSession, adapter: str) -> None:
        self._session = session
        self._read = _READERS.get(adapter)
        self._lines = JsonLines()
        self._broken = False
        self.answer = ""

    def started(self, process: Process) -> None:
        """See AgentSession."""
        self._session.started(process)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """See AgentSession."""
        if stream == "stdout":
            self._keep(data)
        self._session.feed(stream, data)

    def standing(self) -> Standing:
        """See AgentSession."""
        return self._session.standing()

    def conclude(self, outcome: Outcome) -> AgentEnd:
        """See AgentSession."""
        return self._session.conclude(outcome)

    def _keep(self, data: bytes) -> None:
        if self._read is None:
            self.answer = (self.answer + data.decode("utf-8", "replace"))[-LIMIT:]
            return
        try:
            for message in () if self._broken else self._lines.feed(data):
                self.answer = self._read(message, self.answer)[-LIMIT:]
        except BrokenProtocol:
            # The session that drives it sees the same, and ends it.
            self._broken = True


def takes_questions(adapter: str, argv: tuple[str, ...]) -> bool:
    """Tell whether an agent can be asked something in words: it speaks a protocol, or is a program that takes a prompt."""
    return adapter in _READERS or adapter in _PRINTING or bool(argv and adapter == "command")
