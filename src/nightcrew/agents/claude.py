"""``claude``: Claude Code, driven over its stdio control protocol.

A PreToolUse callback is registered with the first message, so that every tool call in every mode is a question to us,
reading too. It is answered with allow or deny and a reason, which reaches the model. The settings, hooks and servers of
the repository are not read (``--setting-sources ""``, ``--strict-mcp-config``): they are programs that nobody has asked
about. Its own conversation is kept in the task's memory folder and taken up after a park; it then asks again for what
was under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from nightcrew.agents.adapter import TALKING, AgentSession, Answer, Capabilities, Desk, Job, Launch
from nightcrew.agents.hooking import cast_net
from nightcrew.agents.inquiries import read_claude, write_claude
from nightcrew.agents.launching import find_argv, find_model, need_model, show_memory
from nightcrew.agents.lines import Message, items, mapping, text
from nightcrew.agents.peer import Peer, find_token
from nightcrew.agents.prompts import write_continuation, write_prompt
from nightcrew.agents.wishes import wish_command, wish_edit, wish_net, wish_other, wish_read, wish_write
from nightcrew.model.actions import Action
from nightcrew.model.settings import AgentSetting

PROVIDER: Final = "anthropic"
#: How long it waits for an answer of ours, in seconds: 23 days. Beyond 2**31 ms its timer would be over at once.
_PATIENCE_S: Final = 2_000_000
#: Tools without an effect of their own: what they start asks for itself.
HARMLESS: Final = frozenset(
    {
        "Agent",
        "BashOutput",
        "EnterPlanMode",
        "ExitPlanMode",
        "KillShell",
        "Skill",
        # Its answer in the shape that was asked for; offered only then.
        "StructuredOutput",
        "Task",
        "TaskCreate",
        "TaskGet",
    }
    | {"TaskList", "TaskOutput", "TaskStop", "TaskUpdate", "TodoRead", "TodoWrite", "ToolSearch"}
)
#: The tool that puts questions to the person.
ASK: Final = "AskUserQuestion"
#: Tools that make no sense at night, or that leave the shadow: never offered to the model.
WITHHELD: Final = (
    *("CronCreate", "CronDelete", "CronList", "EnterWorktree", "ExitWorktree"),
    *("RemoteTrigger", "ScheduleWakeup", "SendMessage", "Workflow"),
)
#: How a call begins to be answered that was refused before it was begun.
_NOT_BEGUN: Final = ("<tool_use_error>", "[Request interrupted", "Permission to use", "The user doesn't want")
_ENV: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    # A command that changes the directory would change what later, relative paths mean.
    "CLAUDE_BASH_MAINTAIN_PROJECT_WORKING_DIR": "1",
    # With its own ten, a refused key costs minutes.
    "CLAUDE_CODE_MAX_RETRIES": "4",
}

Wish = Callable[[Mapping[str, Any], str], Action]
_WISHES: Final[Mapping[str, Wish]] = {
    "Bash": lambda given, cwd: wish_command(text(given, "command")),
    "Write": lambda given, cwd: wish_write(text(given, "file_path"), text(given, "content"), cwd=cwd),
    "Edit": lambda given, cwd: wish_edit((text(given, "file_path"),), given, cwd=cwd),
    "MultiEdit": lambda given, cwd: wish_edit((text(given, "file_path"),), given, cwd=cwd),
    "NotebookEdit": lambda given, cwd: wish_edit((text(given, "notebook_path"),), given, cwd=cwd),
    "Read": lambda given, cwd: wish_read(text(given, "file_path"), cwd=cwd),
    "Glob": lambda given, cwd: wish_read(text(given, "path"), cwd=cwd),
    "Grep": lambda given, cwd: wish_read(text(given, "path"), cwd=cwd),
    "LS": lambda given, cwd: wish_read(text(given, "path"), cwd=cwd),
    "WebFetch": lambda given, cwd: wish_net(f"GET {text(given, 'url')}"),
    "WebSearch": lambda given, cwd: wish_net(f"search {text(given, 'query')}"),
}


def describe_call(name: str, given: Mapping[str, Any], cwd: str) -> Action:
    """Return the action that a tool call stands for."""
    wish = _WISHES.get(name)
    return wish(given, cwd) if wish is not None else wish_other(f"tool {name}", given)


class ClaudeDialect:
    """The control protocol, from our side."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._prompted = False
        self._said: dict[tuple[str, str, str], Answer] = {}
        self._calls: dict[str, tuple[str, Mapping[str, Any]]] = {}

    def begin(self, peer: Peer) -> None:
        """Register the callback; the prompt follows when that is confirmed."""
        hook = {"matcher": None, "hookCallbackIds": ["every_call"], "timeout": _PATIENCE_S}
        request = {"subtype": "initialize", "hooks": {"PreToolUse": [hook]}}
        peer.send({"type": "control_request", "request_id": "initialize", "request": request})

    def hear(self, peer: Peer, message: Message) -> None:
        """Take one message."""
        match text(message, "type"):
            case "control_response":
                self._hear_response(peer, message)
            case "control_request":
                self._hear_request(peer, message)
            case "system":
                peer.token = text(message, "session_id") or peer.token
            case "assistant":
                self._hear_assistant(peer, message)
            case "user":
                self._hear_results(peer, message)
            case "result":
                self._hear_result(peer, message)
            case _:
                return  # retries, hooks of its own, what later versions say

    def _hear_response(self, peer: Peer, message: Message) -> None:
        response = mapping(message, "response")
        if text(response, "subtype") != "success":
            peer.fail(f"it does not take our callback: {text(response, 'error') or 'no reason given'}")
        elif not self._prompted:
            self._prompted = True
            told = write_continuation(self._job) if find_token(self._job) else write_prompt(self._job)
            content = {"role": "user", "content": told}
            peer.send({"type": "user", "message": content, "parent_tool_use_id": None, "session_id": ""})

    def _hear_request(self, peer: Peer, message: Message) -> None:
        request, name = mapping(message, "request"), text(message, "request_id")
        match text(request, "subtype"):
            case "hook_callback":
                given = mapping(request, "input")
                call = text(given, "tool_use_id") or text(request, "tool_use_id")
                tool, arguments = text(given, "tool_name"), mapping(given, "tool_input")
                if tool == ASK:
                    if (told := self._inquire(peer, call, arguments)) is not None:
                        _reply(peer, name, _hook_output(*told))
                elif (answer := self._answer(peer, call, tool, arguments)) is not None:
                    _reply(peer, name, _hook_output(answer))
            case "can_use_tool":
                arguments = mapping(request, "input")
                call, tool = text(request, "tool_use_id"), text(request, "tool_name")
                if tool == ASK:
                    if (told := self._inquire(peer, call, arguments)) is not None:
                        _reply(peer, name, _permission(*told))
                elif (answer := self._answer(peer, call, tool, arguments)) is not None:
                    _reply(peer, name, _permission(answer, arguments))
            case other:
                error = {"subtype": "error", "request_id": name, "error": f"{other} is not known here"}
                peer.send({"type": "control_response", "response": error})

    def _answer(self, peer: Peer, call: str, tool: str, given: Mapping[str, Any]) -> Answer | None:
        """Return the verdict on a call; the same one when just the same is asked for a second time."""
        action = describe_call(tool, given, self._job.cwd)
        # Not by its id alone: an answer holds for what was shown, and for nothing else that bears the same name.
        asked = (call, tool, action.digest)
        if call and asked in self._said:
            return self._said[asked]
        if tool in HARMLESS:
            peer.settle(call)
            peer.note("step", f"without effect of its own: {tool}")
            answer: Answer | None = Answer("allow")
        elif tool in WITHHELD:
            peer.settle(call)
            answer = Answer("deny", f"{tool} is not available here; decide by yourself and go on")
        else:
            answer = peer.ask(call, action)
        if answer is not None:
            self._said[asked] = answer
            peer.verdicts.put(call, tool, given, answer.verdict, answer.reason)
        return answer

    def _inquire(
        self, peer: Peer, call: str, given: Mapping[str, Any]
    ) -> tuple[Answer, Mapping[str, Any]] | None:
        """Return the verdict on a call that puts questions to the person, with what it gets as its input then."""
        asked = read_claude(given)
        if not asked:
            peer.settle(call)
            return Answer("deny", "it does not say what it asks"), given
        replies = peer.inquire(call, *(inquiry for _, inquiry in asked))
        if replies is None:
            return None
        refused = next((each.text for each in replies if each.verdict == "refused"), "")
        peer.verdicts.put(call, ASK, given, "deny" if refused else "allow", refused)
        return (
            (Answer("deny", refused), given)
            if refused
            else (Answer("allow"), write_claude(given, asked, replies))
        )

    def _hear_assistant(self, peer: Peer, message: Message) -> None:
        for block in items(message, "message", "content"):
            if text(block, "type") == "tool_use":
                self._calls[text(block, "id")] = (text(block, "name"), mapping(block, "input"))
            peer.note("says", text(block, "text"))

    def _hear_results(self, peer: Peer, message: Message) -> None:
        for block in items(message, "message", "content"):
            if text(block, "type") != "tool_result":
                continue
            call = text(block, "tool_use_id")
            name, given = self._calls.get(call, ("an unknown tool", {}))
            if _was_refused(block):
                peer.dropped(call)
            else:
                peer.finished(call, name, given, done=block.get("is_error") is not True)

    def _hear_result(self, peer: Peer, message: Message) -> None:
        peer.token = text(message, "session_id") or peer.token
        peer.note("usage", describe_usage(message))
        if text(message, "subtype") == "success" and message.get("is_error") is False:
            peer.note("says", text(message, "result"))
            peer.finish()
        else:
            why = text(message, "result") or text(message, "terminal_reason") or text(message, "subtype")
            peer.fail(f"the agent gave up: {why[:500] or 'no reason given'}")


