"""``codex``: the Codex command line, driven over its app server.

``approvalPolicy: untrusted`` with ``approvalsReviewer: user`` exists in this protocol only: every command (``ls`` too) and
every patch with its diff is a question to us. Its own sandbox is switched off, because it stands in ours. A denial has no
place for a reason there, so the reason is put into the running turn. Settings are given on the command line; the
repository is not trusted, so that its own ``.codex`` is not read. Its conversation is kept in the task's memory folder.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from nightcrew.agents.adapter import TALKING, AgentSession, Answer, Capabilities, Desk, Job, Launch
from nightcrew.agents.inquiries import read_codex, write_codex
from nightcrew.agents.launching import find_argv, find_model, need_model, show_memory
from nightcrew.agents.lines import Message, items, mapping, text
from nightcrew.agents.peer import Peer, find_token
from nightcrew.agents.prompts import write_continuation, write_denials, write_prompt
from nightcrew.agents.wishes import read_shell_line, wish_command, wish_edit, wish_other, wish_write
from nightcrew.model.actions import Action
from nightcrew.model.isolation import Bind
from nightcrew.model.settings import AgentSetting

PROVIDER: Final = "openai"
KEY: Final = "NIGHTCREW_MODEL_KEY"
HOME: Final = "/home/agent/.codex"
#: Turns that only tell why something was denied; after that the agent knows all it can.
FOLLOW_UPS: Final = 3
_INITIALIZE, _THREAD, _TURN, _FIRST_STEER = 1, 2, 3, 100
#: Items of a turn that are actions, by what they carry.
_ACTIONS: Final = frozenset({"commandExecution", "fileChange", "mcpToolCall", "dynamicToolCall"})
_OVER: Final = frozenset({"completed", "failed"})
_POLICY: Final = {
    "approvalPolicy": "untrusted",
    "approvalsReviewer": "user",
    "sandbox": "danger-full-access",
}


class CodexDialect:
    """The app server's protocol, from our side."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._turn = ""
        self._started: dict[str, Message] = {}
        self._untold: dict[int, str] = {}
        self._next_steer = _FIRST_STEER
        self._follow_ups = 0

    def begin(self, peer: Peer) -> None:
        """Say who we are."""
        who = {"name": "nightcrew", "title": "nightcrew", "version": "1"}
        peer.send({"id": _INITIALIZE, "method": "initialize", "params": {"clientInfo": who}})

    def hear(self, peer: Peer, message: Message) -> None:
        """Take one message: an answer to us, a question, or news."""
        method = text(message, "method")
        if method and "id" in message:
            self._hear_question(peer, method, message["id"], mapping(message, "params"))
        elif method:
            self._hear_news(peer, method, mapping(message, "params"))
        elif "id" in message:
            self._hear_answer(peer, message["id"], message)

    def _hear_answer(self, peer: Peer, number: Any, message: Message) -> None:
        if not isinstance(number, int):
            return
        if number in self._untold:
            if "error" not in message:
                del self._untold[number]
            return
        if "error" in message:
            peer.fail(f"the agent refused to begin: {text(message, 'error', 'message') or 'no reason given'}")
        elif number == _INITIALIZE:
            peer.send({"method": "initialized"})
            peer.send({"id": _THREAD, **self._open_thread()})
        elif number == _THREAD:
            peer.token = text(message, "result", "thread", "id")
            told = write_continuation(self._job) if find_token(self._job) else write_prompt(self._job)
            self._start_turn(peer, told)

    def _open_thread(self) -> Mapping[str, Any]:
        params: dict[str, Any] = {"cwd": self._job.cwd, **_POLICY}
        model = find_model(self._job, PROVIDER)
        if model:
            params["model"] = model
        token = find_token(self._job)
        if token:
            return {"method": "thread/resume", "params": {**params, "threadId": token, "excludeTurns": True}}
        return {"method": "thread/start", "params": params}

    def _start_turn(self, peer: Peer, told: str) -> None:
        params: dict[str, Any] = {"threadId": peer.token, "input": [{"type": "text", "text": told}]}
        if self._job.schema:
            params["outputSchema"] = json.loads(self._job.schema)
        peer.send({"id": _TURN, "method": "turn/start", "params": params})

    # -- questions ----------------------------------------------------------------------------------------------------

    def _hear_question(self, peer: Peer, method: str, number: Any, params: Message) -> None:
        match method:
            case "item/commandExecution/requestApproval":
                actions: tuple[Action, ...] = (self._describe_command(params),)
            case "item/fileChange/requestApproval":
                actions = tuple(self._describe_patch(text(params, "itemId")))
            case "item/tool/requestUserInput":
                self._hear_inquiry(peer, number, params)
                return
            case _:
                # Permissions beyond the sandbox, tools of other servers, logins: never granted.
                peer.send({"id": number, "error": {"code": -32601, "message": f"{method} is not known here"}})
                return
        answer = peer.ask(text(params, "itemId"), *actions)
        if answer is not None:
            peer.send(
                {"id": number, "result": {"decision": "accept" if answer.verdict == "allow" else "decline"}}
            )
            self._tell_why(peer, answer, actions)

    def _hear_inquiry(self, peer: Peer, number: Any, params: Message) -> None:
        """Put questions to the person; a secret is never asked for: it would stand in the journal."""
        asked = read_codex(params)
        replies = peer.inquire(text(params, "itemId"), *(inquiry for _, inquiry in asked)) if asked else ()
        if replies is None:
            return
        refused = next((each.text for each in replies if each.verdict == "refused"), "")
        if refused or not asked:
            message = refused or "this is not asked of anybody; decide by yourself"
            peer.send({"id": number, "error": {"code": -32601, "message": message}})
        else:
            peer.send({"id": number, "result": write_codex(asked, replies)})

    def _tell_why(self, peer: Peer, answer: Answer, actions: tuple[Action, ...]) -> None:
        if answer.verdict != "deny":
            return
        reason = f"{actions[0].describe() if actions else 'a change'}: {answer.reason}"
        number = self._next_steer
        self._next_steer += 1
        self._untold[number] = reason
        told = {"type": "text", "text": f"Denied: {reason}"}
        params = {"threadId": peer.token, "expectedTurnId": self._turn, "input": [told]}
        peer.send({"id": number, "method": "turn/steer", "params": params})

    def _describe_command(self, params: Message) -> Action:
        command = text(params, "command")
        if not command or text(params, "kind") not in ("", "command"):
            # Input for a program that runs already, and what later versions ask. Not bound to ids, which change.
            said = {name: text(params, name) for name in ("kind", "command", "reason")}
            return wish_other(f"codex {said['kind'] or 'command'}", said)
        cwd = text(params, "cwd")
        line = read_shell_line(command)
        elsewhere = cwd and cwd != self._job.cwd
        return wish_command(f"cd {shlex.quote(cwd)} && {line}" if elsewhere else line)

    def _describe_patch(self, item: str) -> Iterator[Action]:
        """Yield what a patch does to each path; nothing for one that was never shown, which is denied."""
        for change in items(self._started.get(item, {}), "changes"):
            path, kind, diff = text(change, "path"), text(change, "kind", "type"), text(change, "diff")
            moved = text(change, "kind", "move_path")
            if kind == "add":
                yield wish_write(path, diff, cwd=self._job.cwd)
            elif kind == "delete":
                yield wish_edit((path,), diff, cwd=self._job.cwd, kind="delete")
            else:
                yield wish_edit((moved or path,), diff, cwd=self._job.cwd)
                if moved:
                    yield wish_edit((path,), moved, cwd=self._job.cwd, kind="delete")

    # -- news ---------------------------------------------------------------------------------------------------------

    def _hear_news(self, peer: Peer, method: str, params: Message) -> None:
        item = mapping(params, "item")
        match method:
            case "turn/started":
                self._turn = text(params, "turn", "id")
            case "item/started":
                self._started[text(item, "id")] = item
            case "item/completed":
                self._hear_item(peer, item)
            case "thread/tokenUsage/updated":
                total = mapping(params, "tokenUsage", "total")
                peer.note("usage", ", ".join(f"{name} {number}" for name, number in total.items()))
            case "turn/completed" if text(params, "threadId") in ("", peer.token):
                self._end_turn(peer, mapping(params, "turn"))
            case _:
                return  # deltas, states, what later versions say

    def _hear_item(self, peer: Peer, item: Message) -> None:
        kind = text(item, "type")
        if kind == "agentMessage":
            peer.note("says", text(item, "text"))
        elif kind in _ACTIONS and text(item, "status") in _OVER:
            known = peer.knows(text(item, "id"))
            done = text(item, "status") == "completed" or item.get("exitCode") is not None
            if known or done:
                what = text(item, "command") or items(item, "changes")
                peer.finished(text(item, "id"), kind, what, done=done)
        self._started.pop(text(item, "id"), None)

    def _end_turn(self, peer: Peer, turn: Message) -> None:
        status = text(turn, "status")
        if status != "completed":
            why = text(turn, "error", "message") or status or "no reason given"
            peer.fail(f"the agent gave up: {why[:500]}")
        elif self._untold and self._follow_ups < FOLLOW_UPS:
            self._follow_ups += 1
            reasons, self._untold = list(self._untold.values()), {}
            self._start_turn(peer, write_denials(reasons))
        else:
            peer.finish()


