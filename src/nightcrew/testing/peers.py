"""Fake coding agents without a model: one file, standard library only, that speaks the protocol of a real one.

``python peers.py claude|codex|acp [fault]``; further words are ignored, as an adapter adds them. It works through the
lines ``RUN: ...`` of its prompt: asks for each, runs it with bash when that is allowed, and goes on after a denial. A
command that fails makes the agent give up. ``ASK: Which one? | this | that`` asks the person over the protocol, unless its
prompt tells the answer already (``ASK!:`` asks in any case); the answer is added to ``answers.txt``. Faults make it a hostile or broken one:

===========  =======================================================================================
silence      takes the prompt and never says anything again
deaf         the same, and ignores SIGTERM
garbage      writes bytes that are no protocol, without end
endless      writes one line that never ends
unknown      says and asks many things nobody knows, and then works as it should
types        says what is known with values of wrong types, and then works as it should
unasked      runs the first line without asking, and tells of it
halfway      leaves with exit code 0 after the first line, without its last word
liar         says that it is done before it has done anything
sneaky       writes a file and tells nobody, then says that it is done
===========  =======================================================================================
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

Json = dict[str, Any]
ASKS = ("ASK: ", "ASK!: ")
TOLD = "Answer of the person: "
#: What no field is ever meant to hold.
ODD: tuple[Any, ...] = (
    1,
    None,
    [],
    "x",
    {"content": [3, {"type": "tool_use", "id": 7}], "status": {}, "id": {}},
)


def say(message: Json) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> Json:
    """Return the next line; leave at once when nobody is there any more."""
    line = sys.stdin.readline()
    if not line:
        os._exit(3)
    message: Json = json.loads(line)
    return message


def run(line: str) -> int:
    """Run a line; what it prints goes to stderr, so that stdout holds nothing but the protocol."""
    return subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, stdout=2, check=False).returncode


def find_lines(prompt: str) -> list[str]:
    """Return the lines of a prompt that are to be run, or to be asked."""
    found = [line for line in prompt.splitlines() if line.startswith(("RUN: ", *ASKS))]
    return [line.removeprefix("RUN: ") for line in found]


def find_answers(prompt: str) -> list[str]:
    """Return what a prompt tells of the person's answers, in order."""
    return [line.removeprefix(TOLD) for line in prompt.splitlines() if line.startswith(TOLD)]


class Memory:
    """Which lines of which prompt are done; a file, where there is a folder for it."""

    def __init__(self, folder: str, name: str) -> None:
        self.path = os.path.join(folder, f"{name}.json") if folder else ""
        self.lines: list[str] = []
        self.done = 0
        if self.path and os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                self.lines, self.done = json.load(file)

    def keep(self) -> None:
        """Write it down."""
        if self.path:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            with open(self.path, "w", encoding="utf-8") as file:
                json.dump([self.lines, self.done], file)


