"""``acp``: any agent that speaks the Agent Client Protocol on its stdio; ``gemini`` and ``opencode`` with what each needs.

An agent asks with ``session/request_permission``. Only "allow once" is ever chosen: what is always allowed would not be
asked again. A rejection has no place for a reason there, so the reasons are told in a further prompt when the turn ends.
No service for files or terminals is offered: the agent works with its own tools in its own sandbox.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nightcrew.agents.acp_flavours import Flavour
from nightcrew.agents.adapter import AgentSession, Answer, Capabilities, Desk, Job, Launch
from nightcrew.agents.inquiries import read_form, write_form
from nightcrew.agents.launching import find_argv, show_memory
from nightcrew.agents.lines import Message, items, mapping, take, text
from nightcrew.agents.peer import Peer, find_token
from nightcrew.agents.prompts import write_continuation, write_denials, write_prompt
from nightcrew.agents.wishes import (
    make_relative,
    wish_command,
    wish_edit,
    wish_net,
    wish_other,
    wish_read,
    wish_write,
)
from nightcrew.model.actions import Action
from nightcrew.model.errors import UsageError
from nightcrew.model.settings import AgentSetting

PROTOCOL_VERSION: Final = 1
#: Prompts that only tell why something was denied; after that the agent knows all it can.
FOLLOW_UPS: Final = 3
#: Of its words between two calls, kept in the transcript as a remark; they are in its raw output in any case.
SAID_LIMIT: Final = 2000
_INITIALIZE, _RESUME, _NEW, _FIRST_PROMPT = 1, 2, 3, 4
_NOT_FOUND: Final = -32601
#: What agents call the folder that a command is to run in.
_FOLDERS: Final = ("workdir", "cwd", "dir_path", "directory")
_IN: Final = "[in "
#: Kinds of tool call that change something: one of these that is over must have been asked for.
_CHANGING: Final = frozenset({"edit", "delete", "move", "execute"})


class AcpDialect:
    """The client's side of the protocol."""

    def __init__(self, job: Job, flavour: Flavour) -> None:
        self._job = job
        self._flavour = flavour
        self._calls: dict[str, dict[str, Any]] = {}
        self._untold: list[str] = []
        self._follow_ups = 0
        self._said = ""
        self._prompts = _FIRST_PROMPT - 1

    def begin(self, peer: Peer) -> None:
        """Say what we can: nothing but decide."""
        can = {
            "fs": {"readTextFile": False, "writeTextFile": False},
            "terminal": False,
            "elicitation": {"form": {}},
        }
        params = {"protocolVersion": PROTOCOL_VERSION, "clientCapabilities": can}
        self._request(peer, _INITIALIZE, "initialize", params)

    def hear(self, peer: Peer, message: Message) -> None:
        """Take one message: an answer to us, a question, or news."""
        method = text(message, "method")
        if method == "session/request_permission" and "id" in message:
            self._hear_question(peer, message["id"], mapping(message, "params"))
        elif method == "elicitation/create" and "id" in message:
            self._hear_inquiry(peer, message["id"], mapping(message, "params"))
        elif method and "id" in message:
            error = {"code": _NOT_FOUND, "message": f"{method} is not offered: work with your own tools"}
            peer.send({"jsonrpc": "2.0", "id": message["id"], "error": error})
        elif method == "session/update":
            self._hear_update(peer, mapping(message, "params", "update"))
        elif not method and "id" in message:
            self._hear_answer(peer, message["id"], message)

    def _request(self, peer: Peer, number: int, method: str, params: Mapping[str, Any]) -> None:
        peer.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    # -- answers ------------------------------------------------------------------------------------------------------

    def _hear_answer(self, peer: Peer, number: Any, message: Message) -> None:
        if number == _RESUME and "error" in message:
            peer.note("step", "its own conversation cannot be taken up; it begins a new one")
            self._open_new(peer)
        elif "error" in message:
            error = text(message, "error", "message") or "no reason given"
            details = text(message, "error", "data", "details")
            peer.fail(f"the agent gave up: {error}{': ' if details else ''}{details[:500]}")
        elif number == _INITIALIZE:
            self._open_session(peer, mapping(message, "result", "agentCapabilities"))
        elif number == _RESUME:
            peer.token = find_token(self._job)
            self._prompt(peer, write_continuation(self._job))
        elif number == _NEW:
            peer.token = text(message, "result", "sessionId")
            self._prompt(peer, write_prompt(self._job))
        elif number == self._prompts:
            self._end_turn(peer, mapping(message, "result"))

    def _open_session(self, peer: Peer, can: Message) -> None:
        token = find_token(self._job)
        resumes = isinstance(take(can, "sessionCapabilities", "resume"), dict)
        if token and self._flavour.resumes and (resumes or can.get("loadSession") is True):
            params = {"sessionId": token, "cwd": self._job.cwd, "mcpServers": []}
            self._request(peer, _RESUME, "session/resume" if resumes else "session/load", params)
        else:
            self._open_new(peer)

    def _open_new(self, peer: Peer) -> None:
        self._request(peer, _NEW, "session/new", {"cwd": self._job.cwd, "mcpServers": []})

    def _prompt(self, peer: Peer, told: str) -> None:
        self._prompts += 1
        params = {"sessionId": peer.token, "prompt": [{"type": "text", "text": told}]}
        self._request(peer, self._prompts, "session/prompt", params)

    def _end_turn(self, peer: Peer, result: Message) -> None:
        self._note_said(peer)
        spent = mapping(result, "usage") or mapping(result, "_meta", "quota", "token_count")
        peer.note("usage", ", ".join(f"{name} {number}" for name, number in spent.items()))
        reason = text(result, "stopReason")
        if reason != "end_turn":
            peer.fail(f"the agent gave up: {reason or 'no reason given'}")
        elif self._untold and self._follow_ups < FOLLOW_UPS:
            self._follow_ups += 1
            reasons, self._untold = self._untold, []
            self._prompt(peer, write_denials(reasons))
        else:
            peer.finish()

    # -- questions ----------------------------------------------------------------------------------------------------

    def _hear_question(self, peer: Peer, number: Any, params: Message) -> None:
        asked = mapping(params, "toolCall")
        call = self._learn(asked)
        action = describe_call(asked, call, self._job.cwd)
        answer = peer.ask(text(asked, "toolCallId"), action)
        if answer is None:
            return
        if answer.verdict == "deny":
            self._untold.append(f"{action.describe()}: {answer.reason}")
        outcome = _choose(answer, items(params, "options"))
        peer.send({"jsonrpc": "2.0", "id": number, "result": {"outcome": outcome}})

    def _hear_inquiry(self, peer: Peer, number: Any, params: Message) -> None:
        """Put the fields of a form to the person; a form that cannot be asked in words is declined."""
        asked = read_form(params)
        replies = (
            peer.inquire(text(params, "toolCallId"), *(field.inquiry for field in asked)) if asked else ()
        )
        if replies is not None:
            peer.send({"jsonrpc": "2.0", "id": number, "result": write_form(asked, replies)})

    def _learn(self, told: Message) -> Mapping[str, Any]:
        """Keep what is said of a call; later words stand for earlier ones, empty ones say nothing."""
        name = text(told, "toolCallId")
        call = self._calls.setdefault(name, {}) if name else {}
        call.update({name: value for name, value in told.items() if value})
        return call

    # -- news ---------------------------------------------------------------------------------------------------------

    def _hear_update(self, peer: Peer, update: Message) -> None:
        match text(update, "sessionUpdate"):
            case "tool_call" | "tool_call_update":
                self._hear_call(peer, update)
            case "agent_message_chunk":
                self._said = (self._said + text(update, "content", "text"))[:SAID_LIMIT]
            case _:
                return  # thoughts, plans, modes, commands, what later versions say

    def _note_said(self, peer: Peer) -> None:
        """Its words come in pieces; what they are said before ends them."""
        peer.note("says", self._said)
        self._said = ""

    def _hear_call(self, peer: Peer, update: Message) -> None:
        self._note_said(peer)
        call, name = self._learn(update), text(update, "toolCallId")
        status = text(update, "status")
        if status == "completed" and (peer.knows(name) or text(call, "kind") in _CHANGING):
            peer.finished(name, text(call, "title") or text(call, "kind"), call.get("rawInput"))
        elif status == "failed" and peer.knows(name):
            # It may have done a part of it, unless it was denied.
            peer.finished(name, text(call, "title"), call.get("rawInput"), done=False)
        if status in ("completed", "failed"):
            self._calls.pop(name, None)


