"""``api``: a model of a provider, with a few tools of ours, and no other program: the extra ``api`` (pydantic-ai).

Its loop is a process inside the sandbox like every other agent's, because that is where its tools must act. Each call of each
tool is a question to us; the model is reached through the gateway. Its conversation is kept in the task's memory folder, so that
an attempt that was parked takes up the very call that waits.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from nightcrew.agents.adapter import INSIDE, TALKING, AgentSession, Capabilities, Desk, Job, Launch
from nightcrew.agents.launching import find_argv, find_model, show_memory
from nightcrew.agents.lines import Message, mapping, text
from nightcrew.agents.peer import Peer, find_token
from nightcrew.agents.prompts import write_continuation, write_prompt
from nightcrew.agents.wishes import wish_command, wish_edit, wish_other, wish_read, wish_write
from nightcrew.model.actions import Action
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind
from nightcrew.model.settings import AgentSetting

PEER: Final = "api_peer.py"
LIBRARY: Final = "pydantic_ai"
INSTALL: Final = "pip install 'nightcrew[api]'"
#: In the order of preference, where several are there.
PROVIDERS: Final = ("anthropic", "openai", "gemini")
_HISTORY: Final = "conversation.json"


def find_packages() -> str:
    """Return the folder that the library is installed in; empty when it is not."""
    found = find_spec(LIBRARY)
    return str(Path(found.origin).parent.parent) if found is not None and found.origin else ""


def describe_call(tool: str, given: Message, cwd: str) -> Action:
    """Return the action that a call of one of its tools stands for."""
    path = text(given, "path")
    match tool:
        case "run_command" if text(given, "command"):
            return wish_command(text(given, "command"))
        case "write_file" if path:
            return wish_write(path, text(given, "content"), cwd=cwd)
        case "edit_file" if path:
            return wish_edit((path,), given, cwd=cwd)
        case "read_file" if path:
            return wish_read(path, cwd=cwd)
        case "list_files":
            return wish_read(text(given, "folder") or ".", cwd=cwd)
        case _:
            return wish_other(f"tool {tool}", dict(given))


class ApiDialect:
    """The words of our own peer, from outside."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def begin(self, peer: Peer) -> None:
        """Send the order: what to do, with which model, and where the conversation is kept."""
        job = self._job
        memory, _ = show_memory(job)
        provider, url, key = find_way(job) if job.model is not None or not job.setting.argv else ("", "", "")
        peer.token = "conversation" if memory else ""
        order: dict[str, Any] = {
            "prompt": write_continuation(job) if find_token(job) else write_prompt(job),
            "schema": job.schema,
            "history": f"{memory}/{_HISTORY}" if memory else "",
            "provider": provider,
            "url": url,
            "key": key,
            "model": find_model(job, provider) if provider else job.task.model,
            "packages": [find_packages()],
        }
        peer.send(order)

    def hear(self, peer: Peer, message: Message) -> None:
        """Take one message."""
        asked, done = text(message, "ask"), text(message, "done")
        tool, given = text(message, "tool"), mapping(message, "given")
        if asked:
            answer = peer.ask(asked, describe_call(tool, given, self._job.cwd))
            if answer is not None and answer.verdict == "allow":
                peer.send({"allow": asked})
            elif answer is not None:
                peer.send({"deny": asked, "reason": answer.reason})
        elif done:
            peer.finished(done, tool, dict(given))
        elif text(message, "end") == "finished":
            peer.note("says", text(message, "answer"))
            peer.finish()
        elif text(message, "end"):
            peer.fail(f"the agent gave up: {text(message, 'reason')[:500] or 'no reason given'}")


def find_way(job: Job) -> tuple[str, str, str]:
    """Return provider, URL and key of the model of a job.

    Raises:
        UsageError: there is none.
    """
    known = job.model.base_urls if job.model is not None else {}
    provider = next((name for name in PROVIDERS if name in known), "")
    if not provider or job.model is None:
        raise UsageError(
            f"the agent {job.task.agent} has no way to a model: none of the providers {', '.join(PROVIDERS)} is configured",
            code="agent.no_model",
            where=[str(job.task.place)],
            hint="name where its key is in your own config.yaml, under providers (docs/formats/config.md)",
        )
    return provider, known[provider], job.model.token


class ApiAdapter:
    """See the module's own words."""

    name: Final = "api"
    capabilities: Final[Capabilities] = replace(
        TALKING,
        note="a model's API with tools of ours (the extra `api`): every call is asked for, reading too",
        sees_reads=True,
        usage="none",
        structured_output="validated",
    )

    def find_program(self, setting: AgentSetting) -> str:
        """None: its peer is a file of ours, run by our own interpreter; or a loop of the person's own that a setting names."""
        return setting.argv[0] if setting.argv else ""

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Nothing beforehand: every call asks when its turn comes."""
        return ()

    def prepare(self, job: Job) -> Launch:
        """Return the interpreter and the peer's one file.

        Raises:
            UsageError: the extra is not installed, or there is no model.
        """
        if job.setting.argv:
            return _prepare_own(job)
        packages = find_packages()
        if not packages:
            raise UsageError(
                f"the agent {job.task.agent} needs the extra `api` of nightcrew, which is not installed",
                code="agent.extra_missing",
                where=[str(job.task.place)],
                hint=INSTALL,
            )
        provider, _, _ = find_way(job)
        if not find_model(job, provider):
            raise UsageError(
                f"the agent {job.task.agent} must be told which model to use for task {job.task.number}",
                code="agent.no_model",
                where=[str(job.task.place)],
                hint=f"add a `Model:` line to the task, or name one for the provider {provider} in your own config.yaml",
            )
        _, memory = show_memory(job)
        source = str(Path(__file__).with_name(PEER))
        inside = f"{INSIDE}/{PEER}" if job.mounted else source
        binds = (Bind(source, inside), Bind(packages, packages), *memory)
        return Launch(argv=(job.python, "-I", inside), env=dict(job.setting.env), binds=binds)

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session."""
        return Peer(ApiDialect(job), job, desk, asks_all=True)


def _prepare_own(job: Job) -> Launch:
    """Return how to start a loop of the person's own, which speaks the lines of ours."""
    _, memory = show_memory(job)
    program = job.program
    return Launch(
        argv=find_argv(job, PEER),
        env=dict(job.setting.env),
        binds=(*(program.binds if program else ()), *memory),
        search=program.search if program else (),
    )