def describe_usage(message: Message) -> str:
    """Return what a ``result`` says about tokens and cost."""
    usage = mapping(message, "usage")
    parts = [f"{name} {usage[name]}" for name in ("input_tokens", "output_tokens") if name in usage]
    cost = message.get("total_cost_usd")
    return ", ".join(
        [*parts, *([f"{cost} USD by its own price list"] if isinstance(cost, int | float) else [])]
    )


def _was_refused(block: Any) -> bool:
    """Tell whether the agent itself refused a call before it was begun: wrong arguments, a file not read before."""
    content = block.get("content") if isinstance(block, dict) else None
    if isinstance(content, list):
        content = text(content[0], "text") if content else ""
    return block.get("is_error") is True and isinstance(content, str) and content.startswith(_NOT_BEGUN)


def _reply(peer: Peer, name: str, response: Mapping[str, Any]) -> None:
    inner = {"subtype": "success", "request_id": name, "response": response}
    peer.send({"type": "control_response", "response": inner})


def _hook_output(answer: Answer, given: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    output: dict[str, Any] = {"hookEventName": "PreToolUse", "permissionDecision": answer.verdict}
    if given is not None and answer.verdict == "allow":
        output["updatedInput"] = given
    return {
        "hookSpecificOutput": {**output, "permissionDecisionReason": answer.reason or "allowed by policy"}
    }


def _permission(answer: Answer, given: Mapping[str, Any]) -> Mapping[str, Any]:
    if answer.verdict == "allow":
        return {"behavior": "allow", "updatedInput": given}
    return {"behavior": "deny", "message": answer.reason}


class ClaudeAdapter:
    """See the module's own words."""

    name: Final = "claude"
    capabilities: Final[Capabilities] = replace(
        TALKING,
        note="Claude Code over its stdio protocol: every tool call is asked for, reading too",
        sees_reads=True,
        soft_interrupt=True,
        usage="cost",
        structured_output="validated",
        asks_person=True,
    )

    def find_program(self, setting: AgentSetting) -> str:
        """``claude``, or what the setting's argv begins with."""
        return setting.argv[0] if setting.argv else "claude"

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Nothing beforehand: every call asks when its turn comes."""
        return ()

    def prepare(self, job: Job) -> Launch:
        """Return the command line; the conversation is kept in the task's memory."""
        access = need_model(job, PROVIDER, "ANTHROPIC_BASE_URL")
        memory, binds = show_memory(job)
        model = find_model(job, PROVIDER)
        token = find_token(job)
        argv = (
            *find_argv(job, "claude"),
            *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
            *("--permission-prompt-tool", "stdio", "--setting-sources", "", "--strict-mcp-config"),
            *("--disallowedTools", ",".join(WITHHELD)),
            *(("--model", model) if model else ()),
            *(("--json-schema", job.schema) if job.schema else ()),
            *(("--resume", token) if token else ()),
        )
        env = {**_ENV, **({"CLAUDE_CONFIG_DIR": f"{memory}/claude"} if memory else {})}
        if access is not None:
            env |= {"ANTHROPIC_BASE_URL": access.base_urls[PROVIDER], "ANTHROPIC_API_KEY": access.token}
        program = job.program
        net = cast_net(job)
        return Launch(
            argv=(*argv, *net.words),
            env={**env, **net.env, **job.setting.env},
            binds=(*(program.binds if program else ()), *binds, *net.binds),
            files=net.files,
            search=program.search if program else (),
        )

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session."""
        return Peer(ClaudeDialect(job), job, desk, asks_all=True)