def describe_call(asked: Message, call: Message, cwd: str) -> Action:
    """Return the action that a permission is asked for.

    Args:
        asked: the tool call as the question has it; what it says counts. call: with all that was said of it before.
    """
    given = asked.get("rawInput") or call.get("rawInput")
    title = text(asked, "title") or text(call, "title")
    match text(asked, "kind") or text(call, "kind"):
        case "execute":
            command = take(given, "command")
            if isinstance(command, list):
                command = shlex.join(str(word) for word in command)
            line = command if isinstance(command, str) and command else title
            folder = _find_folder(given, asked)
            if not line or folder is None:
                return wish_other("a command that is not shown", asked)
            elsewhere = folder and make_relative(folder, cwd) != "."
            return wish_command(f"cd {shlex.quote(folder)} && {line}" if elsewhere else line)
        case "edit" | "move":
            return _describe_edit(asked, call, given, cwd)
        case "delete":
            paths = _find_paths(asked) or _find_paths(call)
            return (
                wish_edit(paths, given, cwd=cwd, kind="delete") if paths else wish_other("a deletion", asked)
            )
        case "read" | "search":
            return wish_read(next(iter(_find_paths(asked)), "."), cwd=cwd)
        case "fetch":
            return wish_net(f"GET {text(given, 'url') or title}")
        case kind:
            return wish_other(f"{kind or 'tool'} {title}", given)