class Agent:
    """What all fakes do; a subclass says it in the words of one protocol."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.memory = Memory("", "")
        self.told: list[str] = []

    def begin(self) -> str:
        """Speak until there is a prompt, and return it."""
        raise NotImplementedError

    def ask(self, call: str, line: str) -> bool:
        """Ask for a line; tell whether it is allowed."""
        raise NotImplementedError

    def inquire(self, call: str, text: str, choices: list[str]) -> str:
        """Ask the person; empty when nobody is asked."""
        raise NotImplementedError

    def report(self, call: str, line: str, code: int) -> None:
        """Tell that a line has been run."""
        raise NotImplementedError

    def end(self, problem: str) -> None:
        """Say the last word."""
        raise NotImplementedError

    def confuse(self, *, types: bool) -> None:
        """Say what nobody knows, or what is known with values of wrong types."""
        raise NotImplementedError

    def work(self) -> NoReturn:
        """Do the task of the prompt."""
        prompt = self.begin()
        self.told = find_answers(prompt)
        if lines := find_lines(prompt):
            self.memory.lines, self.memory.done = lines, 0
        self.misbehave()
        for number in range(self.memory.done, len(self.memory.lines)):
            self.memory.keep()
            self.do(f"call-{number}", self.memory.lines[number])
            self.memory.done = number + 1
            if self.fault == "halfway":
                os._exit(0)
        self.end("")
        self.linger()

    def do(self, call: str, line: str) -> None:
        """Ask for one line and run it; of a question, put it and write the answer down."""
        if line.startswith(ASKS):
            mark, _, asked = line.partition(" ")
            text, *choices = (part.strip() for part in asked.split("|"))
            known = self.told.pop(0) if self.told and mark == "ASK:" else ""
            answer = known or self.inquire(f"{call}-question", text, choices)
            call, line = f"{call}-answer", f"printf '%s\\n' {shlex.quote(answer)} >> answers.txt"
        if self.fault != "unasked" and not self.ask(call, line):
            return
        code = run(line)
        self.report(call, line, code)
        if code != 0:
            self.end(f"`{line}` ended with exit code {code}")
            self.linger()

    def misbehave(self) -> None:
        """Show the fault, if it is one of the beginning."""
        if self.fault == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while self.fault in ("silence", "deaf"):
            time.sleep(60)
        while self.fault == "garbage":
            sys.stdout.buffer.write(b"\x00\xff{not json}\n[1]\n")
        while self.fault == "endless":
            sys.stdout.buffer.write(b"x" * 65536)
        if self.fault in ("unknown", "types"):
            self.confuse(types=self.fault == "types")
        if self.fault == "sneaky":
            with open("sneaked", "w", encoding="utf-8") as file:
                file.write("unseen\n")
        if self.fault in ("liar", "sneaky"):
            self.end("")
            self.linger()

    def linger(self) -> NoReturn:
        """Stay until the other side is gone: after its last word, an agent may wait for the next task."""
        while sys.stdin.readline():
            pass
        os._exit(0)


class Claude(Agent):
    """Claude Code's stdio control protocol."""

    def begin(self) -> str:
        """Wait for the callback to be registered, then for the prompt."""
        request = hear()
        self.hook = request["request"]["hooks"]["PreToolUse"][0]["hookCallbackIds"][0]
        words = sys.argv
        self.session = words[words.index("--resume") + 1] if "--resume" in words else "session-1"
        self.memory = Memory(os.environ.get("CLAUDE_CONFIG_DIR", ""), self.session)
        answer = {"subtype": "success", "request_id": request["request_id"], "response": {}}
        say({"type": "control_response", "response": answer})
        prompt: str = hear()["message"]["content"]
        say({"type": "system", "subtype": "init", "session_id": self.session})
        return prompt

    def ask(self, call: str, line: str) -> bool:
        """Call back before the tool is used."""
        given = {"tool_name": "Bash", "tool_input": {"command": line}, "tool_use_id": call}
        self._tell_call(call, line)
        request = {"subtype": "hook_callback", "callback_id": self.hook, "input": given, "tool_use_id": call}
        say({"type": "control_request", "request_id": f"ask-{call}", "request": request})
        output = hear()["response"]["response"]["hookSpecificOutput"]
        allowed: bool = output["permissionDecision"] == "allow"
        if not allowed:
            assert output["permissionDecisionReason"]
            self._tell_result(call, output["permissionDecisionReason"], is_error=True)
        return allowed

    def inquire(self, call: str, text: str, choices: list[str]) -> str:
        """Call the tool for questions; the callback's new input holds the answer."""
        options = [{"label": each, "description": ""} for each in choices]
        question = {"question": text, "header": "Question", "options": options, "multiSelect": False}
        given = {"tool_name": "AskUserQuestion", "tool_input": {"questions": [question]}, "tool_use_id": call}
        request = {"subtype": "hook_callback", "callback_id": self.hook, "input": given, "tool_use_id": call}
        say({"type": "control_request", "request_id": f"ask-{call}", "request": request})
        output = hear()["response"]["response"]["hookSpecificOutput"]
        answers: Json = output.get("updatedInput", {}).get("answers", {})
        return str(answers.get(text, ""))

    def report(self, call: str, line: str, code: int) -> None:
        """Show the tool's result."""
        if self.fault == "unasked":
            self._tell_call(call, line)
        self._tell_result(call, f"Exit code {code}", is_error=code != 0)

    def end(self, problem: str) -> None:
        """Say the result."""
        say(
            {"type": "result", "subtype": "success", "is_error": bool(problem), "result": problem or "done"}
            | {
                "session_id": self.session,
                "total_cost_usd": 0.01,
                "usage": {"input_tokens": 1, "output_tokens": 1},
            }
        )

    def confuse(self, *, types: bool) -> None:
        """Say odd things."""
        if not types:
            say({"type": "something_new", "session_id": "x"})
            say({"type": "control_request", "request_id": "odd", "request": {"subtype": "odd"}})
            assert hear()["response"]["subtype"] == "error"
            return
        for odd in ODD:
            say({"type": "assistant", "message": odd})
            say({"type": "user", "message": odd})
            say({"type": "system", "session_id": odd})
            say({"type": odd})

    def _tell_call(self, call: str, line: str) -> None:
        block = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": line}}
        say({"type": "assistant", "message": {"role": "assistant", "content": [block]}})

    def _tell_result(self, call: str, said: str, *, is_error: bool) -> None:
        block = {"type": "tool_result", "tool_use_id": call, "content": said, "is_error": is_error}
        say({"type": "user", "message": {"role": "user", "content": [block]}})