class CodexAdapter:
    """See the module's own words."""

    name: Final = "codex"
    capabilities: Final[Capabilities] = replace(
        TALKING,
        note="Codex over its app server: every command and every patch is asked for",
        soft_interrupt=True,
        usage="tokens",
        structured_output="forwarded",
        asks_person=True,
    )

    def find_program(self, setting: AgentSetting) -> str:
        """``codex``, or what the setting's argv begins with."""
        return setting.argv[0] if setting.argv else "codex"

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Nothing beforehand: every command and patch asks when its turn comes."""
        return ()

    def prepare(self, job: Job) -> Launch:
        """Return the command line; all settings are on it."""
        access = need_model(job, PROVIDER, KEY)
        home, binds = _show_home(job)
        settings: dict[str, Any] = {
            "check_for_update_on_startup": False,
            "analytics.enabled": False,
            # These two call home.
            "features.plugins": False,
            "features.apps": False,
            # Its tool for asking the person, which it else has in its plan mode only; it would warn of that.
            "features.default_mode_request_user_input": True,
            "suppress_unstable_features_warning": True,
            # As one value: a name with dots and quotes in it is not found below `projects`.
            "projects": {job.cwd: {"trust_level": "untrusted"}},
        }
        env = {"CODEX_HOME": home} if home else {}
        if access is not None:
            settings |= {
                "model_provider": "gateway",
                "model_providers.gateway": _describe_provider(access.base_urls),
            }
            env[KEY] = access.token
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={_toml(value)}")]
        program = job.program
        return Launch(
            argv=(*find_argv(job, "codex"), *words, "app-server"),
            env={**env, **job.setting.env},
            binds=(*(program.binds if program else ()), *binds),
            search=program.search if program else (),
        )

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session."""
        return Peer(CodexDialect(job), job, desk, asks_all=True)


def _show_home(job: Job) -> tuple[str, tuple[Bind, ...]]:
    """Return its home inside, and what is bound there: of one attempt it is, and only its conversations outlive it.

    Settings, rules and skills that a command of the agent's writes there are gone before the next process could obey them.
    It must exist, and not lie below the folder for temporary files.
    """
    if job.memory is None or not job.mounted:
        return show_memory(job)
    return HOME, (Bind(str(job.memory), f"{HOME}/sessions", writable=True),)


def _describe_provider(base_urls: Mapping[str, str]) -> Mapping[str, Any]:
    return {
        "name": "gateway",
        "base_url": f"{base_urls[PROVIDER]}/v1",
        "wire_api": "responses",
        "env_key": KEY,
        "request_max_retries": 2,
        "stream_max_retries": 2,
    }


def _toml(value: Any) -> str:
    """Return a value as TOML; of texts, numbers, truth and flat tables JSON is nearly that."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)