def _find_folder(given: Any, asked: Message) -> str | None:
    """Return where a command is to run, empty where nothing else is said; None when that cannot be told for certain."""
    named = next((text(given, key) for key in _FOLDERS if text(given, key)), "")
    if named:
        return named
    # Gemini says it in words only, before what the model says of the command.
    for each in items(asked, "content"):
        said = text(each, "content", "text")
        if said.startswith(_IN):
            folder, _, rest = said.removeprefix(_IN).partition("]")
            return folder if not rest or rest.startswith((" (", " [background]")) else None
    return ""


def _describe_edit(asked: Message, call: Message, given: Any, cwd: str) -> Action:
    content = items(asked, "content") or items(call, "content")
    diffs = [each for each in content if text(each, "type") == "diff" and text(each, "path")]
    if len(diffs) == 1:
        return wish_write(text(diffs[0], "path"), text(diffs[0], "newText"), cwd=cwd)
    paths = tuple(text(each, "path") for each in diffs) or _find_paths(asked) or _find_paths(call)
    if not paths:
        return wish_other("a change that is not shown", asked)
    return wish_edit(paths, diffs or given, cwd=cwd)


def _find_paths(call: Message) -> tuple[str, ...]:
    return tuple(text(each, "path") for each in items(call, "locations") if text(each, "path"))


def _choose(answer: Answer, options: Sequence[Any]) -> Mapping[str, Any]:
    """Return the option of just this once; without one the question counts as cancelled, and nothing is done."""
    kind = "allow_once" if answer.verdict == "allow" else "reject_once"
    for option in options:
        if text(option, "kind") == kind and text(option, "optionId"):
            return {"outcome": "selected", "optionId": text(option, "optionId")}
    return {"outcome": "cancelled"}


class AcpAdapter:
    """One flavour of it; see the module's own words."""

    def __init__(self, flavour: Flavour) -> None:
        self._flavour = flavour

    @property
    def name(self) -> str:
        """Of the flavour."""
        return self._flavour.name

    @property
    def capabilities(self) -> Capabilities:
        """Of the flavour."""
        return self._flavour.capabilities

    def find_program(self, setting: AgentSetting) -> str:
        """The first word of the command line."""
        return next(iter(setting.argv or self._flavour.argv), "")

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Nothing beforehand: what it asks for is decided when its turn comes."""
        return ()

    def prepare(self, job: Job) -> Launch:
        """Return the command line of the setting, or the flavour's own, and what the flavour needs beside."""
        flavour = self._flavour
        words = job.setting.argv or flavour.argv
        if not words:
            raise UsageError(
                f"the agent {job.task.agent} has no command line",
                where=[str(job.task.place)],
                hint="name it in config.yaml: agents: {NAME: {adapter: acp, argv: [program, --acp]}}",
            )
        memory, binds = show_memory(job)
        equipment = flavour.equip(job, memory)
        program = job.program
        own = () if job.setting.argv else flavour.argv[1:]
        return Launch(
            argv=(*find_argv(job, words[0]), *own, *equipment.words),
            env={**equipment.env, **job.setting.env},
            binds=(*(program.binds if program else ()), *binds, *equipment.binds),
            files=equipment.files,
            search=program.search if program else (),
        )

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session."""
        asks_all = self.capabilities.approvals == "all"
        return Peer(AcpDialect(job, self._flavour), job, desk, asks_all=asks_all)