class Codex(Agent):
    """The Codex app server."""

    def begin(self) -> str:
        """Answer the three requests that come first."""
        say({"id": hear()["id"], "result": {"userAgent": "fake"}})
        assert hear()["method"] == "initialized"
        request = hear()
        self.thread = request["params"].get("threadId", "thread-1")
        # Of its home only what holds its conversations can be written by it.
        home = os.environ.get("CODEX_HOME", "")
        self.memory = Memory(os.path.join(home, "sessions") if home else "", self.thread)
        assert request["params"]["approvalPolicy"] == "untrusted"
        say({"id": request["id"], "result": {"thread": {"id": self.thread}}})
        request = hear()
        say({"id": request["id"], "result": {"turn": {"id": "turn-1"}}})
        self._tell("turn/started", turn={"id": "turn-1"})
        prompt: str = request["params"]["input"][0]["text"]
        return prompt

    def ask(self, call: str, line: str) -> bool:
        """Ask for a command."""
        shown = {"type": "commandExecution", "id": call, "command": line, "status": "inProgress"}
        self._tell("item/started", item=shown)
        params = {
            "itemId": call,
            "threadId": self.thread,
            "turnId": "turn-1",
            "command": line,
            "cwd": os.getcwd(),
        }
        say({"id": f"ask-{call}", "method": "item/commandExecution/requestApproval", "params": params})
        allowed: bool = hear()["result"]["decision"] == "accept"
        if not allowed:
            self._tell("item/completed", item={**shown, "status": "declined"})
            steer = hear()
            assert steer["method"] == "turn/steer", steer
            assert "Denied" in steer["params"]["input"][0]["text"]
            say({"id": steer["id"], "result": {"turnId": "turn-1"}})
        return allowed

    def inquire(self, call: str, text: str, choices: list[str]) -> str:
        """Request the person's input."""
        options = [{"label": each, "description": ""} for each in choices]
        question = {"id": "q", "header": "Question", "question": text, "isOther": True, "options": options}
        params = {"itemId": call, "threadId": self.thread, "turnId": "turn-1", "questions": [question]}
        say({"id": f"ask-{call}", "method": "item/tool/requestUserInput", "params": params})
        answers: Json = hear().get("result", {}).get("answers", {})
        return ", ".join(answers.get("q", {}).get("answers", []))

    def report(self, call: str, line: str, code: int) -> None:
        """Show the finished item."""
        item = {
            "type": "commandExecution",
            "id": call,
            "command": line,
            "status": "completed",
            "exitCode": code,
        }
        self._tell("item/completed", item=item)

    def end(self, problem: str) -> None:
        """Complete the turn."""
        turn: Json = {"id": "turn-1", "status": "failed" if problem else "completed"}
        if problem:
            turn["error"] = {"message": problem}
        self._tell("turn/completed", turn=turn)

    def confuse(self, *, types: bool) -> None:
        """Say odd things."""
        if not types:
            self._tell("thread/somethingNew", x=1)
            say({"id": 99, "method": "item/permissions/requestApproval", "params": {"itemId": "p"}})
            assert hear()["error"]
            return
        for odd in ODD:
            self._tell("item/started", item=odd)
            self._tell("item/completed", item=odd)
            self._tell("thread/tokenUsage/updated", tokenUsage=odd)
            say({"method": "item/completed", "params": odd})
            say({"id": odd if isinstance(odd, str) else "odd", "result": odd})

    def _tell(self, method: str, **params: Any) -> None:
        say({"method": method, "params": {"threadId": self.thread, **params}})


class Acp(Agent):
    """The Agent Client Protocol."""

    def begin(self) -> str:
        """Answer what comes before the prompt."""
        can = {"loadSession": True, "sessionCapabilities": {"resume": {}}}
        self._answer(hear(), {"protocolVersion": 1, "agentCapabilities": can})
        request = hear()
        self.session = request["params"].get("sessionId", "session-1")
        self.memory = Memory(os.environ.get("XDG_DATA_HOME", ""), self.session)
        self._answer(request, {} if "sessionId" in request["params"] else {"sessionId": self.session})
        self.prompt = hear()
        told: str = self.prompt["params"]["prompt"][0]["text"]
        return told

    def ask(self, call: str, line: str) -> bool:
        """Request permission."""
        shown = {"toolCallId": call, "title": line, "kind": "execute", "status": "pending"}
        self._update({"sessionUpdate": "tool_call", **shown, "rawInput": {}})
        options = [
            {"optionId": f"o-{kind}", "kind": kind, "name": kind}
            for kind in ("allow_always", "allow_once", "reject_once")
        ]
        params = {
            "sessionId": self.session,
            "toolCall": {**shown, "rawInput": {"command": line}},
            "options": options,
        }
        request = {
            "jsonrpc": "2.0",
            "id": f"ask-{call}",
            "method": "session/request_permission",
            "params": params,
        }
        say(request)
        outcome = hear()["result"]["outcome"]
        assert outcome["optionId"] != "o-allow_always"
        allowed: bool = outcome["optionId"] == "o-allow_once"
        if not allowed:
            self._update({"sessionUpdate": "tool_call_update", "toolCallId": call, "status": "failed"})
        return allowed

    def inquire(self, call: str, text: str, choices: list[str]) -> str:
        """Ask with a form of one field."""
        field: Json = {"type": "string", "title": text}
        if choices:
            field["enum"] = choices
        params = {"sessionId": self.session, "mode": "form", "message": text}
        params["requestedSchema"] = {"type": "object", "properties": {"answer": field}}
        say({"jsonrpc": "2.0", "id": f"ask-{call}", "method": "elicitation/create", "params": params})
        content: Json = hear().get("result", {}).get("content", {})
        return str(content.get("answer", ""))

    def report(self, call: str, line: str, code: int) -> None:
        """Show the finished call."""
        shown = {"toolCallId": call, "title": line, "kind": "execute", "status": "completed"}
        self._update({"sessionUpdate": "tool_call_update", **shown, "rawInput": {"command": line}})

    def end(self, problem: str) -> None:
        """Answer the prompt; of denials it is told in another one."""
        if problem:
            say({"jsonrpc": "2.0", "id": self.prompt["id"], "error": {"code": -32000, "message": problem}})
            return
        self._answer(self.prompt, {"stopReason": "end_turn", "usage": {"inputTokens": 1, "outputTokens": 1}})
        if line := sys.stdin.readline():
            prompt = json.loads(line)
            assert "denied" in prompt["params"]["prompt"][0]["text"]
            self._answer(prompt, {"stopReason": "end_turn"})

    def confuse(self, *, types: bool) -> None:
        """Say odd things."""
        if not types:
            self._update({"sessionUpdate": "something_new"})
            params = {"path": "a.txt", "content": "x"}
            say({"jsonrpc": "2.0", "id": "odd", "method": "fs/write_text_file", "params": params})
            assert hear()["error"]
            return
        for odd in ODD:
            say({"jsonrpc": "2.0", "method": "session/update", "params": odd})
            say({"jsonrpc": "2.0", "method": "session/update", "params": {"update": odd}})
            self._update({"sessionUpdate": "tool_call_update", "toolCallId": odd, "kind": odd, "status": odd})
            say({"jsonrpc": "2.0", "id": "odd", "result": odd})

    def _update(self, update: Json) -> None:
        params = {"sessionId": self.session, "update": update}
        say({"jsonrpc": "2.0", "method": "session/update", "params": params})

    def _answer(self, request: Json, result: Json) -> None:
        say({"jsonrpc": "2.0", "id": request["id"], "result": result})


class Api(Agent):
    """The loop of the agent ``api``: one order, then a question before each call."""

    def begin(self) -> str:
        """Read the order."""
        order = hear()
        history: str = order.get("history", "")
        self.memory = Memory(os.path.dirname(history), "calls")
        prompt: str = order["prompt"]
        return prompt

    def ask(self, call: str, line: str) -> bool:
        """Ask for a call of the tool that runs commands."""
        say({"ask": call, "tool": "run_command", "given": {"command": line}})
        return "allow" in hear()

    def inquire(self, call: str, text: str, choices: list[str]) -> str:
        """It has no tool for that."""
        return ""

    def report(self, call: str, line: str, code: int) -> None:
        """Tell that the call was made."""
        say({"done": call, "tool": "run_command", "given": {"command": line}})

    def end(self, problem: str) -> None:
        """Say the last word."""
        say({"end": "failed", "reason": problem} if problem else {"end": "finished", "answer": "done"})

    def confuse(self, *, types: bool) -> None:
        """Say odd things."""
        if not types:
            say({"something": "new"})
            return
        for odd in ODD:
            say({"ask": odd, "tool": odd, "given": odd})
            say({"done": odd, "tool": odd, "given": odd})


AGENTS: dict[str, type[Agent]] = {"claude": Claude, "codex": Codex, "acp": Acp, "api": Api}
FAULTS = ("silence", "deaf", "garbage", "endless", "unknown", "types", "unasked", "halfway", "liar", "sneaky")


def main() -> NoReturn:
    """Be the agent that the first word names, with the fault of the second one if it is one."""
    fault = sys.argv[2] if len(sys.argv) > 2 and sys.argv[2] in FAULTS else ""
    AGENTS[sys.argv[1]](fault).work()


if __name__ == "__main__":
    main()
